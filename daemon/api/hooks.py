"""Webhooks: a delivery is in the log before it is answered. A plain route: no framework between socket and intake.

Comes from: the sender. Goes to: triggers/webhook, daemon/runtime/intake.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.routing import Route

from daemon.api.bodies import answer, read_body
from daemon.api.errors import busy, problem
from daemon.api.waiting import answered, room
from triggers.message import Ack, DeadLetter, Retry, Verdict
from triggers.webhook import accept

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from daemon.api.ports import Daemon

DEAD_LETTER_STATUSES = {"undecodable": 400, "refused": 409}
"""By the verdict's code; 422 for the others."""


def route(daemon: Daemon) -> Route:
    """Return `POST /hooks/{path}`."""

    async def deliver(request: Request) -> Response:
        if daemon.stopping or not daemon.receiving:
            return busy(f"the daemon is {'stopping' if daemon.stopping else 'starting'}")
        path = request.path_params["path"]
        webhook = daemon.webhooks.get(path)
        if webhook is None:
            return problem(404, "unknown-webhook", f"there is no webhook {path!r}")
        trigger, settings = webhook
        body = await read_body(request, settings.max_body_bytes)
        headers = dict(request.headers)
        inbound = accept(trigger, settings, headers=headers, body=body, now=daemon.clock.now(), delivery_id=uuid4())
        await room(daemon)
        (verdict,) = await answered(daemon.intake([inbound]))
        return _answer(verdict)

    return Route("/hooks/{path:path}", deliver, methods=["POST"])


def _answer(verdict: Verdict) -> Response:
    """Say what became of the delivery: 2xx only when the sender need not send it again."""
    match verdict:
        case Ack(outcome=outcome, execution_id=execution_id):
            status = HTTPStatus.ACCEPTED if outcome in ("started", "signalled") else HTTPStatus.OK
            headers = {"Location": f"/executions/{execution_id}"} if execution_id is not None else None
            return answer({"outcome": outcome, "execution_id": execution_id}, status, headers)
        case Retry(reason=reason, after=after):
            return busy(reason, after.total_seconds())
        case DeadLetter(reason=reason, code=code):
            return problem(DEAD_LETTER_STATUSES.get(code, 422), code, reason)
