"""`archive`: an execution as one file, and what retention has archived. The commands work on the store itself."""

from __future__ import annotations

import asyncio
import gzip
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from daemon.cli import output
from daemon.cli.faults import BadUsage, Failed
from daemon.cli.options import Config, ExecutionIdArgument, Json, settings_of
from daemon.cli.retaining import list_deleted, restore
from daemon.cli.sources import find, source_of
from daemon.cli.stores import is_memory, opened
from daemon.runtime.clock import SystemClock
from daemon.runtime.codec import codec_of
from daemon.runtime.exports import Export
from daemon.runtime.imports import Conflicts, Import, Imported, Wish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO
    from uuid import UUID

    from daemon.runtime.archive_lines import Counts
    from daemon.settings import Settings

archive = typer.Typer(
    name="archive",
    help="Write executions to files, and read them from there; restore what was deleted.",
    no_args_is_help=True,
)


@archive.callback()
def _archive() -> None:
    """Write executions to files, and read them from there; restore what was deleted."""


archive.command("list")(list_deleted)
archive.command("restore")(restore)


@archive.command("export")
def export_execution(
    execution_id: ExecutionIdArgument,
    *,
    to: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write to this file, packed if its name ends with .gz.", show_default=False
        ),
    ] = None,
    with_children: Annotated[
        bool, typer.Option("--with-children", help="Write the executions too that it has started as subflows.")
    ] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Write an execution to one file: events, payloads, definitions, and what it was forked from.

    The same execution gives the same file, byte by byte. Without --output it goes to the standard output.
    """
    settings = _lasting(settings_of(config))
    with source_of(settings, None) as source:
        found = find(source, execution_id)
    if to is None:
        asyncio.run(_export(settings, found, sys.stdout.buffer, with_children=with_children))
        return
    with _written(to) as file:
        counts = asyncio.run(_export(settings, found, file, with_children=with_children))
    if as_json:
        output.print_json(counts)
    else:
        text = f"{counts.events} events of {counts.executions} executions are in {to}"
        output.console().print(text, markup=False, soft_wrap=True)


@archive.command("import")
def import_execution(
    file: Annotated[Path, typer.Argument(help="A file that `sagad archive export` wrote.", show_default=False)],
    *,
    on_conflict: Annotated[
        str, typer.Option(help=f"What to do about an execution that is there: {', '.join(get_args(Conflicts))}.")
    ] = "refuse",
    go_on: Annotated[bool, typer.Option("--go-on", help="Let executions go on here that have not ended.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Bring the executions of a file into this store: all of them in one transaction, or nothing.

    The whole file is read and verified first. `skip` leaves what is there as it is; `as-new` gives all new ids.
    """
    if on_conflict not in get_args(Conflicts):
        raise BadUsage(f"there is no rule {on_conflict!r}", hint=f"there are: {', '.join(get_args(Conflicts))}")
    if not file.is_file():
        raise BadUsage(f"there is no file {file}")
    settings = _lasting(settings_of(config))
    wish = Wish(conflicts=cast("Conflicts", on_conflict), go_on=go_on)
    done = asyncio.run(_import(settings, file, wish))
    if as_json:
        output.print_json(done)
        return
    left = f"; {len(done.left)} were there already" if done.left else ""
    text = f"{done.events} events of {len(done.imported)} executions are imported{left}: {done.execution_id}"
    output.console().print(text, markup=False, soft_wrap=True)


async def _export(settings: Settings, execution_id: UUID, file: BinaryIO, *, with_children: bool) -> Counts:
    async with opened(settings) as store:
        export = Export(store, codec_of(settings), execution_id, with_children=with_children)
        async for line in export.lines():
            file.write(line)
    file.flush()
    return export.counts


async def _import(settings: Settings, file: Path, wish: Wish) -> Imported:
    async with opened(settings) as store:
        return await Import(store, codec_of(settings), SystemClock(), file, wish).run()


@contextmanager
def _written(to: Path) -> Iterator[BinaryIO]:
    """Give a file that takes its name when all is in it; a failure leaves what was there."""
    part = to.with_name(f"{to.name}.part")
    try:
        with part.open("wb") as file:
            if to.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                    yield cast("BinaryIO", packed)
            else:
                yield file
        part.replace(to)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failed(f"cannot write {to}: {error.strerror or error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _lasting(settings: Settings) -> Settings:
    if is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process and is gone with it")
    return settings
