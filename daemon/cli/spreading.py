"""Work on many executions, in several processes, with a progress bar."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from daemon.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

K = TypeVar("K")
T = TypeVar("T")
Told: TypeAlias = "tuple[list[T], dict[str, str]]"
"""What was found of some executions, and why nothing was of the others."""

CHUNK = 500
"""Executions that a process is given at once, at most: it opens the store for them."""
SHARES = 4
"""Chunks for each process, at least: one may have the larger executions."""


def spread(work: Callable[[Sequence[UUID]], Told[T]], ids: Sequence[UUID], processes: int, *, quiet: bool) -> Told[T]:
    """Have the work done for all ids; it goes to other processes by pickle. `quiet`: without the bar."""
    found: list[T] = []
    failed: dict[str, str] = {}
    with output.progress(quiet=quiet) as progress:
        task = progress.add_task("executions", total=len(ids))
        for told, not_told in in_processes(work, ids, processes):
            found += told
            failed |= not_told
            progress.advance(task, len(told) + len(not_told))
    return found, failed


def in_processes(work: Callable[[Sequence[K]], T], asked: Sequence[K], processes: int) -> Iterator[T]:
    """Give what came of each part of what is asked, in the order in which it is done; see `spread`."""
    size = max(1, min(CHUNK, len(asked) // (processes * SHARES)))
    chunks = [asked[at : at + size] for at in range(0, len(asked), size)]
    if min(processes, len(chunks)) <= 1:
        yield from map(work, chunks)
        return
    with ProcessPoolExecutor(min(processes, len(chunks)), get_context("spawn")) as pool:
        for done in as_completed([pool.submit(partial(work, chunk)) for chunk in chunks]):
            yield done.result()
