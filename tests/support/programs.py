"""Random `asyncio` programs for durable functions: their form, how to draw one, and the function that runs it.

A program is a nested list, so it is JSON and can be a function's input. What it does, and in which order, is in the
trace that it returns: two runs that differ anywhere differ there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from daemon.durable import CallFailed, Undo

if TYPE_CHECKING:
    from daemon.durable import DurableContext

Program = list[Any]

SECONDS = st.integers(1, 50)


def programs(*, most: int = 12) -> st.SearchStrategy[Program]:
    """Draw a program of at most so many calls."""
    calls = st.one_of(
        st.builds(lambda name: ["step", name], st.sampled_from(["t.ok", "t.ok", "t.undone", "t.bad", "t.flaky"])),
        st.builds(lambda seconds: ["sleep", seconds], SECONDS),
        st.builds(lambda seconds: ["nap", seconds], SECONDS),
        st.builds(lambda name, limit: ["signal", name, limit], st.sampled_from("ab"), st.none() | SECONDS),
        st.sampled_from([["now"], ["random"], ["version"], ["yield"], ["raise"]]),
    )
    return st.recursive(calls, _larger, max_leaves=most)


def _larger(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    several = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        st.builds(lambda kind, parts: [kind, *parts], st.sampled_from(["seq", "seq", *_MANY]), several),
        st.builds(
            lambda kind, limit, part: [kind, limit, part], st.sampled_from(["timeout", "wait_for"]), SECONDS, inner
        ),
        st.builds(lambda kind, part: [kind, part], st.sampled_from(["try", "task", "shield"]), inner),
        st.builds(lambda part, then: ["cancel", part, then], inner, inner),
    )


_MANY = ("gather", "group", "first", "completed", "all", "queue")


async def program(ctx: DurableContext, input: Program) -> list[Any]:  # noqa: A002  the whole of `with`
    """Run a program; return its trace, and how it ended."""
    run = _Run(ctx)
    try:
        await run.do(input)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  programs may fail in any way
        run.note("ended", *_told(error))
    return run.trace


class _Run:
    def __init__(self, ctx: DurableContext) -> None:
        self.ctx = ctx
        self.trace: list[Any] = []

    def note(self, *what: Any) -> None:
        self.trace.append(list(what))

    async def do(self, part: Program) -> Any:
        kind, *rest = part
        try:
            result = await getattr(self, f"do_{kind}")(*rest)
        except BaseException as error:
            self.note(kind, *_told(error))
            raise
        self.note(kind, result)
        return kind

    async def do_step(self, name: str) -> Any:
        undo = Undo("t.undo", {"of": "{{ step.output }}"}, "idempotent") if name == "t.undone" else None
        retry = {"max_attempts": 2, "initial": "5s"} if name == "t.flaky" else None
        return await self.ctx.step(name, {"n": len(self.trace)}, retry=retry, compensate=undo)

    async def do_sleep(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    async def do_nap(self, seconds: int) -> None:
        await self.ctx.sleep(seconds)

    async def do_signal(self, name: str, limit: int | None) -> Any:
        return await self.ctx.signal(name, limit)

    async def do_now(self) -> str:
        return self.ctx.now().isoformat()

    async def do_random(self) -> float:
        return self.ctx.random()

    async def do_version(self) -> int:
        return self.ctx.version("change", 1, 2)

    async def do_yield(self) -> None:
        await asyncio.sleep(0)

    async def do_raise(self) -> None:
        raise ValueError("wanted")

    async def do_seq(self, *parts: Program) -> None:
        for part in parts:
            await self.do(part)

    async def do_gather(self, *parts: Program) -> list[str]:
        results = await asyncio.gather(*(self.do(part) for part in parts), return_exceptions=len(parts) > 1)
        return [str(result) for result in results]

    async def do_group(self, *parts: Program) -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self.do(part))

    async def do_first(self, *parts: Program) -> list[int]:
        tasks = [asyncio.create_task(self.do(part)) for part in parts]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [index for index, task in enumerate(tasks) if task in done]

    async def do_all(self, *parts: Program) -> list[int]:
        tasks = [asyncio.create_task(self.do(part)) for part in parts]
        done, left = await asyncio.wait(tasks, timeout=20)
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [index for index, task in enumerate(tasks) if task in done]

    async def do_completed(self, *parts: Program) -> list[str]:
        found = []
        for next_one in asyncio.as_completed([self.do(part) for part in parts]):
            try:
                found.append(await next_one)
            except Exception as error:  # noqa: BLE001  noted, and the others go on
                found.append(type(error).__name__)
        return found

    async def do_queue(self, *parts: Program) -> int:
        queue: asyncio.Queue[Program] = asyncio.Queue(maxsize=1)

        async def work() -> None:
            while True:
                try:
                    await self.do(await queue.get())
                except Exception as error:  # noqa: BLE001  noted, and the next one is taken
                    self.note("worker", *_told(error))
                finally:
                    queue.task_done()

        workers = [asyncio.create_task(work()) for _ in range(2)]
        for part in parts:
            await queue.put(part)
        await queue.join()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return len(parts)

    async def do_timeout(self, seconds: int, part: Program) -> None:
        async with asyncio.timeout(seconds):
            await self.do(part)

    async def do_wait_for(self, seconds: int, part: Program) -> None:
        await asyncio.wait_for(self.do(part), seconds)

    async def do_try(self, part: Program) -> None:
        try:
            await self.do(part)
        except Exception as error:  # noqa: BLE001  that is what is tried
            self.note("caught", *_told(error))
            await self.do(["step", "t.ok"])

    async def do_task(self, part: Program) -> None:
        """Leave it to itself: nobody waits for it."""
        self.kept = asyncio.create_task(self.do(["try", part]))

    async def do_shield(self, part: Program) -> None:
        await asyncio.shield(self.do(part))

    async def do_cancel(self, part: Program, then: Program) -> None:
        task = asyncio.create_task(self.do(part))
        try:
            await self.do(then)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _told(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [type(error).__name__, *(word for each in error.exceptions for word in _told(each))]
    return [type(error).__name__, error.code if isinstance(error, CallFailed) else str(error)]
