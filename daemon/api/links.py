"""The page behind a signed link: what is asked, and a form to decide it.

Fetching the page changes nothing, so a mail scanner may; only the form does, by POST. There is no session and no cookie
that another site could ride on: the link itself is the key, and it is not handed on (`Referrer-Policy`), kept
(`Cache-Control`), framed, or shown to scripts, of which the page has none. Plain routes, not in the OpenAPI document.

Comes from: the approver. Goes to: daemon/runtime/people.
"""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import HTMLResponse
from starlette.routing import Route

from daemon.api.bodies import read_body
from daemon.api.errors import Busy
from daemon.api.waiting import answered
from daemon.core.errors import NotAllowed, Rejected
from daemon.core.people import Deciding
from daemon.core.state import Running
from daemon.core.values import NULL
from eventstore.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from starlette.requests import Request

    from daemon.api.ports import Daemon
    from daemon.runtime.approval_links import Link

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem;color:#1a1d21}"
    "h1{font-size:1.25rem}p.ask{white-space:pre-wrap;border-left:4px solid #bbb;padding-left:1rem}"
    "dl{color:#555;font-size:.9rem}dt{float:left;clear:left;width:7rem}dd{margin-left:7rem}"
    "textarea{width:100%;box-sizing:border-box;font:inherit}label{display:block;margin:1rem 0 .25rem}"
    "button{font:inherit;padding:.6rem 1.4rem;margin:1rem .5rem 0 0;border-radius:.4rem;border:1px solid #888}"
    "button.yes{background:#17693a;color:#fff;border-color:#17693a}[role=alert]{color:#a31515}"
)
_DONE = {"approved": "You have approved it.", "rejected": "You have rejected it."}


def route(daemon: Daemon) -> Route:
    """Return `GET` and `POST /approve/{token}`."""

    async def page(request: Request) -> HTMLResponse:
        try:
            link = daemon.links.read(request.path_params["token"], daemon.clock.now())
            if request.method == "POST":
                return await _decide(daemon, link, request)
            return await _show(daemon, link)
        except NotAllowed as error:
            return _page("This link does not work", f"<p>{escape(str(error))}.</p>", HTTPStatus.FORBIDDEN)
        except (Unavailable, Conflict, Busy):
            text = "<p>It cannot be decided just now. Please try again in a minute.</p>"
            return _page("One moment", text, HTTPStatus.SERVICE_UNAVAILABLE)

    return Route("/approve/{token}", page, methods=["GET", "POST"])


async def _asked(daemon: Daemon, link: Link) -> tuple[Running, Deciding] | None:
    """Return the question while it is open, and the link's approver has a say."""
    try:
        state = await daemon.history.existing(link.execution_id)
    except Rejected:
        return None
    step = state.steps.get(link.address) if isinstance(state, Running) else None
    if not isinstance(state, Running) or not isinstance(step, Deciding) or step.question != link.question:
        return None
    open_voice = any(voice.approver == link.approver and not voice.decision for voice in step.voices)
    return (state, step) if open_voice else None


async def _show(
    daemon: Daemon, link: Link, problem: str = "", given: dict[str, str] | None = None, status: int = HTTPStatus.OK
) -> HTMLResponse:
    found = await _asked(daemon, link)
    if found is None:
        text = "<p>It was decided, or is asked of others now. There is nothing left for you to do.</p>"
        return _page("This is decided", text, HTTPStatus.OK if status == HTTPStatus.OK else status)
    state, step = found
    given = given or {}
    about = {"Workflow": state.workflow, "Asked of": link.approver, "Since": f"{step.since:%Y-%m-%d %H:%M} UTC"}
    if step.due is not None:
        about["Until"] = f"{step.due:%Y-%m-%d %H:%M} UTC"
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in about.items())
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    form = ""
    if step.form != NULL:
        form = (
            '<label for="data">Data, as JSON</label>'
            f'<textarea id="data" name="data" rows="4">{escape(given.get("data", ""))}</textarea>'
            f"<details><summary>What is expected</summary><pre>{escape(bytes(step.form).decode())}</pre></details>"
        )
    text = (
        f'<p class="ask">{escape(step.prompt)}</p><dl>{rows}</dl>{alert}<form method="post">{form}'
        f'<label for="comment">Comment{_needed(step)}</label>'
        f'<textarea id="comment" name="comment" rows="3">{escape(given.get("comment", ""))}</textarea>'
        '<button class="yes" name="decision" value="approved">Approve</button>'
        '<button name="decision" value="rejected">Reject</button></form>'
    )
    return _page("Your approval is needed", text, status)


def _needed(step: Deciding) -> str:
    return {"required": " (needed)", "on_reject": " (needed to reject)"}.get(step.comment, "")


async def _decide(daemon: Daemon, link: Link, request: Request) -> HTMLResponse:
    body = await read_body(request, daemon.settings.http.max_body_bytes)
    given = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    decision = given.get("decision", "")
    if decision not in _DONE:
        return await _show(daemon, link, "Choose: approve or reject.", given, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        data = msgspec.json.decode(given["data"]) if given.get("data", "").strip() else None
        await answered(
            daemon.people.decide(
                link.execution_id,
                link.address,
                decision,
                actor=link.approver,
                comment=given.get("comment", ""),
                data=data,
                question=link.question,
            )
        )
    except msgspec.DecodeError:
        return await _show(daemon, link, "The data is not JSON.", given, HTTPStatus.UNPROCESSABLE_ENTITY)
    except (Rejected, ValueError) as error:
        return await _show(daemon, link, str(error), given, HTTPStatus.CONFLICT)
    return _page("Thank you", f"<p>{_DONE[decision]}</p>")


def _page(title: str, content: str, status: int = HTTPStatus.OK) -> HTMLResponse:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    text = (
        f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )
    return HTMLResponse(text, status, HEADERS)
