"""`snapshot …`: named versions and stored states, of one execution or of all that match."""

from __future__ import annotations

import gzip
from pathlib import Path  # noqa: TC003  typer resolves the annotations
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import typer

from daemon.cli import output
from daemon.cli.comparing import print_diff, read_when
from daemon.cli.faults import BadUsage, Failed
from daemon.cli.options import Config, ExecutionIdArgument, Json, Url, settings_of
from daemon.cli.past import past_of
from daemon.cli.pausing import Every, MaybeId, Since, Status, Trigger, Until, Workflow  # noqa: TC001  as above
from daemon.cli.reading import read_moment
from daemon.cli.sources import find
from daemon.core.errors import Rejected
from daemon.runtime.moments import Moment
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daemon.cli.past import Past

MOST = 1_000_000
"""Executions of one batch."""
SUMMARY = "Give versions names; list, check, compare, move and clear stored states."

snapshot = typer.Typer(name="snapshot", help=SUMMARY, no_args_is_help=True)
Version = Annotated[int | None, typer.Option(min=1, help="Of this version.", show_default=False)]


@snapshot.callback()
def _snapshot() -> None:
    """Give versions names; list, check, compare, move and clear stored states."""


@snapshot.command()
def take(
    execution_id: MaybeId = None,
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="The name; it stands for one version.")] = "manual",
    version: Version = None,
    at: Annotated[str | None, typer.Option(help="Of the version at this time: 2026-01-31T12:00, or 1h ago.")] = None,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Give a version a name, a checkpoint, and keep its snapshot: of one execution, or of all that match."""
    moment = Moment(version=version, at=read_moment(at) if at is not None else None)
    which = _which(execution_id, workflow, trigger, status, since, until, every=every)
    with past_of(settings_of(config), url) as past:
        done = _each(past, execution_id, which, lambda found: past.mark(found, name, moment), quiet=as_json)
    _tell(done, as_json=as_json, line=lambda view: f"checkpoint {view['name']!r} is version {view['version']}")


@snapshot.command("list")
def list_snapshots(
    execution_id: MaybeId = None,
    *,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """List the snapshots and checkpoints of an execution; of many, how many there are and what they take."""
    which = _which(execution_id, workflow, trigger, status, since, until, every=every)
    with past_of(settings_of(config), url) as past:
        if execution_id is None:
            done = _each(past, None, which, past.snapshots, quiet=as_json)
            _print_many(done, as_json=as_json)
            return
        found = find(past.source, execution_id)
        view = {**past.snapshots(found), "checkpoints": past.checkpoints(found)}
    if as_json:
        output.print_json(view)
    else:
        _print_one(view)


@snapshot.command()
def latest(execution_id: ExecutionIdArgument, *, as_json: Json = False, config: Config = None, url: Url = None) -> None:
    """Show the newest snapshot of an execution."""
    with past_of(settings_of(config), url) as past:
        view = past.snapshots(find(past.source, execution_id))
    if not view["snapshots"]:
        raise Failed(f"execution {view['execution_id']} has no snapshot")
    newest = view["snapshots"][-1]
    if as_json:
        output.print_json(newest)
    else:
        output.print_pairs([(name.replace("_", " "), value) for name, value in newest.items()])


@snapshot.command()
def clear(
    execution_id: MaybeId = None,
    *,
    version: Version = None,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Delete snapshots: one, those of an execution, or those of all that match. Only time is lost, and names."""
    which = _which(execution_id, workflow, trigger, status, since, until, every=every)
    if version is not None and execution_id is None:
        raise BadUsage("--version needs the execution's id")
    with past_of(settings_of(config), url) as past:
        done = _each(past, execution_id, which, lambda found: {"cleared": past.clear(found, version)}, quiet=as_json)
    total = sum(view.get("cleared", 0) for view in done)
    _tell(done, as_json=as_json, line=lambda view: f"{view['cleared']} cleared", total=f"{total} cleared")


@snapshot.command()
def validate(
    execution_id: MaybeId = None,
    *,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Check that snapshots are what the events say. Exit code 1 when one is not."""
    which = _which(execution_id, workflow, trigger, status, since, until, every=every)
    with past_of(settings_of(config), url) as past:
        done = _each(past, execution_id, which, lambda found: {"snapshots": past.validate(found)}, quiet=as_json)
    checked = [(view, one) for view in done for one in view.get("snapshots", ())]
    wrong = [(view, one) for view, one in checked if one["outcome"] != "ok"]
    if as_json:
        output.print_json(done)
    else:
        for view, one in wrong:
            places = f": {', '.join(one['differences'])}" if one["differences"] else ""
            text = f"{view['execution_id']} version {one['version']} {one['outcome']}: {one['problem']}{places}"
            output.console().print(text, markup=False, style="bold red")
        output.console().print(f"{len(checked) - len(wrong)} of {len(checked)} snapshots are what the events say")
    if wrong or any("problem" in view for view in done):
        raise typer.Exit(1)


@snapshot.command()
def compare(
    execution_id: ExecutionIdArgument,
    one: Annotated[str, typer.Argument(metavar="WHEN", help="A version, a time or a name.")],
    other: Annotated[str, typer.Argument(metavar="WHEN", help="Another.")],
    *,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Show what differs between two snapshots of an execution, as `sagad diff` does."""
    with past_of(settings_of(config), url) as past:
        found = find(past.source, execution_id)
        view = past.diff((found, read_when(one)), (found, read_when(other)), patch=False)
    if as_json:
        output.print_json(view)
    else:
        print_diff(view)
    if not view["same"]:
        raise typer.Exit(1)


@snapshot.command()
def export(
    execution_id: MaybeId = None,
    *,
    version: Version = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", "-o", help="A file, or for many a folder; `.gz` compresses. [default: standard output]"),
    ] = None,
    workflow: Workflow = None,
    trigger: Trigger = None,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    every: Every = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Write a snapshot as a JSON document: of a version, or the newest; or the newest of all that match."""
    which = _which(execution_id, workflow, trigger, status, since, until, every=every)
    if execution_id is None and (to is None or version is not None):
        raise BadUsage("many snapshots go to a folder, the newest of each", hint="name it with --to")

    def write(found: UUID) -> dict[str, Any]:
        document = past.export(found, version)
        file = to if to is None or execution_id is not None else to / f"{found}-{document['version']}.json"
        _write(document, file)
        return {"version": document["version"], "file": str(file)}

    with past_of(settings_of(config), url) as past:
        done = _each(past, execution_id, which, write, quiet=to is None)
    if to is not None:
        _tell(done, as_json=False, line=lambda view: f"version {view['version']} is in {view['file']}")


@snapshot.command("import")
def take_in(
    files: Annotated[list[Path], typer.Argument(help="Documents that `sagad snapshot export` has written.")],
    *,
    execution: Annotated[
        str | None, typer.Option(help="Refuse those of another execution.", show_default=False)
    ] = None,
    as_json: Json = False,
    config: Config = None,
    url: Url = None,
) -> None:
    """Store snapshots from files, each only if it is what the execution's events say."""
    done = []
    with past_of(settings_of(config), url) as past:
        wanted = find(past.source, execution) if execution is not None else None
        for file in files:
            text = _read(file)
            try:
                done.append({"file": str(file), **past.take_in(text, wanted or _execution_of(text))})
            except (Rejected, Failed) as error:
                done.append({"file": str(file), "problem": str(error)})
    if as_json:
        output.print_json(done)
    for view in done:
        if "problem" in view:
            typer.echo(f"error: {view['file']}: {view['problem']}", err=True)
        elif not as_json:
            output.console().print(f"{view['file']}: version {view['version']} is stored", markup=False)
    if any("problem" in view for view in done):
        raise typer.Exit(1)


def _which(  # noqa: PLR0917  as they stand in the commands
    execution_id: str | None,
    workflow: str | None,
    trigger: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    *,
    every: bool,
) -> ExecutionFilter:
    """Return the filter. Raises BadUsage for one beside an id, and for neither."""
    given = any(value is not None for value in (workflow, trigger, status, since, until))
    if execution_id is not None and (given or every):
        raise BadUsage("give either an id, or which executions are meant")
    if execution_id is None and not given and not every:
        raise BadUsage("which executions?", hint="give an id, a filter such as --workflow, or --all")
    times = (None if text is None else read_moment(text) for text in (since, until))
    return ExecutionFilter(
        workflow=workflow, trigger=trigger, status=status, since=next(times), until=next(times), limit=MOST
    )


def _each(
    past: Past,
    execution_id: str | None,
    which: ExecutionFilter,
    work: Callable[[UUID], dict[str, Any]],
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Do it for each, with a progress bar; what fails for one of many is its `problem`, and the others go on."""
    if execution_id is not None:
        found = find(past.source, execution_id)
        return [{"execution_id": str(found), **work(found)}]
    rows = past.source.executions(which)
    with output.progress(quiet=quiet) as progress:
        return [_one(row["execution_id"], work) for row in progress.track(rows, description="executions")]


def _one(execution_id: str, work: Callable[[UUID], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"execution_id": execution_id, **work(UUID(execution_id))}
    except (Rejected, Failed) as error:
        return {"execution_id": execution_id, "problem": str(error)}


def _tell(
    done: Sequence[dict[str, Any]], *, as_json: bool, line: Callable[[dict[str, Any]], str], total: str | None = None
) -> None:
    if as_json:
        output.print_json(done)
    else:
        for text in _lines(done, line):
            output.console().print(text, markup=False)
        if total is not None and len(done) > 1:
            output.console().print(total, markup=False)
    if any("problem" in view for view in done):
        raise typer.Exit(1)


def _lines(done: Sequence[dict[str, Any]], line: Callable[[dict[str, Any]], str]) -> Iterator[str]:
    for view in done:
        yield f"{view['execution_id']} {view['problem'] if 'problem' in view else line(view)}"


def _print_many(done: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.print_json(done)
        return
    rows = [(view["execution_id"], len(view["snapshots"]), view["bytes"]) for view in done if view.get("snapshots")]
    output.print_table(["ID", "SNAPSHOTS", "BYTES"], rows)
    output.console().print(f"{sum(row[2] for row in rows):,} bytes in {sum(row[1] for row in rows)} snapshots")


def _print_one(view: dict[str, Any]) -> None:
    names = {each["version"]: each["name"] for each in view["checkpoints"]}
    stored = {each["version"]: each for each in view["snapshots"]}
    rows = []
    for version in sorted(names.keys() | stored.keys()):
        each = stored.get(version)
        name = names.get(version, "")
        if each is None:
            rows.append((version, name, "", "", "not stored: folded from the events"))
        else:
            times = (output.moment(each["covers_to"]), output.moment(each["taken_at"]))
            rows.append((version, name, *times, f"{each['stored_bytes']:,} bytes"))
    output.print_table(["VERSION", "CHECKPOINT", "LAST EVENT (UTC)", "TAKEN (UTC)", "STORED"], rows)


def _write(document: dict[str, Any], file: Path | None) -> None:
    if file is None:
        output.print_json(document)
        return
    text = msgspec.json.encode(document)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    except OSError as error:
        raise Failed(f"cannot write {file}: {error.strerror}") from None


def _read(file: Path) -> bytes:
    try:
        text = file.read_bytes()
        return gzip.decompress(text) if file.suffix == ".gz" else text
    except (OSError, EOFError) as error:
        raise BadUsage(f"cannot read {file}: {error}") from None


def _execution_of(text: bytes) -> UUID:
    """Return which execution a document is of. Raises Failed."""

    class Head(msgspec.Struct):
        execution_id: UUID

    try:
        return msgspec.json.decode(text, type=Head).execution_id
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Failed(f"not a snapshot: {error}") from None
