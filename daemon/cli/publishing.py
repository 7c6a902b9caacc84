"""`publish`: a real message to the topic, queue or webhook that a trigger listens to.

Comes from: the shell. Goes to: triggers' publishers, or the daemon's `/hooks/{path}` and `/topics/{topic}/messages`.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import typer

from daemon.cli import output
from daemon.cli.changing import Data, read_data
from daemon.cli.checking import plain_compiler_of
from daemon.cli.connection import Connection
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, Url, settings_of
from daemon.cli.signing import signed_headers
from daemon.core.errors import UnknownTrigger
from daemon.core.templates import compile_template, fill
from daemon.runtime.brokers import Brokers
from daemon.runtime.secrets import SecretResolver, SecretUnknown
from triggers.publishing import Outbound
from triggers.webhook import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.definition import TriggerDefinition
    from daemon.settings import Settings

VIA = {"kafka": "kafka", "rabbitmq": "rabbitmq", "http": "webhook", "memory": "memory"}
"""What `--via` says -> the kind of trigger."""


def publish(
    trigger: Annotated[
        str, typer.Argument(help="workflow/trigger, the trigger's own name, or the workflow.", show_default=False)
    ],
    *,
    data: Data,
    key: Annotated[str | None, typer.Option(help="The message's key.", show_default=False)] = None,
    header: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.", show_default=False)] = None,
    via: Annotated[str | None, typer.Option(help=f"One of {', '.join(VIA)}.", show_default=False)] = None,
    message_id: Annotated[
        str | None, typer.Option("--id", help="The message's own id: the same one acts once.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Send a real message to the topic, queue or webhook that a trigger listens to."""
    settings = settings_of(config)
    name, found = find_trigger(settings, trigger, via)
    body = json.dumps(read_data(data, "--data"), ensure_ascii=False, separators=(",", ":")).encode()
    headers = read_headers(header or [])
    filled = filled_settings(settings, found)
    identity = message_id or str(uuid4())
    match found.kind:
        case "kafka" | "rabbitmq":
            address = {"destination": filled["topic" if found.kind == "kafka" else "queue"]}
            message = Outbound(
                **address,
                body=body,
                key=key,
                headers=headers,
                content_type="application/json",
                message_id=identity if found.kind == "rabbitmq" else message_id,
            )
            view = {"trigger": name, "published": asyncio.run(_send(settings, found.kind, message))}
        case "webhook":
            hook = msgspec.convert(filled, WebhookSettings)
            signed = signed_headers(hook.verify, body, now=datetime.now(UTC), delivery_id=identity)
            own = {hook.identity.lower(): identity} if hook.identity else {}
            with Connection(settings, url) as connection:
                sent = {**own, **signed, "content-type": "application/json", **headers}
                view = {"trigger": name, **connection.post_raw(f"/hooks/{quote(hook.path)}", body, sent)}
        case "memory":
            sent = {f"sagad-header-{header_name}": value for header_name, value in headers.items()}
            sent |= {"idempotency-key": identity, "content-type": "application/json"}
            sent |= {"sagad-key": key} if key is not None else {}
            with Connection(settings, url) as connection:
                path = f"/topics/{quote(filled['topic'], safe='')}/messages"
                view = {"trigger": name, **connection.post_raw(path, body, sent)}
        case kind:
            raise BadUsage(f"trigger {name} is a {kind}: nothing can be sent to it")
    if as_json:
        output.print_json(view)
    else:
        said = view.get("published") or f"{view['outcome']} {view['execution_id'] or ''}"
        output.console().print(f"{name}: {said}".rstrip(), markup=False, soft_wrap=True)


def find_trigger(settings: Settings, wanted: str, via: str | None) -> tuple[str, TriggerDefinition]:
    """Return the one trigger that is meant, with its qualified name. Raises UnknownTrigger, BadUsage, Misconfigured."""
    if via is not None and via not in VIA:
        raise BadUsage(f"--via {via}: there are {', '.join(VIA)}")
    loaded = plain_compiler_of(settings).load_files(settings.workflows.paths)
    known = {
        f"{plan.definition.workflow}/{trigger.name}": trigger
        for plan in loaded.plans
        for trigger in plan.definition.triggers
    }
    fitting = {
        name: trigger
        for name, trigger in known.items()
        if wanted in (name, *name.split("/", 1)) and (via is None or trigger.kind == VIA[via])
    }
    if len(fitting) > 1:
        raise BadUsage(f"{wanted!r} may be any of: {', '.join(fitting)}", hint="name one in full, or add --via")
    if not fitting:
        raise UnknownTrigger(wanted, list(known))
    return next(iter(fitting.items()))


def filled_settings(settings: Settings, trigger: TriggerDefinition) -> Mapping[str, Any]:
    """Return the trigger's settings with environment and secrets filled in. Raises BadUsage for a missing one."""
    env = {name: os.environ[name] for name in settings.workflows.env if name in os.environ}
    rendered = compile_template(dict(trigger.settings), allow_secrets=True).render({"env": env})
    try:
        filled: Mapping[str, Any] = fill(
            rendered.value, rendered.secrets, SecretResolver(os.environ, settings.secrets.dir)
        )
    except SecretUnknown as error:
        raise BadUsage(str(error)) from None
    return filled


def read_headers(given: list[str]) -> dict[str, str]:
    """Read `name=value` texts. Raises BadUsage."""
    headers: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadUsage(f"--header {text}: write name=value")
        headers[name.strip().lower()] = value
    return headers


async def _send(settings: Settings, broker: str, message: Outbound) -> str:
    brokers = Brokers(settings, now=lambda: datetime.now(UTC))
    try:
        publisher = brokers.publishers.get(broker)
        if publisher is None:
            key = "bootstrap" if broker == "kafka" else "url"
            raise BadUsage(f"the settings have no {broker}", hint=f"set [{broker}] {key}")
        return await publisher.publish(message)
    finally:
        await brokers.close()
