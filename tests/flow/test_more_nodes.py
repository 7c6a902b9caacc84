# ruff: noqa: E501  tables: one line is one case
"""Approvals, statements, durable functions, paged loops, limits and caches in Python mean what they mean in YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from daemon.core.errors import Misconfigured
from daemon.durable import DurableContext, durable
from daemon.flow import (
    Cache,
    Escalate,
    Mail,
    Page,
    Rate,
    Retry,
    Slack,
    Tell,
    Throttle,
    Webhook,
    approval,
    for_pages,
    function,
    notice,
    secret,
    sql,
    step,
    task,
    undo,
    workflow,
)
from tests.support.definitions import compiler
from tests.support.flows.building import document, edges, look, mistake, nodes

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Form:
    centre: str


@step("tell")
async def tell(to: str, notice: dict[str, str]) -> None: ...


@step("list", retry=Retry(3), timeout="5s", description="Lists them.")
async def listed(after: str | None = None) -> Page[int]:
    return {"items": [], "next": after}


@durable("orders.fulfil")
async def fulfil(ctx: DurableContext, items: list[str], total: float = 0) -> str:
    return ctx.address


@durable()
async def unnamed(ctx: DurableContext, input: dict[str, Any]) -> str:  # noqa: A002  the whole of `with`
    return ctx.address


@durable("without")
async def without(bad: DurableContext, *many: str) -> str:
    return bad.address


def plain(a: int) -> int:
    return a


any_function: Any = function
any_plain: Any = plain


def paged(x: Any) -> None:
    with for_pages("a", lambda page: listed(f"{x.a} {page.cursor}"), limit=7, on_error="continue") as each:
        each.collect(look([each.item, each.total]))


def remote_pages(_: Any) -> None:
    with for_pages(
        "a", lambda page: task("t", "far.list", {"n": page.number}, Page[int], keys={"worker": "q"})
    ) as each:
        each.last(look(each.item))


NODES: list[tuple[Callable[[Any], object], str]] = [
    (lambda x: approval("a", f"Pay {x.a}?", "ann"), 'a: {approval: {prompt: "Pay {{ input.a }}?", approvers: ann}}'),
    (lambda x: approval("a", "ok?", x.b, rule=2), 'a: {approval: {prompt: "ok?", approvers: "{{ input.b }}", rule: {quorum: 2}}}'),
    (lambda x: approval("a", "ok?", ("ann", x.b), rule="all", timeout=timedelta(days=2), on_timeout="approve", reminder="4h", comment="required", description="Why."),
     'a: {approval: {prompt: "ok?", approvers: [ann, "{{ input.b }}"], rule: all, timeout: 2d, on_timeout: approve, reminder: 4h, comment: required}, description: Why.}'),
    (lambda _: approval("a", "ok?", ["ann"], timeout="1d", on_timeout=Escalate("cfo", rule="all", timeout=timedelta(hours=1), then="reject")),
     'a: {approval: {prompt: "ok?", approvers: [ann], timeout: 1d, on_timeout: {escalate: {to: cfo, rule: all, timeout: 1h, then: reject}}}}'),
    (lambda _: approval("a", "ok?", ["ann"], timeout="1d", on_timeout=Escalate(["x", "y"], rule=2)), 'a: {approval: {prompt: "ok?", approvers: [ann], timeout: 1d, on_timeout: {escalate: {to: [x, y], rule: {quorum: 2}}}}}'),
    (lambda _: approval("a", "ok?", ["ann"], form={"type": "object"}), 'a: {approval: {prompt: "ok?", approvers: [ann], form: {type: object}}}'),
    (lambda _: approval("a", "ok?", ["ann"], notify=[Mail(f"{notice.approver}@x.de", subject="s"), Mail(["a@x.de"], text="t"), Slack(secret.SLACK), Webhook("https://x", secret=secret.HOOK, headers={"a": "b"})]),
     'a: {approval: {prompt: "ok?", approvers: [ann], notify: [{smtp: {to: "{{ approval.approver }}@x.de", subject: s}}, {smtp: {to: [a@x.de], text: t}}, {slack: {webhook_url: "{{ secret.SLACK }}"}}, {webhook: {url: "https://x", secret: "{{ secret.HOOK }}", headers: {a: b}}}]}}'),
    (lambda _: approval("a", "ok?", ["ann"], notify=[Tell("far.tell"), Tell(tell, {"to": notice.approver})]),
     'a: {approval: {prompt: "ok?", approvers: [ann], notify: [{handler: far.tell}, {handler: tell, with: {to: "{{ approval.approver }}"}}]}}'),
    (lambda x: sql("a", "db", "select %(b)s", {"b": x.b}), 'a: {sql: {connection: db, query: "select %(b)s", params: {b: "{{ input.b }}"}}}'),
    (lambda _: sql("a", "db", "select 1", fetch="value", type_=int, statement_timeout=timedelta(seconds=2), read_only=True, max_rows=3, max_bytes=4, timeout="1s", retry=Retry(2)),
     "a: {sql: {connection: db, query: select 1, fetch: value, read_only: true, max_rows: 3, max_bytes: 4, timeout: 2s}, timeout: 1s, retry: {max_attempts: 2}}"),
    (lambda x: function("a", fulfil)(x.a, total=3), 'a: {function: orders.fulfil, with: {items: "{{ input.a }}", total: 3}}'),
    (function("a", unnamed, on_error="continue"), 'a: {function: tests.flow.test_more_nodes.unnamed, with: "{{ input }}", on_error: continue}'),
    (lambda x: function("a", "far.f")(x.a), 'a: {function: far.f, with: "{{ input.a }}"}'),
    (lambda x: function("a", "far.f", str)(n=x.a), 'a: {function: far.f, with: {n: "{{ input.a }}"}}'),
    (lambda _: function("a", "far.f")(), "a: {function: far.f}"),
    (paged, 'a: {forEach: {pages: {task: list, with: {after: "{{ input.a }} {{ page.cursor }}"}, retry: {max_attempts: 3}, timeout: 5s}}, limit: 7, on_error: continue, do: {nodes: {look: {task: look, with: {what: ["{{ loop.item }}", "{{ loop.total }}"]}}}, output: "{{ look }}"}}'),
    (remote_pages, 'a: {forEach: {pages: {task: far.list, with: {n: "{{ page.number }}"}, worker: q}}, collect: false, do: {nodes: {look: {task: look, with: {what: "{{ loop.item }}"}}}, output: "{{ look }}"}}'),
    (lambda _: look.options(throttle=Throttle(concurrency=2))(), "look: {task: look, throttle: {concurrency: 2}}"),
    (lambda x: look.options(throttle=Throttle(rate=Rate(5, timedelta(minutes=1)), key=x.a, fair=x.b), priority=x.p)(), 'look: {task: look, throttle: {rate: {limit: 5, per: 1m}, key: "{{ input.a }}", fair: "{{ input.b }}"}, priority: "{{ input.p }}"}'),
    (lambda x: look.options(cache=Cache([x.a, 1], timedelta(hours=1)))(), 'look: {task: look, cache: {key: ["{{ input.a }}", 1], ttl: 1h}}'),
    (lambda x: look.options(cache=Cache(x.a, "1h", name="n"))(), 'look: {task: look, cache: {key: "{{ input.a }}", ttl: 1h, name: n}}'),
]  # fmt: skip


@pytest.mark.parametrize(("make", "written"), NODES)
def test_a_node_is_what_it_is_in_yaml(make: Callable[[Any], object], written: str) -> None:
    """The compiler accepts it, but for what this daemon does not have."""

    def flow(order: Any) -> None:
        make(order)

    assert nodes(flow) == yaml.safe_load(f"{{{written}}}")
    compiler(handlers=None).load_text(json.dumps({"workflow": "w", **document(flow)}), "flow.json")


def test_a_shared_limit_is_named() -> None:
    """Alone, or beside others; the compiler knows those of the settings only."""

    def flow(order: Any) -> None:
        look.options(throttle="payments")()
        look.options(id="both", throttle=["payments", Throttle(shared="mail", key=order.a)])()

    assert nodes(flow) == {
        "look": {"task": "look", "throttle": "payments"},
        "both": {"task": "look", "throttle": ["payments", {"shared": "mail", "key": "{{ input.a }}"}]},
    }


def test_the_type_of_a_form_is_its_schema() -> None:
    def flow(_: Any) -> None:
        approval("a", "ok?", ["ann"], form=Form)

    form = nodes(flow)["a"]["approval"]["form"]
    assert form["$defs"]["Form"]["required"] == ["centre"]


def test_what_follows_an_approval_begins_by_its_way() -> None:
    def flow(_: Any) -> None:
        ask = approval("a", "ok?", ["ann"], form=Form)
        with ask.approved as said:
            look(said["data"].centre)
        with ask.rejected:
            look.options(id="other")()
        look.options(id="late", after=ask["error"])()

    assert edges(flow) == ["a.approved -> look", "a.rejected -> other", "a.error -> late"]
    assert nodes(flow)["look"]["with"] == {"what": "{{ a.data.centre }}"}


def test_what_fetches_pages_comes_after_what_it_reads() -> None:
    def flow(_: Any) -> None:
        first = look()
        with for_pages("a", lambda page: listed(f"{first} {page.number}")):
            look.options(id="inside")()

    assert edges(flow) == ["look -> a"]


def test_executions_are_limited_by_what_the_input_says() -> None:
    @workflow(
        "limited",
        input=None,
        throttle=lambda tenant, _files: [Throttle(concurrency=1, key=tenant), "all"],
        priority=lambda _tenant, files: files.priority,
    )
    def limited(tenant: str, files: Any) -> None:
        look([tenant, files])

    assert limited.document["throttle"] == [{"concurrency": 1, "key": "{{ input.tenant }}"}, "all"]
    assert limited.document["priority"] == "{{ input.files.priority }}"
    fixed = workflow("fixed", input=None, throttle=Throttle(concurrency=1), priority=3)(lambda: None)
    assert (fixed.document["throttle"], fixed.document["priority"]) == ({"concurrency": 1}, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: any_function("a", plain), "'plain' is no durable function"),
        (lambda _: any_function("a", fulfil)(), "orders.fulfil: missing a required argument: 'items'"),
        (lambda _: any_function("a", without), "without: it takes *many: 'str'; a handler names each of its parameters"),
        (lambda _: function("a", "far.f")(1, 2), "a function that is known by its name alone takes one value, or values by name"),
        (lambda _: for_pages("a", lambda _page: {"items": []}), "the pages of `a` are fetched by one step, and not by 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_where_it_is_written(make: Callable[[Any], object], message: str) -> None:
    problem = mistake(make)
    assert (problem.message, problem.file) == (message, __file__)


@pytest.mark.parametrize("limited", [look.options(throttle="x"), listed.options(throttle="x")])
def test_a_limit_of_what_undoes_a_step_or_fetches_pages_is_refused(limited: Any) -> None:
    """It is not left out without a word."""

    def flow(_: Any) -> None:
        if limited.name == "look":
            look.options(compensate=undo(lambda _done: limited(), kind="idempotent"))()
        else:
            for_pages("a", lambda page: limited(page.cursor)).__enter__().__exit__(None, None, None)

    text = json.dumps({"workflow": "w", **document(flow)})
    with pytest.raises(Misconfigured, match="there is no key `throttle` here"):
        compiler(handlers=None).load_text(text, "flow.json")
