"""`retention`, `archive list`, `archive restore`: what goes, and what comes back. They work on the store itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, settings_of
from daemon.cli.sources import whole_id
from daemon.cli.stores import is_memory, opened
from daemon.foundations import expiry_of, restoring_of
from daemon.runtime.clock import SystemClock
from daemon.runtime.expiry_views import deleted_view, expired_view, plan_view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from daemon.runtime.expiry import Expired
    from daemon.runtime.imports import Imported
    from daemon.settings import Settings
    from eventstore.deletions import Deleted

PAGE = 500

retention = typer.Typer(name="retention", help="Delete what was kept long enough, by the rules of the settings.")


@retention.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    *,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would go now; so it does anyway.")] = False,  # noqa: ARG001  the word is for who reads the command
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show what the rules would let go now, and what stays, and why. Nothing is changed."""
    if context.invoked_subcommand is not None:
        return
    settings = _lasting(settings_of(config))
    with output.progress(quiet=as_json) as progress:
        task = progress.add_task("executions", total=None)
        view = asyncio.run(_plan(settings, lambda seen: progress.update(task, completed=seen)))
    if as_json:
        output.print_json(view)
    else:
        _print_plan(view)


@retention.command()
def run(
    *,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Delete at most so many. [default: all]", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Let go now what the rules let go: each is archived, read back from the archive, and deleted.

    A failure of the archive ends it; what was done until then is done, and the rest is as it was.
    """
    settings = _lasting(settings_of(config))
    with output.progress(quiet=as_json) as progress:
        task = progress.add_task("executions", total=None)
        done = asyncio.run(_run(settings, limit, lambda so_far: progress.update(task, completed=so_far.seen)))
    view = expired_view(done)
    if as_json:
        output.print_json(view)
        return
    output.console().print(f"{view['deleted']} executions deleted, {view['archived']} of them archived", markup=False)
    _print_kept(view["kept"])


def list_deleted(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List executions that retention has deleted, latest first, and where each was archived."""
    views = [deleted_view(known) for known in asyncio.run(_deleted(_lasting(settings_of(config)), limit))]
    if as_json:
        output.print_json(views)
        return
    output.print_table(
        ["ID", "WORKFLOW", "STATUS", "ENDED (UTC)", "DELETED (UTC)", "ARCHIVED AS"],
        (
            (
                view["execution_id"],
                view["workflow"],
                output.status(view["status"]),
                f"{view['finished_at']:%Y-%m-%d %H:%M:%S}",
                f"{view['deleted_at']:%Y-%m-%d %H:%M:%S}",
                view["archived_as"] or "-",
            )
            for view in views
        ),
    )


def restore(
    execution_id: Annotated[str, typer.Argument(metavar="ID", help="The execution's whole id.", show_default=False)],
    *,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Bring an execution back that was deleted and archived. The rules let it go anew, that much later."""
    found = whole_id(execution_id)
    if found is None:
        raise BadUsage("write the whole id", hint="`sagad archive list` has it")
    done = asyncio.run(_restore(_lasting(settings_of(config)), found))
    if as_json:
        output.print_json(done)
    else:
        text = f"{done.events} events of {len(done.imported)} executions are back: {done.execution_id}"
        output.console().print(text, markup=False, soft_wrap=True)


async def _plan(settings: Settings, told: Any) -> dict[str, Any]:
    async with opened(settings) as store:
        expiry = expiry_of(settings, store, SystemClock())
        return await plan_view(expiry, store.index, settings.retention, told=told)


async def _run(settings: Settings, most: int | None, told: Any) -> Expired:
    async with opened(settings) as store:
        expiry = expiry_of(settings, store, SystemClock())
        if not await expiry.any_rules():
            hint = "write [[retention.rules]] in the settings, or `retention` in a definition"
            raise BadUsage("there are no rules, so nothing goes", hint=hint)
        return await expiry.run(most=most, told=told)


async def _deleted(settings: Settings, limit: int) -> list[Deleted]:
    found: list[Deleted] = []
    after: tuple[datetime, UUID] | None = None
    async with opened(settings) as store:
        while len(found) < limit:
            page = await store.deletions.all_deleted(after=after, limit=min(PAGE, limit - len(found)))
            if not page:
                break
            found += page
            after = page[-1].deleted_at, page[-1].execution_id
    return found


async def _restore(settings: Settings, execution_id: UUID) -> Imported:
    async with opened(settings) as store:
        return await restoring_of(settings, store, SystemClock()).restore(execution_id)


def _print_plan(view: dict[str, Any]) -> None:
    say = output.console().print
    if not view["rules"]:
        say("no rule lets anything go now", markup=False)
        return
    output.print_table(["WORKFLOW", "STATUS", "KEEP", "ARCHIVE", "SAID BY", "WOULD GO NOW"], _rules(view))
    say(f"\n{view['going']} of {view['ended']} that have ended would go; {view['open']} have not ended", markup=False)
    _print_kept(view["kept"])
    if view["staying"]:
        output.print_table(
            ["STAYS", "WORKFLOW", "STATUS", "WHY"],
            (
                (str(each["execution_id"]), each["workflow"], output.status(each["status"]), each["why"])
                for each in view["staying"]
            ),
        )


def _rules(view: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for rule in view["rules"]:
        archive = view["archive"] if rule["archive"] else "no"
        yield (
            rule["workflow"],
            ", ".join(rule["status"]),
            rule["keep"],
            archive or "none",
            rule["said_by"],
            str(rule["going"]),
        )


def _print_kept(kept: list[dict[str, Any]]) -> None:
    for each in kept:
        output.console().print(f"{each['executions']} stay: {each['why']}", markup=False)


def _lasting(settings: Settings) -> Settings:
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process: ask that at /retention and /archive")
    return settings
