"""The HTTP application of a running daemon.

Comes from: daemon/main, which serves it. Goes to: the routes in this package.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from daemon.api import (
    archive,
    branches,
    cache,
    dead_letters,
    debugging,
    errors,
    events_stream,
    executions,
    gate,
    health,
    hooks,
    limits,
    links,
    many,
    messages,
    migrations,
    past,
    people,
    pins,
    replays,
    retention,
    shadows,
    storage,
    streams,
    subjects,
    topics,
    undo,
    workflows,
)
from daemon.api.auth import Authentication
from daemon.debugger.paging import Pages

if TYPE_CHECKING:
    from daemon.api.ports import Daemon


def create_app(daemon: Daemon) -> FastAPI:
    """Return the application. It starts and stops nothing itself."""
    app = FastAPI(title="sagad", version=version("sagad"), docs_url=None, redoc_url=None)
    app.state.daemon = daemon
    app.state.pages = Pages(daemon.history, daemon.plans)
    app.add_middleware(Authentication, token=daemon.settings.http.token)
    errors.install(app)
    reading = (workflows, events_stream, debugging, replays, past, executions, streams, cache, limits, topics, health)
    past_parts = (branches, gate, migrations, archive, shadows, retention, pins)
    parts = (many, *reading, messages, undo, people, *past_parts, subjects, dead_letters, storage)
    for part in parts:
        app.include_router(part.routes)
    app.router.routes.append(hooks.route(daemon))
    app.router.routes.append(links.route(daemon))
    return app
