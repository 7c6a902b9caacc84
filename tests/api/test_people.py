"""Approvals and inputs over HTTP: listed, decided, refused; and the pages behind signed links."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from daemon.core.events import ApprovalRefused
from daemon.core.values import from_json
from daemon.runtime.approval_links import ApprovalLinks, Link
from daemon.settings import Http
from daemon.settings_people import Approvals
from tests.api.conftest import client_of, started
from tests.support.daemons import finished, running, settings_for, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from daemon.assembled import Daemon

KEY, OLD_KEY = "k" * 32, "o" * 32
WORKFLOWS = """
workflow: pay
nodes:
  ask:
    approval:
      prompt: "Pay <b>{{ input }}</b>?"
      approvers: [ann, "group:finance"]
      rule: all
      comment: on_reject
      form: {type: object, properties: {limit: {type: integer}}, required: [limit]}
      timeout: 2d
  yes: {transform: "{{ ask.by }}"}
  no: {transform: "{{ ask.comment }}"}
edges: [ask.approved -> yes, ask.rejected -> no]
---
workflow: choose
nodes: {pick: {task: pick}}
"""
DATA = {"limit": 5}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    approvals = Approvals(groups=("finance: bob cid",), public_url="https://sagad.example/", link_keys=(KEY, OLD_KEY))
    settings = settings_for(
        tmp_path,
        WORKFLOWS,
        handlers="tests.support.pausing_handlers",
        approvals=approvals,
        http=Http(token="t" * 16, max_body_bytes=4096),
    )
    async with running(settings) as here:
        yield here


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(daemon) as here:
        here.headers["Authorization"] = f"Bearer {'t' * 16}"
        yield here


async def asked(client: httpx.AsyncClient, value: object = 7) -> UUID:
    return UUID((await started(client, "pay", value))["execution_id"])


async def decide(
    client: httpx.AsyncClient, target: UUID, actor: str, decision: str = "approve", **more: Any
) -> httpx.Response:
    body = {"decision": decision, **more}
    return await client.post(f"/executions/{target}/approvals/ask", json=body, headers={"Sagad-Actor": actor})


def link_to(target: UUID, approver: str, question: int = 2, key: str = KEY, *, lasts: timedelta | None = None) -> str:
    links = ApprovalLinks((key,), "https://sagad.example", timedelta(days=1))
    now = NOW_OF[0]
    made = Link(target, "ask", question, approver, int((now + (lasts or timedelta(days=1))).timestamp()))
    return f"/approve/{links.token(made)}"


NOW_OF: list[Any] = []


@pytest.fixture(autouse=True)
def now(daemon: Daemon) -> None:
    """Let links be made by the daemon's clock."""
    NOW_OF[:] = [daemon.clock.now()]


async def test_an_approval_is_listed_for_whoever_may_decide(daemon: Daemon, client: httpx.AsyncClient) -> None:
    """By name or by group; once somebody has decided, not for him any more."""
    target = await asked(client)
    for who in ("ann", "bob", None):
        listed = (await client.get("/approvals", params={"approver": who} if who else {})).json()["approvals"]
        assert [(one["execution_id"], one["prompt"]) for one in listed] == [(str(target), "Pay <b>7</b>?")]
    assert (await client.get("/approvals?approver=eve")).json()["approvals"] == []
    assert (await decide(client, target, "bob", data=DATA)).json()["changed"] is True
    assert (await client.get("/approvals?approver=cid")).json()["approvals"] == []
    assert (await decide(client, target, "ann", data=DATA, comment="ok")).status_code == 200
    state = await finished(daemon, target)
    assert from_json(state.output) == {"yes": ["ann", "bob"]}
    done = (await client.get("/approvals?status=approved&approver=ann")).json()["approvals"]
    assert [one["status"] for one in done] == ["approved"]


async def test_pages_of_approvals_follow_each_other(client: httpx.AsyncClient) -> None:
    targets = [str(await asked(client, number)) for number in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = (await client.get("/approvals", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [one["execution_id"] for one in page["approvals"]]
        cursor = page["next"]
    assert (sorted(seen), cursor) == (sorted(targets), None)
    assert (await client.get("/approvals?cursor=zzz")).status_code == 422


async def test_who_may_not_decide_is_refused_and_on_record(daemon: Daemon, client: httpx.AsyncClient) -> None:
    target = await asked(client)
    for _ in range(2):
        answer = await decide(client, target, "eve", data=DATA)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")
    events = [recorded.event for recorded in await daemon.history.events(target)]
    assert [event.actor for event in events if isinstance(event, ApprovalRefused)] == ["eve"]


async def test_what_the_form_does_not_allow_names_the_place(client: httpx.AsyncClient) -> None:
    target = await asked(client)
    answer = await decide(client, target, "ann", data={"limit": "much"})
    assert answer.status_code == 422
    assert "limit" in answer.json()["detail"]
    assert (await decide(client, target, "ann")).status_code == 422
    assert (await decide(client, target, "ann", "reject")).status_code == 409
    assert (await decide(client, target, "ann", "reject", comment="no")).status_code == 200
    late = await decide(client, target, "bob", data=DATA)
    assert (late.status_code, late.json()["code"]) == (409, "execution-finished")


async def test_a_decision_is_handed_on(daemon: Daemon, client: httpx.AsyncClient) -> None:
    target = await asked(client)
    assert (await decide(client, target, "ann", "delegate")).status_code == 422
    for _ in range(2):
        assert (await decide(client, target, "ann", "delegate", to="zoe")).status_code == 200
    assert (await decide(client, target, "ann", data=DATA)).status_code == 403
    shown = (await client.get(f"/executions/{target}/approvals")).json()["approvals"][0]
    assert [one["approver"] for one in shown["approvers"]] == ["zoe", "group:finance"]
    why = (await client.get(f"/executions/{target}/why")).json()["causes"][0]
    assert why["kind"] == "person"
    assert "zoe, group:finance" in why["sentence"]


async def test_a_decision_says_which_question_it_means(client: httpx.AsyncClient) -> None:
    target = await asked(client)
    assert (await decide(client, target, "ann", data=DATA, question="1")).status_code == 409
    assert (await decide(client, target, "ann", data=DATA, question="2")).status_code == 200
    nowhere = await client.post(f"/executions/{target}/approvals/yes", json={"decision": "approve"})
    assert (nowhere.status_code, "those that do: ask" in nowhere.json()["detail"]) == (409, True)
    assert (await client.post(f"/executions/{target}/approvals/ask")).status_code == 422


async def test_a_link_shows_a_page_and_decides_by_its_form_only(daemon: Daemon, client: httpx.AsyncClient) -> None:
    """No token of the API is needed; fetching, however often, changes nothing."""
    target = await asked(client)
    del client.headers["Authorization"]
    link = link_to(target, "ann")
    for page in [await client.get(link) for _ in range(3)]:
        assert page.status_code == 200
        assert "Pay &lt;b&gt;7&lt;/b&gt;?" in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
    assert (await daemon.history.existing(target)).version == 3
    wrong = await client.post(link, data={"decision": "approved", "data": "{"})
    assert (wrong.status_code, "not JSON" in wrong.text) == (422, True)
    unfit = await client.post(link, data={"decision": "approved", "data": "{}", "comment": "<i>"})
    assert (unfit.status_code, "limit" in unfit.text, "&lt;i&gt;" in unfit.text) == (409, True, True)
    assert (await client.post(link, data={})).status_code == 422
    done = await client.post(link, data={"decision": "approved", "data": '{"limit": 3}'})
    assert "You have approved it" in done.text
    again = await client.post(link, data={"decision": "rejected", "comment": "no"})
    assert (again.status_code, "This is decided" in again.text) == (409, True)
    assert "This is decided" in (await client.get(link)).text


async def test_a_link_is_good_for_what_it_was_signed_for(client: httpx.AsyncClient) -> None:
    target = await asked(client)
    del client.headers["Authorization"]
    assert (await client.get(link_to(target, "ann", key=OLD_KEY))).status_code == 200
    good = link_to(target, "ann")
    claims, _, mac = good.rpartition("/")[2].partition(".")
    forged = [
        link_to(target, "ann", key="x" * 32),
        link_to(target, "ann", lasts=timedelta(seconds=-5)),
        f"/approve/{claims}.",
        f"/approve/{claims}x.{mac}",
        "/approve/" + "a" * 5000,
        "/approve/é.é",
    ]
    for link in forged:
        for answer in (await client.get(link), await client.post(link, data={"decision": "approved"})):
            assert answer.status_code == 403
            assert re.search("not valid|expired", answer.text)
    assert "This is decided" in (await client.get(link_to(target, "ann", question=1))).text
    assert "This is decided" in (await client.get(link_to(target, "eve"))).text


async def test_a_group_decides_by_a_link_as_a_group(client: httpx.AsyncClient) -> None:
    target = await asked(client)
    done = await client.post(link_to(target, "group:finance"), data={"decision": "approved", "data": '{"limit": 3}'})
    assert done.status_code == 200
    shown = (await client.get(f"/executions/{target}/approvals")).json()["approvals"][0]
    assert [one["actor"] for one in shown["approvers"]] == [None, "group:finance"]


async def test_a_paused_handler_is_given_its_input(daemon: Daemon, client: httpx.AsyncClient) -> None:
    target = UUID((await started(client, "choose", None))["execution_id"])
    await until(daemon, target, lambda state: bool(getattr(state, "people", None)))
    path = f"/executions/{target}/steps/pick/resume"
    wrong = await client.post(path, json={"account": "x"})
    assert (wrong.status_code, "account" in wrong.json()["detail"]) == (422, True)
    shown = (await client.get(f"/executions/{target}")).json()["steps"][0]
    assert (shown["status"], shown["reason"]) == ("suspended", "which account?")
    assert "which account?" in (await client.get(f"/executions/{target}/why")).json()["causes"][0]["sentence"]
    key = {"Idempotency-Key": "one"}
    assert (await client.post(path, json={"account": 7}, headers=key)).json()["changed"] is True
    assert from_json((await finished(daemon, target)).output) == {"pick": {"account": 7, "calls": 2, "left": "asked"}}
    assert (await client.post(path, json={"account": 7}, headers=key)).json()["changed"] is False
    assert (await client.post(path, json=1)).status_code == 409


async def test_many_are_paused_and_resumed_by_what_they_are(client: httpx.AsyncClient) -> None:
    targets = {str(await asked(client, number)) for number in range(5)}
    await started(client, "choose", None)
    body: dict[str, Any] = {"filter": {"workflow": "pay"}, "reason": "audit", "limit": 3}
    first = (await client.post("/executions/pause", json=body)).json()
    second = (await client.post("/executions/pause", json=body | {"cursor": first["next"]})).json()
    assert (first["changed"], second["changed"], second["next"]) == (3, 2, None)
    paused = (await client.get("/executions?status=paused")).json()["executions"]
    assert {one["execution_id"] for one in paused} == targets
    assert (await client.post("/executions/resume", json={"filter": {"workflow": "pay"}})).json()["changed"] == 5
    assert (await client.get("/executions?status=paused")).json()["executions"] == []
    assert (await client.post("/executions/pause", json={"filter": {"status": "completed"}})).status_code == 422
