"""`verify`: whether executions are what was once written; one, all of a store, or those of a file."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from msgspec import Struct

from daemon.cli import output
from daemon.cli.faults import BadUsage
from daemon.cli.options import Config, Json, settings_of
from daemon.cli.sources import find, source_of
from daemon.cli.spreading import in_processes
from daemon.cli.stores import is_memory, opened
from daemon.runtime.archive_file import ArchiveFile, BadFile
from daemon.runtime.codec import codec_of
from daemon.runtime.heads import Head, HeadKeys, checking_keys, head_keys, parse_head, signed
from daemon.runtime.verification import Finding, Proof, Verifier
from daemon.runtime.views import plain
from eventstore.index import ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from daemon.settings import Settings

    Asked: TypeAlias = tuple[UUID, Head | None]
    """An execution, and the head of it that was kept."""

PAGE = 500
TOGETHER = 8
"""Executions that a process verifies at once: the database is asked for one while another is folded."""
SHOWN = 50


class Report(Struct):
    """What was found of many."""

    executions: int = 0
    events: int = 0
    deleted: int = 0
    """References to payloads that retention has deleted."""
    broken: list[Proof] = []

    def add(self, proof: Proof) -> None:
        """Count one."""
        self.executions += 1
        self.events += proof.events
        self.deleted += proof.deleted
        if proof.findings:
            self.broken.append(proof)


def verify(
    target: Annotated[
        str | None, typer.Argument(metavar="[FILE|ID]", help="A file, or an execution's id.", show_default=False)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Verify all executions of the store.")] = False,
    head: Annotated[
        bool, typer.Option("--head", help="Print the head of each, to be kept elsewhere, and nothing else.")
    ] = False,
    expect: Annotated[
        str | None,
        typer.Option(help="A head that was kept, or a file of heads, one a line.", show_default=False),
    ] = None,
    public: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="A file with a public key (PEM) that checks heads.", show_default=False),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many processes verify, with --all.")] = os.cpu_count() or 1,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Verify that executions are what was once written, and say where one is not.

    Each event must follow its predecessor, be readable and fit; payloads and definitions must have their hashes; the
    index must say what the events say. A head that was kept tells whether anything was changed since, however well.
    Exit code 1 when anything is wrong.
    """
    if (target is None) != every:
        raise BadUsage("name a file or an execution, or write --all")
    settings = settings_of(config)
    keys = checking_keys(public) if public else head_keys(settings.archive)
    expected = _expected(expect, keys)
    if target is not None and _is_file(target):
        proofs: Iterable[Proof] = _of_file(settings, Path(target), expected)
    elif is_memory(settings):
        raise BadUsage("a store in memory belongs to the daemon's process and is gone with it")
    elif target is not None:
        if "/" in target or target.endswith((".gz", ".jsonl")):
            raise BadUsage(f"there is no file {target}")
        with source_of(settings, None) as source:
            found = find(source, target)
        proofs = asyncio.run(_verified(settings, [(found, expected.get(found))]))
    else:
        proofs = _of_store(settings, expected, processes, quiet=as_json or head)
    report = Report()
    for proof in proofs:
        report.add(proof)
        if head and proof.head is not None and not proof.findings:
            typer.echo(signed(proof.head, keys))
    if not head or report.broken:
        _print(report, as_json=as_json)
    if report.broken:
        raise typer.Exit(1)


def _expected(text: str | None, keys: HeadKeys) -> Mapping[UUID, Head]:
    if text is None:
        return {}
    lines = (Path(text).read_text(encoding="utf-8") if _is_file(text) else text).splitlines()
    heads = [parse_head(line, keys) for line in lines if line.strip()]
    return {head.execution_id: head for head in heads}


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _of_file(settings: Settings, path: Path, expected: Mapping[UUID, Head]) -> Iterator[Proof]:
    """Read a file; all of it must be sound. Raises BadFile."""
    file = ArchiveFile(path, codec_of(settings), marks={key: head.version for key, head in expected.items()})
    file.read_all()
    for key, told in file.told.items():
        findings: list[Finding] = []
        if key in expected and file.marked.get(key) != expected[key].hash:
            version = expected[key].version
            short = f"it ends with event {told.version}, and had {version} when the head was kept"
            changed = f"an event up to {version} is not what it was when the head was kept"
            findings.append(Finding(changed if key in file.marked else short))
        head = Head(key, told.version, told.hash)
        yield Proof(execution_id=key, events=told.version, head=head, findings=tuple(findings))
    for key in expected.keys() - file.told.keys():
        raise BadFile(path, 1, f"execution {key}, of which a head was kept, is not in the file")


def _of_store(settings: Settings, expected: Mapping[UUID, Head], processes: int, *, quiet: bool) -> Iterator[Proof]:
    ids, gone = asyncio.run(_all(settings, expected))
    asked = [(key, expected.get(key)) for key in ids]
    with output.progress(quiet=quiet) as progress:
        task = progress.add_task("executions", total=len(ids))
        for proofs in in_processes(partial(_in_a_process, settings), asked, processes):
            yield from proofs
            progress.advance(task, len(proofs))
    for execution_id in gone:
        finding = Finding("the index has a row of it, and there are no events: it was deleted from the log")
        yield Proof(execution_id=execution_id, events=0, head=None, findings=(finding,))


async def _all(settings: Settings, expected: Mapping[UUID, Head]) -> tuple[list[UUID], list[UUID]]:
    """Return the executions that have events, or of which a head was kept; and those that only the index knows."""
    async with opened(settings) as store:
        found: dict[UUID, None] = {}
        last: UUID | None = None
        while page := await store.archive.logged(after=last, limit=PAGE):
            found |= dict.fromkeys(key for key, _ in page)
            last = page[-1][0]
        gone: list[UUID] = []
        after: tuple[datetime, UUID] | None = None
        while rows := await store.index.executions(ExecutionFilter(limit=PAGE, after=after)):
            unknown = [
                row.execution_id for row in rows if row.execution_id not in found and row.execution_id not in expected
            ]
            there = await store.versions(unknown) if unknown else {}
            gone += [key for key in unknown if key not in there]
            after = rows[-1].started_at, rows[-1].execution_id
        return list(found | dict.fromkeys(expected)), gone


def _in_a_process(settings: Settings, asked: Sequence[Asked]) -> Sequence[Proof]:
    return asyncio.run(_verified(settings, asked))


async def _verified(settings: Settings, asked: Sequence[Asked]) -> Sequence[Proof]:
    async with opened(settings) as store:
        verifier = Verifier(store, codec_of(settings))
        together = asyncio.Semaphore(TOGETHER)

        async def verify(key: UUID, head: Head | None) -> Proof:
            async with together:
                return await verifier.verify(key, head)

        return await asyncio.gather(*(verify(key, head) for key, head in asked))


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        output.print_json(plain(report))
        return
    deleted = f", {report.deleted} payloads of theirs are deleted" if report.deleted else ""
    counts = f"{report.events} events of {report.executions} executions verified{deleted}"
    broken = f"{len(report.broken)} executions are not sound" if report.broken else "all are sound"
    output.console().print(f"{counts}: {broken}.", markup=False)
    for proof in report.broken[:SHOWN]:
        for finding in proof.findings:
            output.console().print(f"{proof.execution_id}: {finding.message}", markup=False, soft_wrap=True)
