"""Sets the stage: the folder `.demo/` with settings, secret and workflow.

The workflow is the one of deploy/examples/order_fulfilment, with triggers for the services that there are.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import socket
import sys
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from daemon.settings import Settings, load_settings
from deploy.demonstration.orders import Order, make_orders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXAMPLE = Path(__file__).parents[1] / "examples" / "order_fulfilment"
FOLDER = ".demo"
SECRET = "ORDER_HOOK"  # noqa: S105  its name
SCOPE = "demo-orders"
"""Shared by all triggers, so that an order that comes by two ways is one order."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The user's own; None stands for what needs no service."""

    kafka: str | None
    rabbitmq: str | None
    postgres: str | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that is there before the daemon starts."""

    folder: Path
    services: Services
    name: str
    """Of this run alone: topics and queues begin with it."""
    orders: Sequence[Order]
    secret: str
    settings: Settings
    environ: Mapping[str, str]
    """For the daemon."""

    @property
    def config(self) -> Path:
        """The daemon's settings."""
        return self.folder / "sagad.toml"

    @property
    def journal(self) -> Path:
        """Where the handlers write down what they do."""
        return self.folder / "journal.jsonl"

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.folder / "daemon.log"

    @property
    def source(self) -> str:
        """Where messages are published: the topic or queue that the triggers listen to."""
        return f"{self.name}-orders"

    @property
    def done(self) -> str:
        """Where the workflow publishes what is done."""
        return f"{self.name}-done"

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        return f"http://{self.settings.http.host}:{self.settings.http.port}"

    @property
    def brokers(self) -> Sequence[str]:
        """Through which brokers messages come."""
        own = [name for name in ("kafka", "rabbitmq") if getattr(self.services, name)]
        return own or ["memory"]

    def command(self, *arguments: str) -> str:
        """Return a `sagad` command as it can be typed here."""
        program = Path(sys.executable).parent / "sagad"
        return shlex.join([_from_here(program), *arguments, "--config", _from_here(self.config)])


def set_up(checkout: Path, services: Services, executions: int) -> Stage:
    """Make the folder anew, and what belongs into it."""
    folder = checkout / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "secrets").mkdir(parents=True, mode=0o700)
    run = secrets.token_hex(3)
    secret = f"whsec_{b64encode(secrets.token_bytes(24)).decode()}"
    _write_private(folder / "secrets" / SECRET, secret)
    _write_private(folder / "sagad.toml", _settings(services))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAGAD_")}
    stage = Stage(
        folder=folder,
        services=services,
        name=f"sagad-demo-{run}",
        orders=make_orders(run, executions),
        secret=secret,
        settings=load_settings(folder / "sagad.toml", {}),
        environ={**environ, "ORDER_JOURNAL": str(folder / "journal.jsonl")},
    )
    header = f"# Made by deploy/demo from {_from_here(EXAMPLE / 'workflow.yaml')}, with other triggers.\n"
    document = yaml.safe_dump(_workflow(stage), sort_keys=False, width=120)
    (folder / "workflow.yaml").write_text(header + document)
    stage.journal.touch()
    return stage


def _settings(services: Services) -> str:
    parts: dict[str, dict[str, Any]] = {
        "store": {"url": services.postgres or "sqlite:///sagad.db"},
        "http": {"port": _free_port()},
        "kafka": {"bootstrap": [services.kafka]} if services.kafka else {},
        "rabbitmq": {"url": services.rabbitmq} if services.rabbitmq else {},
        "workflows": {"paths": ["workflow.yaml"], "handlers": [str(EXAMPLE / "handlers.py")]},
        "secrets": {"dir": "secrets"},
        "log": {"format": "console"},
    }
    lines = ["# Made by deploy/demo."]
    for name, part in parts.items():
        if part:
            lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in part.items())]
    return "\n".join([*lines, ""])


def _workflow(stage: Stage) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((EXAMPLE / "workflow.yaml").read_text())
    shared = {"scope": SCOPE, "dedupe": "{{ message.value.order_id }}"}
    verify = {"scheme": "standard-webhooks", "secret": f"{{{{ secret.{SECRET} }}}}"}
    document["triggers"] = [
        {"name": "order-hook", "webhook": {"path": "orders", "verify": verify}, **shared},
        *({"name": f"orders-{broker}", broker: _source(broker, stage), **shared} for broker in stage.brokers),
    ]
    broker = stage.brokers[0]
    where = {"routing_key": stage.done} if broker == "rabbitmq" else {"topic": stage.done}
    document["nodes"]["notify"]["publish"] = {broker: where, "value": "{{ charge }}"}
    return document


def _source(broker: str, stage: Stage) -> dict[str, Any]:
    match broker:
        case "kafka":
            return {"topic": stage.source, "group": stage.name}
        case "rabbitmq":
            return {"queue": stage.source}
        case _:
            return {"topic": stage.source}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
