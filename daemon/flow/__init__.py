"""What the author of a workflow in Python imports: `from daemon.flow import workflow, step, branch, kafka, …`.

    @step("payments.charge", retry=Retry(5), compensate=refund)
    async def charge(order: Order, *, context: Context = CONTEXT) -> Receipt: ...

    @workflow("orders", triggers=[kafka("orders")])
    def orders(order: Order) -> Shipment:
        receipt = charge(order)
        large = branch("large", receipt.total > 100)
        with large.true:
            review = signal("review", "reviewed", Review, timeout="24h")
        return ship.options(after=[large.false, review])(order, receipt.id)

A workflow's function runs once, when its file is loaded, and makes the same definition that YAML would be. In it a step
makes a node, named after the step, and gives what stands for its output (see `reference`): to a type checker it is that
output, so a wrong type is an error where it is written. What a node reads it comes after; `after=` and `edges` say
more, and `with` says what stands under a way or in a body.

One file is a whole application: `sagad run flow.py`. `sagad export flow.py` writes the YAML, which has the same hash.
"""

from __future__ import annotations

from daemon.flow.bodies import do_while, for_each, for_range, for_times, group, parallel, saga, while_loop
from daemon.flow.branches import Failure, branch, choose, edges, error_of, port, switch
from daemon.flow.computing import contains, default, expr, given, joined, negate, pipe, size, when
from daemon.flow.databases import sql
from daemon.flow.functions import function
from daemon.flow.nodes import assign, fail, http, join, node, publish, signal, subflow, task, transform, wait
from daemon.flow.options import Retry, any_of
from daemon.flow.paging import Page, for_pages
from daemon.flow.people import Decision, Escalate, Mail, Slack, Tell, Webhook, approval, notice
from daemon.flow.reference import Ref
from daemon.flow.roots import child, env, execution, message, query, secret, trigger, update, variables
from daemon.flow.sharing import Cache, Rate, Throttle
from daemon.flow.steps import CONTEXT, Step, step
from daemon.flow.triggers import SignalTo, kafka, memory, on, rabbitmq, schedule, webhook
from daemon.flow.undoing import irreversible, undo
from daemon.flow.workflows import Workflow, workflow
from daemon.handlers import Again, Context, End, Port, Route, StepFailure

__all__ = [
    "CONTEXT", "Again", "Cache", "Context", "Decision", "End", "Escalate", "Failure", "Mail", "Page", "Port",
    "Rate", "Ref", "Retry", "Route", "SignalTo", "Slack", "Step", "StepFailure", "Tell", "Throttle", "Webhook",
    "Workflow", "any_of", "approval", "assign", "branch", "child", "choose", "contains", "default", "do_while",
    "edges", "env", "error_of", "execution", "expr", "fail", "for_each", "for_pages", "for_range", "for_times",
    "function", "given", "group", "http", "irreversible", "join", "joined", "kafka", "memory", "message", "negate",
    "node", "notice", "on", "parallel", "pipe", "port", "publish", "query", "rabbitmq", "saga", "schedule",
    "secret", "signal", "size", "sql", "step", "subflow", "switch", "task", "transform", "trigger", "undo",
    "update", "variables", "wait", "webhook", "when", "while_loop", "workflow",
]  # fmt: skip
