"""Executions under way go on under another definition, on real daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.cli.upkeep import changes
from daemon.core.errors import ExecutionFinished, Rejected
from daemon.core.state import Running
from daemon.core.values import from_json
from daemon.runtime.migrations import MigrationWish
from tests.support import gated_handlers as gated
from tests.support.daemons import finished, in_flight, running, settings_for, start, until
from tests.support.stores import store_url

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from daemon.assembled import Daemon
    from daemon.settings import Settings

__all__ = ("store_url",)

TEXT = """
workflow: order
nodes:
  check: {task: pass, with: {value: 1}}
  work: {task: gate, with: {name: "{{ input }}", value: 2}}
edges: [check -> work]
output: "{{ check }} {{ work }}"
"""
OTHER = """
workflow: order
nodes:
  checked: {task: pass, with: {value: 1}}
  work: {task: gate, with: {name: "{{ input }}", value: 2}}
  after: {task: pass, with: {value: "{{ work + 1 }}"}}
edges: [checked -> work -> after]
output: "{{ checked }} {{ work }} {{ after }}"
"""
WISH = MigrationWish(names={"check": "checked"}, actor="ann")


def settings_of(folder: Path, url: str) -> Settings:
    return settings_for(folder, TEXT, handlers="tests.support.gated_handlers", store_url=url)


async def working(daemon: Daemon, gate: str) -> UUID:
    """Start an execution that has checked, and works until the gate is open; then load the other definition."""
    execution_id = await start(daemon, "order", gate)
    await until(daemon, execution_id, in_flight("work"))
    [folder] = daemon.settings.workflows.paths
    (folder / "workflows.yaml" if folder.is_dir() else folder).write_text(OTHER)
    await daemon.reload()
    return execution_id


async def test_the_handler_at_work_ends_and_the_other_definition_follows(tmp_path: Path, store_url: str) -> None:
    async with running(settings_of(tmp_path, store_url)) as daemon:
        execution_id = await working(daemon, f"m-{store_url}")
        told = await daemon.migrations.migrate(execution_id, WISH)
        assert (told.told.severity, told.refused) == ("none", "")
        again = await daemon.migrations.migrate(execution_id, WISH)
        assert again.source == again.target == told.target
        row = await daemon.store.index.execution(execution_id)
        assert row is not None
        assert row.definition == told.target
        gated.gates[f"m-{store_url}"].set()
        state = await finished(daemon, execution_id)
        assert from_json(state.output) == "1 2 3"
        assert gated.runs[f"{execution_id}/work"] == 1
        before = await daemon.store.index.execution(execution_id)
        await daemon.store.index.rebuild(changes(daemon.store.log, lambda *_: None, {"events": 0, "executions": 0}))
        assert await daemon.store.index.execution(execution_id) == before
        with pytest.raises(ExecutionFinished, match="completed: fork it"):
            await daemon.migrations.migrate(execution_id, WISH)


async def test_a_daemon_that_takes_over_goes_on_under_it(tmp_path: Path) -> None:
    """The old definition's file is gone; the execution knows where it is."""
    settings = settings_of(tmp_path, f"sqlite:///{tmp_path}/log.db")
    async with running(settings) as first:
        execution_id = await working(first, "over")
        await first.migrations.migrate(execution_id, WISH)
    gated.gates["over"].set()
    async with running(settings) as second:
        assert from_json((await finished(second, execution_id)).output) == "1 2 3"


async def test_another_daemon_may_ask_for_it(tmp_path: Path, fresh_postgres_url: str) -> None:
    """The one that runs its steps learns of it when it records the next, and goes on by the other plan."""
    settings = settings_of(tmp_path, fresh_postgres_url)
    async with running(settings) as holder, running(settings) as other:
        execution_id = await working(holder, "both")
        await other.reload()
        await other.migrations.migrate(execution_id, WISH)
        gated.gates["both"].set()
        assert from_json((await finished(holder, execution_id)).output) == "1 2 3"
        assert gated.runs[f"{execution_id}/work"] == 1


async def test_what_would_have_gone_another_way_stays_unless_that_is_accepted(tmp_path: Path) -> None:
    async with running(settings_of(tmp_path, "memory://")) as daemon:
        execution_id = await working(daemon, "stays")
        unnamed = MigrationWish(actor="ann")
        looked = await daemon.migrations.look(execution_id, unnamed)
        assert looked.refused.endswith("say what it is called now: check=NEW")
        assert looked.told.severity == "major"
        before = await daemon.history.load(execution_id)
        misspelt = MigrationWish(names={"chek": "checked"}, actor="ann")
        with pytest.raises(Rejected, match="definition has no node 'chek'; did you mean 'check'"):
            await daemon.migrations.migrate(execution_id, misspelt)
        with pytest.raises(Rejected, match="no node 'check', which has begun"):
            await daemon.migrations.migrate(execution_id, MigrationWish(accept="major", actor="ann"))
        [folder] = daemon.settings.workflows.paths
        file = folder / "workflows.yaml" if folder.is_dir() else folder
        file.write_text(OTHER.replace("edges: [", "  note: {task: pass, with: {value: 9}}\nedges: [checked -> note, "))
        await daemon.reload()
        with pytest.raises(Rejected, match="major: "):
            await daemon.migrations.migrate(execution_id, WISH)
        assert await daemon.history.load(execution_id) == before
        accepting = MigrationWish(names=WISH.names, accept="major", actor="ann")
        await daemon.migrations.migrate(execution_id, accepting)
        state = await daemon.history.load(execution_id)
        assert isinstance(state, Running)
        assert "note" in state.steps
        gated.gates["stays"].set()
        await finished(daemon, execution_id)


async def test_its_past_can_be_forked_and_looked_at(tmp_path: Path) -> None:
    """Before the migration by the definition of then, after it by that of now; nothing is rewound behind it."""
    async with running(settings_of(tmp_path, "memory://")) as daemon:
        execution_id = await working(daemon, "past")
        await daemon.migrations.migrate(execution_id, WISH)
        gated.gates["past"].set()
        state = await finished(daemon, execution_id)
        cut = (await daemon.branches.past(execution_id, "after:checked")).cut
        assert cut.version < state.version
        with pytest.raises(Rejected, match="migrated to another definition since"):
            await daemon.branches.rewind(execution_id, "after:checked", actor="ann")
        with pytest.raises(Rejected, match="migrated to another definition since"):
            await daemon.branches.look_at_rewind(execution_id, "after:checked", actor="ann")
        await daemon.branches.rewind(execution_id, "before:after", actor="ann")
        await until(daemon, execution_id, lambda found: found.version > state.version + 2)
        assert from_json((await finished(daemon, execution_id)).output) == "1 2 3"
