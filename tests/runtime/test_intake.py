"""Messages in, verdicts out: each message gets exactly one, and nothing is half-done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from daemon.core.errors import InvalidInput, UnknownWorkflow
from daemon.core.state import Running
from daemon.core.values import from_json
from eventstore.index import ExecutionFilter
from tests.support.daemons import finished, running, settings_for
from triggers.message import Ack, DeadLetter, Inbound, Retry
from triggers.routing import execution_id

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.assembled import Daemon

WORKFLOWS = """
workflow: order
input: {type: object, required: [id, total], properties: {id: {type: string}, total: {type: number, minimum: 0}}}
triggers:
  - name: orders
    memory: {topic: orders}
    filter: "{{ message.value.total > 0 }}"
    dedupe: "{{ message.value.id }}"
  - name: plain
    memory: {topic: plain}
  - name: approvals
    memory: {topic: approvals}
    signal: {name: approved, scope: order/orders, key: "{{ message.value.order }}"}
    input: "{{ message.value.by }}"
nodes:
  ask: {signal: approved}
  done: {transform: {by: "{{ ask }}", source: "{{ trigger.source }}", headers: "{{ trigger.headers }}"}}
edges: [ask -> done]
output: "{{ done }}"
"""


NESTED = """
workflow: strict
input: {type: object, additionalProperties: false, properties: {id: {}}}
triggers: [{name: any, memory: {topic: strict}}]
nodes: {show: {transform: "{{ input }}"}}
---
workflow: open
triggers:
  - {name: any, memory: {topic: open}}
  - {name: told, memory: {topic: told}, signal: {name: told, scope: open/any, key: "{{ message.value.id }}"}}
nodes:
  count: {transform: "{{ input.deep | length }}"}
  told: {signal: told}
  show: {transform: "{{ told.deep | length }}"}
edges: [told -> show]
"""


def inbound(trigger: str, body: bytes, **fields: Any) -> Inbound:
    return Inbound(
        trigger=f"order/{trigger}",
        source=f"test:{trigger}",
        identity=fields.pop("identity", None),
        body=body,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        **fields,
    )


async def take(daemon: Daemon, *batch: Inbound) -> list[object]:
    return list(await daemon.intake(batch))


async def count(daemon: Daemon) -> int:
    return len(await daemon.store.index.executions(ExecutionFilter()))


async def test_a_message_starts_one_execution_however_often_it_comes(tmp_path: Path) -> None:
    """Twice in one batch, and again later: started once, then a duplicate."""
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        order = inbound("orders", b'{"id": "A1", "total": 5}')
        target = execution_id("order/orders", "A1")
        assert await take(daemon, order, order) == [Ack("started", target), Ack("duplicate", target)]
        assert await take(daemon, order) == [Ack("duplicate", target)]
        assert await count(daemon) == 1


async def test_each_message_of_a_batch_has_its_own_verdict(tmp_path: Path) -> None:
    """Good, filtered, not JSON, against the schema, without a value for the filter, without an identity."""
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        verdicts = await take(
            daemon,
            inbound("orders", b'{"id": "A1", "total": 5}'),
            inbound("orders", b'{"id": "A2", "total": 0}'),
            inbound("orders", b"{nonsense", content_type="application/json"),
            inbound("orders", b'{"id": 3, "total": 5}'),
            inbound("orders", b'{"id": "A4"}'),
            inbound("plain", b'{"id": "A5", "total": 5}'),
            inbound("plain", b'{"id": "A6", "total": 5}', identity="broker/6"),
        )
        shown = [
            (type(each).__name__, getattr(each, "outcome", None) or getattr(each, "code", None)) for each in verdicts
        ]
        assert shown == [
            ("Ack", "started"),
            ("Ack", "filtered"),
            ("DeadLetter", "undecodable"),
            ("DeadLetter", "invalid"),
            ("DeadLetter", "expression"),
            ("DeadLetter", "unidentified"),
            ("Ack", "started"),
        ]
        assert await count(daemon) == 2


async def test_a_dead_letter_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        (verdict,) = await take(daemon, inbound("orders", b'{"id": 3, "total": 5}'))
        assert isinstance(verdict, DeadLetter)
        assert verdict.reason == "id: expected text, not the number 3"


@pytest.mark.parametrize("levels", [130, 256, 960, 975, 990])
@pytest.mark.parametrize("trigger", ["strict/any", "open/any", "open/told"])
async def test_a_message_that_is_nested_too_deeply_is_a_dead_letter(tmp_path: Path, trigger: str, levels: int) -> None:
    """The daemon goes on: no message may bring it down, and it would come again."""
    body = b'{"id": "A1", "deep": %s%s}' % (b"[" * levels, b"]" * levels)
    message = Inbound(
        trigger=trigger,
        source="test",
        identity="A1",
        body=body,
        content_type="application/json",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    async with running(settings_for(tmp_path, NESTED)) as daemon:
        await daemon.intake.start("open", {"deep": [1]}, key="A1", actor="test")
        (verdict,) = await take(daemon, message)
        assert isinstance(verdict, DeadLetter)
        assert "deep" in verdict.reason


async def test_a_value_with_many_lists_side_by_side_is_not_deep(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, NESTED)) as daemon:
        target, _ = await daemon.intake.start("open", {"deep": [[each] for each in range(1000)]}, actor="test")
        state = await daemon.history.load(target)
        assert isinstance(state, Running)
        assert len(from_json(state.input)["deep"]) == 1000


async def test_a_signal_finds_its_execution_by_the_key_it_was_started_with(tmp_path: Path) -> None:
    """Before the start, twice: the execution gets it once, when it starts."""
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        target = execution_id("order/orders", "A1")
        approval = inbound("approvals", b'{"order": "A1", "by": "ann"}', identity="m1")
        assert await take(daemon, approval, approval) == [Ack("signalled", target), Ack("duplicate", target)]
        assert await take(daemon, inbound("orders", b'{"id": "A1", "total": 5}')) == [Ack("started", target)]
        assert from_json((await finished(daemon, target)).output)["by"] == "ann"
        late = inbound("approvals", b'{"order": "A1", "by": "bob"}', identity="m2")
        (verdict,) = await take(daemon, late)
        assert isinstance(verdict, DeadLetter)
        assert verdict.code == "refused"
        assert await take(daemon, approval) == [Ack("duplicate", target)]


async def test_headers_that_may_hold_secrets_are_not_recorded(tmp_path: Path) -> None:
    headers = {"x-request": "7", "authorization": "Bearer abc", "x-hub-signature-256": "abc", "x-auth-token": "abc"}
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        (verdict,) = await take(daemon, inbound("orders", b'{"id": "A1", "total": 5}', headers=headers))
        assert isinstance(verdict, Ack)
        target = execution_id("order/orders", "A1")
        await daemon.intake.signal(target, "approved", "ann", actor="test")
        output = from_json((await finished(daemon, target)).output)
        assert output == {"by": "ann", "source": "test:orders", "headers": {"x-request": "7"}}


async def test_a_message_for_a_trigger_that_is_gone_is_tried_again(tmp_path: Path) -> None:
    """It was received before a reload took its trigger away: the broker keeps it, it is not lost."""
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        (verdict,) = await take(daemon, inbound("forgotten", b"{}"))
        assert isinstance(verdict, Retry)


async def test_starts_by_name_are_checked_and_repeatable(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path, WORKFLOWS)) as daemon:
        with pytest.raises(UnknownWorkflow, match="'nosuch'; loaded are: order"):
            await daemon.intake.start("nosuch", {}, actor="test")
        with pytest.raises(InvalidInput, match="total"):
            await daemon.intake.start("order", {"id": "A1", "total": -1}, actor="test")
        first, handled = await daemon.intake.start("order", {"id": "A1", "total": 1}, key="k", actor="test")
        again, repeated = await daemon.intake.start("order", {"id": "A1", "total": 1}, key="k", actor="test")
        assert (first, bool(handled.events)) == (again, True)
        assert repeated.events == ()
        assert await count(daemon) == 1
