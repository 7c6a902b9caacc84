"""Handlers that are generators: each value that they yield goes to the stream, and what they yield makes the output.

Comes from: `lanes`, `process_worker`. Goes to: the handlers; `streams`, by way of the step's context.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, get_args

from daemon.core.values import Json, bounded_json, size_of
from daemon.nodes.answers import Answer
from daemon.nodes.context import StepFailure
from daemon.runtime.signatures import encode_output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from daemon.handlers import Collect
    from daemon.nodes.context import NodeContext
    from daemon.runtime.handler_registry import Handler

ANSWERS = get_args(Answer)


async def drain(chunks: AsyncGenerator[Any, None], handler: Handler, context: NodeContext) -> object:
    """Stream what the generator yields, no faster than it is written; return the output, or the answer."""
    collected = _Collected(handler.collect, context.max_output_bytes)
    async with aclosing(chunks):
        async for chunk in chunks:
            if isinstance(chunk, ANSWERS):
                return encode_output(chunk)
            await context.stream(collected.take(chunk))
    return collected.output()


def drain_here(chunks: Generator[Any, None, Any], handler: Handler, context: NodeContext) -> object:
    """Do the same in this thread; it ends between two chunks when the attempt was given up."""
    collected = _Collected(handler.collect, context.max_output_bytes)
    with closing(chunks):
        while not context.cancelled:
            try:
                chunk = next(chunks)
            except StopIteration as end:
                return collected.output() if end.value is None else encode_output(end.value)
            if isinstance(chunk, ANSWERS):
                return encode_output(chunk)
            context.stream(collected.take(chunk))
    raise StepFailure("the attempt was given up", "given_up")


class _Collected:
    """The output in the making; it holds no more than a step may give."""

    def __init__(self, collect: Collect, max_bytes: int) -> None:
        self._collect = collect
        self._max_bytes = max_bytes
        self._bytes = 0
        self._items: list[Any] = []
        self._so_far: Any = None

    def take(self, chunk: object) -> Json:
        """Take a chunk; return it as it is written."""
        plain = encode_output(chunk)
        try:
            encoded = bounded_json(plain)
        except (TypeError, ValueError) as error:
            raise StepFailure(f"the chunk has no JSON form: {error}", "invalid_output", retryable=False) from error
        match self._collect:
            case "list" | "text":
                self._bytes += size_of(encoded)
                if self._bytes > self._max_bytes:
                    problem = f"the chunks have more than {self._max_bytes} bytes, which an output may not"
                    hint = "collect what is needed of them, or raise `limits`"
                    raise StepFailure(f"{problem}: {hint}", "output_too_large", retryable=False)
                self._items.append(plain)
            case "last":
                self._so_far = plain
            case reduce:
                self._so_far = reduce(self._so_far, plain)
        return encoded

    def output(self) -> object:
        """Return what the chunks make."""
        match self._collect:
            case "list":
                return self._items
            case "text":
                if strange := next((item for item in self._items if not isinstance(item, str)), None):
                    problem = f"collect=text, but a chunk is {strange!r}"
                    raise StepFailure(problem, "invalid_output", retryable=False)
                return "".join(self._items)
            case _:
                return encode_output(self._so_far)
