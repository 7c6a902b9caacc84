# ruff: noqa: E501  tables: one line is one case
"""Every type of node, trigger and key that there is can be written in Python, and means what it means in YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from msgspec import Struct
from pydantic import BaseModel

from daemon.core.errors import Misconfigured
from daemon.core.trigger_schemas import KINDS
from daemon.flow import (
    CONTEXT,
    Context,
    Retry,
    SignalTo,
    any_of,
    assign,
    branch,
    child,
    choose,
    do_while,
    env,
    execution,
    fail,
    for_each,
    for_range,
    for_times,
    group,
    http,
    irreversible,
    join,
    kafka,
    memory,
    message,
    node,
    on,
    parallel,
    publish,
    rabbitmq,
    saga,
    schedule,
    secret,
    signal,
    step,
    subflow,
    switch,
    task,
    transform,
    trigger,
    undo,
    variables,
    wait,
    webhook,
    while_loop,
    workflow,
)
from daemon.handlers import handler
from daemon.nodes import builtin_node_types
from tests.support.definitions import compiler
from tests.support.flows.building import document, look, mistake, nodes

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY = Retry(5, "exponential", initial="200ms", factor=3, max=timedelta(seconds=90), jitter=0.2, non_retryable=["no", KeyError])  # fmt: skip


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: float
    y: Any


class Shape(Struct, rename="camel"):
    line_width: int
    at: Any


class Model(BaseModel):
    name: str


@step("refund", retry=Retry(3), timeout="5s", description="Gives it back.")
async def refund(payment: str, amount: float = 0) -> None: ...


untyped: Any = refund


@workflow("parcel")
def shipping(name: str) -> str:
    return transform("x", name)


@workflow("counted")
def counted(count: int, name: str) -> str:
    return transform("x", name * count)


@workflow("idle")
def idle() -> int:
    return transform("x", 1)


@step("whole")
async def whole(input: dict[str, Any]) -> str:  # noqa: A002  the whole of `with`
    return str(input)


@step("nothing")
async def nothing(*, context: Context = CONTEXT) -> str:
    return context.address


def written_twice(order: Any) -> None:
    each = for_each("a", order)
    with each, each:
        pass


unchecked: Any = counted


def unended() -> None:
    with do_while("a"):
        look()


NODES: list[tuple[Callable[[Any], object], str]] = [
    (lambda x: look(x.a), 'look: {task: look, with: {what: "{{ input.a }}"}}'),
    (lambda _: look(), "look: {task: look}"),
    (lambda _: look(None), "look: {task: look, with: {what: null}}"),
    (lambda _: nothing(), "nothing: {task: nothing}"),
    (whole, 'whole: {task: whole, with: "{{ input }}"}'),
    (lambda x: refund(amount=x.a, payment="p"), 'refund: {task: refund, with: {amount: "{{ input.a }}", payment: p}, retry: {max_attempts: 3}, timeout: 5s, description: Gives it back.}'),
    (lambda _: refund.options(retry=None, timeout=timedelta(minutes=1), id="b")("p"), "b: {task: refund, with: {payment: p}, timeout: 1m, description: Gives it back.}"),
    (lambda _: look.options(retry=RETRY)(), "look: {task: look, retry: {max_attempts: 5, backoff: exponential, initial: 200ms, factor: 3, max: 1m30s, jitter: 0.2, non_retryable: ['no', KeyError]}}"),
    (lambda _: look.options(on_error="continue", default={"a": 1}, side_effects=False)(), "look: {task: look, on_error: continue, default: {a: 1}, side_effects: none}"),
    (lambda _: look.options(on_error="continue", default=None)(), "look: {task: look, on_error: continue, default: null}"),
    (lambda _: look.options(checkpoint=True)(), "look: {task: look, checkpoint: true}"),
    (lambda _: look.options(keys={"concurrency": 3})(), "look: {task: look, concurrency: 3}"),
    (lambda _: look(Point(1, [Shape(2, Colour.RED)])), "look: {task: look, with: {what: {x: 1, y: [{lineWidth: 2, at: red}]}}}"),
    (lambda x: look(Model.model_construct(name=x.a)), 'look: {task: look, with: {what: {name: "{{ input.a }}"}}}'),
    (lambda _: look(datetime(2031, 5, 1, tzinfo=UTC)), 'look: {task: look, with: {what: "2031-05-01T00:00:00Z"}}'),
    (lambda x: task("a", "shop.buy", {"x": x.a}, str, timeout="1s"), 'a: {task: shop.buy, with: {x: "{{ input.a }}"}, timeout: 1s}'),
    (lambda _: task("a", "shop.buy"), "a: {task: shop.buy}"),
    (lambda x: shipping(x.a), 'shipping: {subflow: parcel, with: "{{ input.a }}"}'),
    (lambda x: shipping.options(id="a", version="3f2a", result=child.output.tracking, on_close="abandon", timeout="2d", compensate=irreversible("gone"))(x.b), 'a: {subflow: parcel, with: "{{ input.b }}", version: 3f2a, result: "{{ child.output.tracking }}", on_close: abandon, timeout: 2d, compensate: {irreversible: {reason: gone}}}'),
    (lambda x: counted(2, name=x.a), 'counted: {subflow: counted, with: {count: 2, name: "{{ input.a }}"}}'),
    (lambda _: [idle()], "idle: {subflow: idle}"),
    (lambda x: subflow("a", "parcel", x, str, retry=Retry(2)), 'a: {subflow: parcel, with: "{{ input }}", retry: {max_attempts: 2}}'),
    (lambda _: subflow("a", "parcel"), "a: {subflow: parcel}"),
    (lambda x: http("a", "POST", f"https://x/{x.a}", json={"b": x.b}, headers={"Authorization": f"Bearer {secret.TOKEN}"}, expect=[200, "4xx"]),
     'a: {http: {method: POST, url: "https://x/{{ input.a }}", headers: {Authorization: "Bearer {{ secret.TOKEN }}"}, json: {b: "{{ input.b }}"}, expect: [200, 4xx]}}'),
    (lambda _: http("a", "GET", "https://x", query={"a": [1, 2]}, follow_redirects=True, max_response_bytes=10, retry=Retry(2)),
     "a: {http: {method: GET, url: https://x, query: {a: [1, 2]}, follow_redirects: true, max_response_bytes: 10}, retry: {max_attempts: 2}}"),
    (lambda x: publish("a", x, kafka="t"), 'a: {publish: {kafka: {topic: t}, value: "{{ input }}"}}'),
    (lambda x: publish("a", 1, rabbitmq={"exchange": "e", "routing_key": x.a}, headers={"h": "1"}), 'a: {publish: {rabbitmq: {exchange: e, routing_key: "{{ input.a }}"}, value: 1, headers: {h: "1"}}}'),
    (lambda x: publish("a", 1, memory=x.a, cloudevent={"type": "t", "source": "/s"}), 'a: {publish: {memory: {topic: "{{ input.a }}"}, value: 1, cloudevent: {type: t, source: /s}}}'),
    (lambda _: transform("a", None), "a: {transform: null}"),
    (lambda x: assign("a", {"total": variables.total + x.a}), 'a: {set: {total: "{{ vars.total + input.a }}"}}'),
    (lambda _: wait("a", "1h30m"), "a: {wait: 1h30m}"),
    (lambda x: wait("a", x.delay), 'a: {wait: "{{ input.delay }}"}'),
    (lambda _: wait("a", timedelta(days=1, seconds=1)), "a: {wait: 1d1s}"),
    (lambda x: wait("a", until=x.at), 'a: {wait: {until: "{{ input.at }}"}}'),
    (lambda _: wait("a", until=datetime(2031, 5, 1, tzinfo=UTC)), 'a: {wait: {until: "2031-05-01T00:00:00Z"}}'),
    (lambda _: signal("a", "go"), "a: {signal: go}"),
    (lambda _: signal("a", "go", dict[str, int], timeout=timedelta(hours=24)), "a: {signal: {name: go, timeout: 1d}}"),
    (lambda _: fail("a", "no"), "a: {fail: 'no'}"),
    (lambda x: fail("a", "no", code="sold_out", details=x), 'a: {fail: {message: "no", code: sold_out, details: "{{ input }}"}}'),
    (lambda x: branch("a", x.b > 1), 'a: {branch: "{{ input.b > 1 }}"}'),
    (lambda x: switch("a", x.b, ["de", 7, True]), 'a: {branch: {switch: "{{ input.b }}", cases: [de, 7, true]}}'),
    (lambda x: switch("a", x.b, {"ok": [200, 204], "gone": 410}).default, 'a: {branch: {switch: "{{ input.b }}", cases: {ok: [200, 204], gone: 410}}}'),
    (lambda x: choose("a", {"large": x.b > 1, "rush": x.rush})["rush"], 'a: {branch: {cases: [{large: "{{ input.b > 1 }}"}, {rush: "{{ input.rush }}"}]}}'),
    (lambda _: node("a", {"transform": [env.REGION, execution.id, trigger.name]}, list[str]), 'a: {transform: ["{{ env.REGION }}", "{{ execution.id }}", "{{ trigger.name }}"]}'),
    (lambda x: node("a", {"function": "t.f", "with": {"n": x.b}}, int), 'a: {function: t.f, with: {n: "{{ input.b }}"}}'),
    (lambda x: node("a", {"sql": {"connection": "db", "query": "SELECT %(b)s", "params": {"b": x.b}}}, list), 'a: {sql: {connection: db, query: "SELECT %(b)s", params: {b: "{{ input.b }}"}}}'),
    (lambda x: node("a", {"approval": {"prompt": "ok?", "approvers": [x.b]}}, dict), 'a: {approval: {prompt: "ok?", approvers: ["{{ input.b }}"]}}'),
    (lambda _: look.options(compensate=refund)("p"), 'look: {task: look, with: {what: p}, compensate: {task: refund, with: {payment: "{{ step.output }}"}, retry: {max_attempts: 3}, timeout: 5s}}'),
    (lambda _: look.options(compensate=whole)("p"), 'look: {task: look, with: {what: p}, compensate: {task: whole, with: "{{ step.output }}"}}'),
    (lambda _: look.options(compensate=lambda done: refund(done.output.id, done.input["what"]))(), 'look: {task: look, compensate: {task: refund, with: {payment: "{{ step.output.id }}", amount: "{{ step.input.what }}"}, retry: {max_attempts: 3}, timeout: 5s}}'),
    (lambda _: look.options(compensate=undo(refund.options(retry=None), kind="eventual"))(), 'look: {task: look, compensate: {task: refund, with: {payment: "{{ step.output }}"}, timeout: 5s, kind: eventual}}'),
    (lambda _: look.options(compensate=lambda done: http("undo", "DELETE", f"https://x/{done.output.id}", timeout="1s"))(), 'look: {task: look, compensate: {http: {method: DELETE, url: "https://x/{{ step.output.id }}"}, timeout: 1s}}'),
    (lambda _: look.options(compensate=irreversible("it is out", manual="write"))(), "look: {task: look, compensate: {irreversible: {reason: it is out, manual: write}}}"),
    (lambda _: http("a", "GET", "https://x", compensate=irreversible("it is out")), "a: {http: {method: GET, url: https://x}, compensate: {irreversible: {reason: it is out}}}"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "written"), NODES)
def test_a_node_is_what_it_is_in_yaml(make: Callable[[Any], object], written: str) -> None:
    """The compiler accepts it, but for what this daemon does not have."""

    def flow(order: Any) -> None:
        make(order)

    expected = yaml.safe_load(f"{{{written}}}")
    assert nodes(flow) == expected
    if "concurrency" not in written:
        whole_document = {"workflow": "w", **document(flow, vars={"total": 0})}
        compiler(handlers=None).load_text(json.dumps(whole_document), "flow.json")


def test_every_type_of_node_is_in_the_tests() -> None:
    """So that one that is added is not forgotten here: each has a function of its own in daemon/flow."""
    written = " ".join(text for _, text in NODES) + " ".join(BODIES) + " join:"
    assert [name for name in builtin_node_types() if f"{name}:" not in written] == []


def bodies(order: Any) -> None:
    with for_each("each", order.items, limit=5) as each:
        each.skip_if(each.item.x == each.index)
        look.options(id="in_each")(each.previous)
        each.stop_if(each.iteration > each.total)
        each.collect(each.item)
    with for_times("times", 3) as times:
        times.last(look.options(id="in_times")(times.item))
    with for_range("count_down", order.a, 1, -3, after=each) as count_down:
        look.options(id="in_count_down")(count_down.item)
    with for_range("count_up", 1, 3):
        look.options(id="in_count_up")()
    with while_loop("going", lambda going: going.index < order.a, limit=50, on_error="continue") as going:
        going.collect(look.options(id="in_going")())
    with do_while("polling") as polling:
        found = look.options(id="in_polling")()
        polling.again_if(found.more)
        polling.last(found)
    with parallel("beside", order.items, concurrency=2, on_failure="collect", enough=1, limit=9) as beside:
        look.options(id="in_beside")([beside.item, beside.total])
        beside.aggregate(beside.results[0])
    with parallel("twice", 2):
        look.options(id="in_twice")()
    with saga("together", "confirm_each", description="All or nothing.") as together:
        together.output(look.options(id="in_together")())
    with group("other", {"saga": "manual"}):
        look.options(id="in_other")()


BODIES = [
    'each: {forEach: "{{ input.items }}", limit: 5, continue: "{{ loop.item.x == loop.index }}", break: "{{ loop.iteration > loop.total }}", do: {nodes: {in_each: {task: look, with: {what: "{{ loop.previous }}"}}}, output: "{{ loop.item }}"}}',
    'times: {for: 3, collect: false, do: {nodes: {in_times: {task: look, with: {what: "{{ loop.item }}"}}}, output: "{{ in_times }}"}}',
    'count_down: {for: {from: "{{ input.a }}", to: 1, step: -3}, do: {nodes: {in_count_down: {task: look, with: {what: "{{ loop.item }}"}}}}}',
    "count_up: {for: {from: 1, to: 3}, do: {nodes: {in_count_up: {task: look}}}}",
    'going: {while: "{{ loop.index < input.a }}", limit: 50, on_error: continue, collect: true, do: {nodes: {in_going: {task: look}}, output: "{{ in_going }}"}}',
    'polling: {doWhile: "{{ in_polling.more }}", do: {nodes: {in_polling: {task: look}}, output: "{{ in_polling }}"}}',
    'beside: {parallel: "{{ input.items }}", concurrency: 2, on_failure: collect, enough: 1, limit: 9, aggregate: "{{ parallel.results[0] }}", do: {nodes: {in_beside: {task: look, with: {what: ["{{ parallel.currentItem }}", "{{ parallel.total }}"]}}}}}',
    "twice: {parallel: 2, do: {nodes: {in_twice: {task: look}}}}",
    'together: {saga: confirm_each, description: All or nothing., do: {nodes: {in_together: {task: look}}, output: "{{ in_together }}"}}',
    "other: {saga: manual, do: {nodes: {in_other: {task: look}}}}",
]  # fmt: skip


def test_bodies_are_what_they_are_in_yaml() -> None:
    expected = {key: value for text in BODIES for key, value in yaml.safe_load(f"{{{text}}}").items()}
    assert nodes(bodies) == expected
    compiler(handlers=None).load_text(json.dumps({"workflow": "w", **document(bodies)}), "flow.json")


TRIGGERS = [
    (kafka("orders"), "{name: orders, kafka: {topic: orders}}"),
    (kafka("a", topic="t", group="g", batch=5, start_from="latest", max_unresolved=9, dead_letter="d", retry=Retry(2)),
     "{name: a, kafka: {topic: t, group: g, batch: 5, start_from: latest, max_unresolved: 9}, dead_letter: d, retry: {max_attempts: 2}}"),
    (rabbitmq("a", queue="q", prefetch=3, declare=False, queue_type="classic", exchange="e", exchange_type="topic", routing_keys=["#"], dead_letter_exchange="x"),
     '{name: a, rabbitmq: {queue: q, prefetch: 3, declare: false, queue_type: classic, exchange: e, exchange_type: topic, routing_keys: ["#"], dead_letter_exchange: x}}'),
    (memory("a", filter=message.value.total > 0, dedupe=message.headers["x-id"], scope="s", input={"a": message.value}),
     """{name: a, memory: {topic: a}, filter: "{{ message.value.total > 0 }}", dedupe: "{{ message.headers['x-id'] }}", scope: s, input: {a: "{{ message.value }}"}}"""),
    (memory("a", signal=SignalTo("go", key=message.value.id, scope="w/x")), '{name: a, memory: {topic: a}, signal: {name: go, key: "{{ message.value.id }}", scope: w/x}}'),
    (memory("a", signal=SignalTo("go", execution=message.value.id)), '{name: a, memory: {topic: a}, signal: {name: go, execution: "{{ message.value.id }}"}}'),
    (webhook("a", path="b/c", verify={"scheme": "github", "secret": secret.HOOK}, identity="x-id", max_body_bytes=9),
     '{name: a, webhook: {path: b/c, verify: {scheme: github, secret: "{{ secret.HOOK }}"}, identity: x-id, max_body_bytes: 9}}'),
    (schedule("a", "0 3 * * *", timezone="Europe/Berlin", catch_up="all", max_catch_up=3), "{name: a, schedule: {cron: 0 3 * * *, timezone: Europe/Berlin, catch_up: all, max_catch_up: 3}}"),
    (schedule("a", every=timedelta(minutes=5)), "{name: a, schedule: {every: 5m}}"),
    (on("memory", "a", {"topic": "t", "group": None}), "{name: a, memory: {topic: t}}"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "written"), TRIGGERS)
def test_a_trigger_is_what_it_is_in_yaml(made: Any, written: str) -> None:
    assert made.document == yaml.safe_load(written)
    named = {"workflow": "w", "triggers": [made.document], "nodes": {"a": {"transform": 1}}}
    if "signal" not in written:
        compiler().load_text(json.dumps(named), "flow.json")


def test_every_kind_of_trigger_is_in_the_tests() -> None:
    assert {kind for kind in KINDS if any(kind in made.document for made, _ in TRIGGERS)} == set(KINDS)


def test_the_workflow_says_all_that_it_can_in_yaml() -> None:
    @workflow(
        "all",
        description="All.",
        input={"type": "object"},
        triggers=[kafka("orders")],
        vars={"total": 0, "since": datetime(2031, 5, 1, tzinfo=UTC)},
        concurrency=3,
        timeout=timedelta(hours=2),
        on_error="continue",
        undo="manual",
        limits={"output_bytes": 10},
        snapshot_every=0,
        snapshot_interval="30s",
        snapshot_keep=5,
        checkpoint_every=100,
        keys={"snapshot_every": 9, "retention": {"completed": "7d", "archive": False}},
    )
    def flow(order: Any) -> Any:
        return {"a": look(order)}

    assert flow.document == yaml.safe_load("""
        workflow: all
        description: All.
        input: {type: object}
        triggers: [{name: orders, kafka: {topic: orders}}]
        vars: {total: 0, since: "2031-05-01T00:00:00Z"}
        concurrency: 3
        timeout: 2h
        on_error: continue
        undo: manual
        limits: {output_bytes: 10}
        snapshot_every: 9
        snapshot_interval: 30s
        snapshot_keep: 5
        checkpoint_every: 100
        retention: {completed: 7d, archive: false}
        nodes: {look: {task: look, with: {what: "{{ input }}"}}}
        output: {a: "{{ look }}"}
    """)
    compiler(handlers=None).load_text(json.dumps(flow.document), "flow.json")


def test_a_handler_can_be_a_step() -> None:
    """It keeps its name."""

    @handler("shop.buy")
    async def buy(what: str) -> str:
        return what

    def flow(_: Any) -> None:
        step(buy)("x")

    assert nodes(flow) == {"buy": {"task": "shop.buy", "with": {"what": "x"}}}


def test_a_step_keeps_its_function() -> None:
    """A unit test calls it."""
    assert nothing.function.__name__ == "nothing"
    assert repr(nothing) == "<Step nothing>"
    assert refund.__doc__ is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: untyped(), "refund: missing a required argument: 'payment'"),
        (lambda _: untyped("a", 1, 2), "refund: too many positional arguments"),
        (lambda _: untyped(pay="a"), "refund: missing a required argument: 'payment'"),
        (lambda _: untyped.options(retries=3)("p"), "there is no option 'retries'"),
        (lambda _: unchecked(1, 2, 3), "counted: too many positional arguments"),
        (lambda _: [look(), look()], "there is another node `look`"),
        (lambda _: wait("a"), "`a` waits either for a length of time or `until` a time"),
        (lambda _: wait("a", "1s", until="2031"), "`a` waits either for a length of time or `until` a time"),
        (lambda x: look.options(default=x)(), "a default must be known before the workflow runs"),
        (lambda _: look(object()), "the value has no JSON form: object has none"),
        (lambda x: look({f"{x}": 1}), "a key is a fixed text, and this one holds an expression"),
        (lambda _: look.options(compensate=lambda _done: None)(), "`look` is undone by one node, and not by 0"),
        (lambda _: look.options(compensate=lambda _done: [refund("a"), refund("a")])(), "`look` is undone by one node, and not by 2"),
        (lambda _: untyped.options(compensate=7)("p"), "a int undoes nothing"),
        (lambda _: unended(), "`a` does not say when it goes on"),
        (written_twice, "`a` has its body already"),
        (lambda x: for_each("a", x).collect(1), "`a` has no body yet"),
        (lambda x: [each := for_each("a", x), for_each("b", x).__enter__(), each.__enter__()], "the body of `a` must be written where the node is made"),
        (lambda x: join("a", any_of(x)), "one can come after nodes only, and this is none"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_where_it_is_written(make: Callable[[Any], object], message: str) -> None:
    problem = mistake(make)
    assert problem.message == message
    assert problem.file == __file__


def test_steps_are_called_in_workflows_only() -> None:
    with pytest.raises(Misconfigured, match=r"decorated with @workflow.*`step\.function"):
        look(1)
