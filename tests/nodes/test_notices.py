"""Notices as they arrive: at a real SMTP server, at webhooks, at Slack's form of them, at a handler."""

from __future__ import annotations

import asyncio
import email
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP

from daemon.core.state import Failed, Running, Succeeded
from daemon.core.values import from_json
from daemon.settings_outside import Outbound
from daemon.settings_people import Approvals, Smtp
from tests.support.daemons import PATIENCE_S, running, settings_for, start, until
from tests.support.http_server import Answer, service
from triggers.signatures import StandardWebhooks, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from daemon.assembled import Daemon
    from daemon.core.state import State

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Inbox:
    """What a mail server got; `answers` are its replies to recipients, the last one for ever."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answers = ["250 OK"]

    async def handle_RCPT(  # noqa: N802  the library's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  as above
        self.mails.append(email.message_from_bytes(envelope.content))
        return "250 OK"


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[Inbox, Smtp]]:
    """Run an SMTP server on a free port."""
    inbox, loop = Inbox(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, loop=loop), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield inbox, Smtp(host="127.0.0.1", port=port, tls="none", sender="flows@example.com")


def workflow(notify: str) -> str:
    return (
        "workflow: pay\nnodes:\n  ask: {approval: {prompt: 'Pay {{ input }} & go?', approvers: [ann], timeout: 2d,"
        f" notify: [{notify}]}}}}\n  yes: {{transform: 1}}\nedges: [ask.approved -> yes]\n"
    )


def settled(number: int = 0) -> Any:
    def condition(state: State) -> bool:
        return isinstance(state, Running) and isinstance(state.steps.get(f"ask[{number}]~notify"), Succeeded | Failed)

    return condition


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """Give the settings of a daemon that may call this machine, and makes links."""

    def made(notify: str, **more: Any) -> Any:
        return settings_for(
            tmp_path,
            workflow(notify),
            handlers="tests.support.told_handlers",
            outbound=Outbound(allow_private=True),
            approvals=Approvals(public_url="https://sagad.example", link_keys=("k" * 32,)),
            **more,
        )

    return made


async def sent(daemon: Daemon, value: object = 7) -> Running:
    """Start one, and wait for its first notice."""
    state = await until(daemon, await start(daemon, "pay", value), settled())
    assert isinstance(state, Running)
    return state


async def test_a_mail_has_the_prompt_and_the_link(parts: Any) -> None:
    async with (
        mail_server() as (inbox, smtp),
        running(parts("{smtp: {to: '{{ approval.approver }}@example.com'}}", smtp=smtp)) as daemon,
    ):
        state = await sent(daemon)
    [mail] = inbox.mails
    assert (mail["To"], mail["From"]) == ("ann@example.com", "flows@example.com")
    assert "Your approval is needed (pay)" in mail["Subject"]
    text = mail.get_payload(decode=True).decode()
    assert "Pay 7 & go?" in text
    assert "https://sagad.example/approve/" in text
    assert "/approve/" not in str(state.steps), "the log holds no link"


async def test_a_recipient_that_is_refused_fails_the_notice_and_nothing_else(parts: Any) -> None:
    async with mail_server() as (inbox, smtp):
        inbox.answers = ["550 no such user"]
        async with running(parts("{smtp: {to: x@example.com}}", smtp=smtp)) as daemon:
            state = await sent(daemon)
    failed = state.steps["ask[0]~notify"]
    assert isinstance(failed, Failed)
    assert failed.error.code == "smtp_refused"
    assert state.people


async def test_a_mail_without_a_server_cannot_be_sent(parts: Any) -> None:
    async with running(parts("{smtp: {to: x@example.com}}")) as daemon:
        failed = (await sent(daemon)).steps["ask[0]~notify"]
    assert isinstance(failed, Failed)
    assert failed.error.code == "smtp_unknown"


async def test_a_mail_server_that_is_busy_is_asked_again(parts: Any) -> None:
    async with mail_server() as (inbox, smtp):
        inbox.answers = ["451 later", "250 OK"]
        async with running(parts("{smtp: {to: [x@example.com], subject: Now}}", smtp=smtp)) as daemon:
            state = await sent(daemon)
    step = state.steps["ask[0]~notify"]
    assert isinstance(step, Succeeded)
    assert (step.attempt, inbox.mails[0]["Subject"]) == (2, "Now")


async def test_a_webhook_is_signed_and_says_what_is_asked(parts: Any) -> None:
    with service() as there:
        notify = f"{{webhook: {{url: '{there.url}/hook', secret: {SIGNING}, headers: {{X-Team: pay}}, text: Hello}}}}"
        async with running(parts(notify)) as daemon:
            await sent(daemon)
    [asked] = there.asked
    body = json.loads(asked.body)
    verify(StandardWebhooks(secret=SIGNING), asked.headers, asked.body, datetime.now(UTC))
    assert asked.headers["idempotency-key"] == asked.headers["webhook-id"]
    assert asked.headers["x-team"] == "pay"
    assert (body["kind"], body["approver"], body["prompt"], body["text"]) == (
        "request",
        "ann",
        "Pay 7 & go?",
        "Hello",
    )
    assert body["link"].startswith("https://sagad.example/approve/")


async def test_slack_gets_blocks_and_a_button(parts: Any) -> None:
    with service() as there:
        async with running(parts(f"{{slack: {{webhook_url: '{there.url}/services/T0/B0'}}}}")) as daemon:
            await sent(daemon)
    body = json.loads(there.asked[0].body)
    section, context, actions = body["blocks"]
    assert "Pay 7 &amp; go?" in section["text"]["text"]
    assert "until" in context["elements"][0]["text"]
    assert actions["elements"][0]["url"].startswith("https://sagad.example/approve/")


@pytest.mark.parametrize(("status", "code"), [(404, "http_404"), (410, "http_410")])
async def test_a_webhook_that_is_gone_is_not_called_again(parts: Any, status: int, code: str) -> None:
    with service() as there:
        there.answer(Answer(status))
        async with running(parts(f"{{webhook: '{there.url}/'}}")) as daemon:
            failed = (await sent(daemon)).steps["ask[0]~notify"]
    assert isinstance(failed, Failed)
    assert (failed.error.code, len(there.asked)) == (code, 1)


async def test_a_handler_is_told_too(parts: Any) -> None:
    from tests.support.told_handlers import told  # noqa: PLC0415  as the daemon loads it

    told.clear()
    async with running(parts("{handler: tell, with: {channel: '#{{ approval.approver }}'}}")) as daemon:
        state = await sent(daemon)
    assert told[0]["channel"] == "#ann"
    assert told[0]["notice"]["prompt"] == "Pay 7 & go?"
    step = state.steps["ask[0]~notify"]
    assert isinstance(step, Succeeded)
    assert from_json(step.output) == {"handler": "tell"}


async def test_a_notice_goes_out_after_a_crash(parts: Any, fresh_postgres_url: str) -> None:
    """A daemon that dies with the notice under way leaves it to the next one, with the same key."""
    from dataclasses import replace  # noqa: PLC0415
    from threading import Event  # noqa: PLC0415

    from daemon.settings import Store  # noqa: PLC0415

    release, arrived = Event(), Event()
    with service() as there:
        there.answer(Answer(after=release, came=arrived), Answer())
        settings = replace(parts(f"{{webhook: '{there.url}/'}}"), store=Store(url=fresh_postgres_url))
        async with running(settings) as daemon:
            target = await start(daemon, "pay", 7)
            assert await asyncio.to_thread(arrived.wait, PATIENCE_S)
        release.set()
        async with running(settings) as daemon:
            state = await until(daemon, target, settled())
    assert isinstance(state, Running)
    assert len(there.asked) == 2
    assert there.asked[0].headers["idempotency-key"] == there.asked[1].headers["idempotency-key"]
