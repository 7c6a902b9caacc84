"""Handlers with `cpu=True`: real processes, which are used again, killed, and replaced when they die."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from daemon.core.commands import CompleteStep, FailStep, ReportProgress
from daemon.core.values import from_json
from daemon.runtime.handler_registry import HandlerRegistry, load_handlers
from tests.support import cpu_handlers
from tests.support.step_bench import bench, execution


@pytest.fixture(scope="module")
def handlers() -> HandlerRegistry:
    return load_handlers([str(cpu_handlers.__file__)])


async def test_a_handler_runs_in_another_process_which_is_used_again(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("cpu.total", {"numbers": [1, 2, 3]}, execution_id=execution(1), timeout_s=1)
        first = await steps.output()
        assert first["process"] != os.getpid()
        assert (first["total"], first["key"]) == (6, f"{execution(1)}/work")
        assert isinstance(progress := steps.reported[0][1], ReportProgress)
        assert from_json(progress.progress) == {"numbers": 3}
        steps.run("cpu.total", {"numbers": [4]}, execution_id=execution(2))
        *_, last = await steps.commands(4)
        assert isinstance(last, CompleteStep)
        assert from_json(last.output)["process"] == first["process"]
    assert not psutil.pid_exists(first["process"])


async def test_failures_cross_the_border_as_they_are(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("cpu.decline", {}, address="decline")
        steps.run("cpu.divide", {"by": 0}, address="divide")
        steps.run("cpu.divide", {"by": "x"}, address="invalid")
        steps.run("cpu.leave", {}, address="leave")
        failed = {each.address: each for each in await steps.commands(4) if isinstance(each, FailStep)}
        declined, divided = failed["decline"], failed["divide"]
        assert (declined.error.code, declined.retryable) == ("declined", False)
        assert from_json(declined.error.details) == {"needed": 3}
        assert (divided.error.type, divided.error.code, divided.retryable) == ("ZeroDivisionError", "error", True)
        assert "return 1 / by" in from_json(divided.error.details)["traceback"]
        assert failed["invalid"].error.code == "invalid_input"
        assert failed["leave"].error.type == "SystemExit"


async def test_a_process_that_dies_fails_its_step_and_is_replaced(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("cpu.die", {})
        died = await steps.failure()
        assert (died.error.code, died.error.message) == ("process_died", "the handler's process ended (signal 9)")
        assert died.retryable
        steps.run("cpu.total", {"numbers": []}, address="next")
        assert isinstance((await steps.commands(3))[-1], CompleteStep)


@pytest.mark.parametrize("ended_by", ["timeout", "cancel", "stop"])
async def test_a_handler_that_is_given_up_is_killed(handlers: HandlerRegistry, tmp_path: Path, ended_by: str) -> None:
    sign = tmp_path / "sign"
    os.mkfifo(sign)
    async with bench(handlers=handlers) as steps:
        steps.run("cpu.hang", {"sign": str(sign)}, execution_id=execution(1), timeout_s=1)
        process = int(await asyncio.to_thread(sign.read_text))
        match ended_by:
            case "timeout":
                await steps.clock.advance(1)
                assert (await steps.failure()).error.code == "timeout"
            case "cancel":
                steps.steps.cancel(execution(1))
            case _:
                await steps.steps.stop(0)
        await asyncio.to_thread(_wait_until_gone, process)


async def test_a_module_that_cannot_be_imported_there_fails_the_step(
    handlers: HandlerRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "vanishing.py"
    module.write_text("from daemon.handlers import handler\n@handler('gone', cpu=True)\ndef gone() -> None: ...\n")
    loaded = load_handlers([str(module)])
    module.unlink()
    async with bench(handlers=loaded) as steps:
        steps.run("gone", {})
        failed = await steps.failure()
        assert "vanishing.py" in failed.error.message
        module.write_text("from daemon.handlers import handler\n@handler('gone', cpu=True)\ndef gone() -> None: ...\n")
        steps.run("gone", {}, attempt=2)
        assert isinstance((await steps.commands(2))[-1], CompleteStep)


async def test_a_process_that_cannot_be_started_fails_the_step(
    handlers: HandlerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(handlers=handlers) as steps:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", "/nowhere/python")
            steps.run("cpu.total", {"numbers": []})
            failed = await steps.failure()
            assert (failed.error.code, failed.retryable) == ("process_not_started", True)
        steps.run("cpu.total", {"numbers": []}, attempt=2)
        assert isinstance((await steps.commands(3))[-1], CompleteStep)


async def test_a_process_that_died_idle_is_replaced(handlers: HandlerRegistry) -> None:
    async with bench(handlers=handlers) as steps:
        steps.run("cpu.total", {"numbers": []})
        process = (await steps.output())["process"]
        os.kill(process, signal.SIGKILL)
        await asyncio.to_thread(_wait_until_gone, process)
        steps.run("cpu.total", {"numbers": []}, attempt=2)
        *_, last = await steps.commands(4)
        assert isinstance(last, CompleteStep)
        assert from_json(last.output)["process"] != process


async def test_an_import_that_kills_the_process_fails_the_step(tmp_path: Path) -> None:
    loaded = load_elsewhere(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    async with bench(handlers=loaded) as steps:
        steps.run("work", {})
        assert (await steps.failure()).error.code == "process_died"


async def test_an_import_may_take_its_time_and_can_be_cancelled(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    os.mkfifo(sign)
    loaded = load_elsewhere(tmp_path, f"open({str(sign)!r}, 'w').write(str(os.getpid())); signal.pause()")
    async with bench(handlers=loaded) as steps:
        steps.run("work", {}, execution_id=execution(1), timeout_s=1)
        process = int(await asyncio.to_thread(sign.read_text))
        await steps.clock.advance(10)
        assert not steps.reported
        steps.steps.cancel(execution(1))
        await asyncio.to_thread(_wait_until_gone, process)


def load_elsewhere(folder: Path, statement: str) -> HandlerRegistry:
    """Load a handler whose module does this when it is imported in another process."""
    module = folder / "elsewhere.py"
    module.write_text(
        "import os, signal\n"
        "from daemon.handlers import handler\n"
        f"if os.getpid() != {os.getpid()}:\n    {statement}\n"
        "@handler('work', cpu=True)\ndef work() -> None: ...\n"
    )
    return load_handlers([str(module)])


def _wait_until_gone(process: int) -> None:
    try:
        psutil.Process(process).wait()
    except psutil.NoSuchProcess:
        return
