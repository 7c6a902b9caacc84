"""Handlers that stream: from the loop, a thread and a process, as generators and by their context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator  # noqa: TC003  annotations of handlers are resolved
from typing import Any

from daemon.handlers import Context, Port, StepFailure, handler
from tests.support.gated_handlers import entered, gates


def words(chunk: Any) -> dict[str, int]:
    """Count the words of a chunk."""
    return {"words": len(str(chunk).split()), "seen": 1}


@handler("count.loop", collect="text", count=words)
async def count_loop(to: int) -> AsyncIterator[str]:
    for number in range(to):
        yield f"{number} "


@handler("count.thread", collect="text", count=words)
def count_thread(to: int) -> Iterator[str]:
    for number in range(to):
        yield f"{number} "


@handler("count.process", cpu=True, collect="text", count=words)
def count_process(to: int) -> Iterator[str]:
    for number in range(to):
        yield f"{number} "


@handler("told.loop", count=words)
async def told_loop(to: int, *, context: Context) -> int:
    for number in range(to):
        await context.stream(f"{number} ")
    return to


@handler("told.thread", count=words)
def told_thread(to: int, *, context: Context) -> int:
    for number in range(to):
        context.stream(f"{number} ")
    return to


@handler("told.process", cpu=True, count=words)
def told_process(to: int, *, context: Context) -> int:
    for number in range(to):
        context.stream(f"{number} ")
    return to


@handler("listed")
async def listed(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


@handler("last", collect="last")
async def last(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


def total(so_far: int | None, chunk: int) -> int:
    """Add a chunk."""
    return (so_far or 0) + chunk


@handler("summed", collect=total)
def summed(chunks: list[int]) -> Iterator[int]:
    yield from chunks


@handler("returned")
def returned(chunks: list[Any], result: Any) -> Generator[Any, None, Any]:
    yield from chunks
    return result


@handler("answered")
async def answered(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk
    yield Port("declined", {"after": len(chunks)})
    yield "never"


@handler("joined", collect="text")
async def joined(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


@handler("held", collect="text")
async def held(name: str, *, context: Context) -> AsyncIterator[str]:
    """Give one chunk, stand at the gate of this name, give another."""
    yield f"before {context.attempt}"
    entered[name].set()
    await gates[name].wait()
    yield " after"


@handler("broken", collect="text")
async def broken(*, context: Context) -> AsyncIterator[str]:
    """Fail after the first chunk, but for the second attempt."""
    yield f"attempt {context.attempt}"
    if context.attempt == 1:
        raise StepFailure("broken off", "broken")
    yield "."


@handler("quiet")
async def quiet() -> int:
    return 1
