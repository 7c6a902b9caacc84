"""`index rebuild`, `migrate`: work on the store itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, settings_of
from daemon.cli.stores import is_memory, opened
from daemon.core.events import ChildFinished, ExecutionForked, ExecutionRewound
from daemon.core.state import INITIAL
from daemon.runtime.history import History
from daemon.runtime.projection import project
from eventstore.index import IndexChange
from eventstore.snapshots import NoSnapshots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from daemon.core.state import State
    from daemon.settings import Settings
    from eventstore.log import EventLog

PAGE = 1000
TOLD = IndexChange(busy=False)
"""Of a child whose parent knows of its end."""

index = typer.Typer(name="index", help="Work on the tables that are derived from the log.", no_args_is_help=True)


@index.callback()
def _index() -> None:
    """Work on the tables that are derived from the log."""


@index.command()
def rebuild(*, as_json: Json = False, config: Config = None) -> None:
    """Make the derived tables anew from the log, in one transaction.

    Writers wait meanwhile; a failure changes nothing.
    """
    settings = _lasting(settings_of(config))
    with output.progress(quiet=as_json) as progress:
        task = progress.add_task("positions", total=None)

        def advance(position: int, head: int) -> None:
            progress.update(task, completed=position, total=head)

        counts = asyncio.run(_rebuild(settings, advance))
    _say(as_json=as_json, view=counts, text="{events} events of {executions} executions: the index is rebuilt")


def migrate(*, as_json: Json = False, config: Config = None) -> None:
    """Bring the store's schema up to date; make the store where there is none. Harmless when repeated."""
    settings = _lasting(settings_of(config))
    version = asyncio.run(_migrate(settings))
    _say(as_json=as_json, view={"schema_version": version}, text="the schema is at version {schema_version}")


async def changes(
    log: EventLog, advance: Callable[[int, int], None], counts: dict[str, int]
) -> AsyncIterator[tuple[UUID, IndexChange]]:
    """Yield what each event of the log means for the index, in the order of the log.

    Keeps the states of unfinished executions in memory, no others: one that goes on after its end is read again. A
    child whose parent knows of its end owes nothing.
    """
    states: dict[UUID, State] = {}
    history = History(log, NoSnapshots())
    head, position = await log.head(), 0
    while page := await log.read_all(after_position=position, limit=PAGE):
        for recorded in page:
            before = states.get(recorded.execution_id, INITIAL)
            if recorded.version > 1 and not before.version:  # it had ended, and was taken up again
                before = await history.load(recorded.execution_id, up_to_version=recorded.version - 1)
            after = await history.after(before, recorded)
            branched = after if isinstance(recorded.event, ExecutionForked | ExecutionRewound) else None
            index = project(recorded.execution_id, before, [recorded.event], after, branched=branched)
            yield recorded.execution_id, index
            if isinstance(recorded.event, ChildFinished) and recorded.event.child not in states:
                yield recorded.event.child, TOLD
            counts["events"] += 1
            counts["executions"] += recorded.version == 1
            states[recorded.execution_id] = after
            if _is_last(after):
                del states[recorded.execution_id]
        position = page[-1].position
        advance(position, max(head, position))


async def _rebuild(settings: Settings, advance: Callable[[int, int], None]) -> dict[str, int]:
    counts = {"events": 0, "executions": 0}
    async with opened(settings) as store:
        await store.index.rebuild(changes(store.log, advance, counts))
    return counts


async def _migrate(settings: Settings) -> int:
    async with opened(settings, create=True) as store:
        await store.migrate()
        return await store.schema.schema_version() if store.schema is not None else 0


def _is_last(state: State) -> bool:
    return getattr(state, "finished_at", None) is not None


def _lasting(settings: Settings) -> Settings:
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process and is gone with it")
    return settings


def _say(*, as_json: bool, view: dict[str, Any], text: str) -> None:
    if as_json:
        output.print_json(view)
    else:
        output.console().print(text.format(**view), markup=False)
