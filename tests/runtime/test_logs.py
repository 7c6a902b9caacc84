"""What is logged: the same form for all, the ids of the execution, and nothing secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog

from daemon.core.trace_ids import step_span_id
from daemon.runtime.logs import bind_execution, configure
from daemon.settings import Logging
from tests.support.daemons import running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXECUTION = UUID("0c0ffee0-0000-5000-8000-000000000001")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Give a stream to log to; loggers are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logger.level for name in list(root.manager.loggerDict) if (logger := logging.getLogger(name)).level}
    root.handlers.clear()
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in list(root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(text) for text in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "log",
    [
        lambda: structlog.get_logger("ours").warning("something_is_odd", count=3),
        lambda: logging.getLogger("ours").warning("something_is_odd", extra={"count": 3}),
    ],
    ids=["structlog", "stdlib"],
)
def test_every_line_is_json_with_time_level_and_logger(stream: io.StringIO, log: Callable[[], None]) -> None:
    configure(Logging(), stream=stream)
    log()
    (line,) = lines(stream)
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.utcoffset() is not None
    assert line == {"event": "something_is_odd", "level": "warning", "logger": "ours", "count": 3}


def test_the_level_holds_for_all(stream: io.StringIO) -> None:
    configure(Logging(level="warning"), stream=stream)
    structlog.get_logger("ours").info("quiet")
    logging.getLogger("theirs").info("quiet")
    assert stream.getvalue() == ""


def test_chatty_libraries_are_held_back(stream: io.StringIO) -> None:
    configure(Logging(level="debug"), stream=stream)
    logging.getLogger("httpx").info("GET https://example.com/?key=abc")
    logging.getLogger("opentelemetry.exporter").error("away")
    logging.getLogger("aiokafka").warning("rebalance")
    assert [line["event"] for line in lines(stream)] == ["rebalance"]


def test_uvicorn_writes_through_the_same_formatter(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    configure(Logging(), stream=stream)
    logging.getLogger("uvicorn.error").info("Started on %s", "port 1", extra={"color_message": "\x1b[1mStarted"})
    (line,) = lines(stream)
    assert (line["event"], line["logger"]) == ("Started on port 1", "uvicorn.error")
    assert "color_message" not in line


def test_a_line_in_an_execution_has_its_ids(stream: io.StringIO) -> None:
    configure(Logging(), stream=stream)
    with bind_execution(EXECUTION, traceparent=f"00-{TRACE}-b7ad6b7169203331-01", address="charge", attempt=2):
        structlog.get_logger("ours").info("ours")
        logging.getLogger("theirs").info("theirs")
    structlog.get_logger("ours").info("outside")
    ours, theirs, outside = lines(stream)
    for line in (ours, theirs):
        assert line["execution_id"] == str(EXECUTION)
        assert (line["step"], line["attempt"]) == ("charge", 2)
        assert (line["trace_id"], line["span_id"]) == (TRACE, step_span_id(EXECUTION, "charge", 2))
    assert "execution_id" not in outside


async def test_tasks_inherit_the_ids_and_do_not_mix_them(stream: io.StringIO) -> None:
    configure(Logging(), stream=stream)
    both = asyncio.Barrier(2)

    async def work(execution_id: UUID) -> None:
        with bind_execution(execution_id):
            await both.wait()
            await asyncio.to_thread(structlog.get_logger("ours").info, str(execution_id))

    await asyncio.gather(work(EXECUTION), work(UUID(int=7)))
    written = lines(stream)
    assert len(written) == 2
    assert all(line["event"] == line["execution_id"] for line in written)
    assert all(line["trace_id"] == UUID(line["event"]).hex for line in written)


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_secret_is_written(stream: io.StringIO, form: Any) -> None:
    configure(Logging(format=form), stream=stream)
    hidden = "hunter2@/x"
    try:
        int("amqp://guest:hunter2@rabbit:5672/v")
    except ValueError:
        structlog.get_logger("ours").exception(
            "broken",
            password=hidden,
            headers={"Authorization": hidden, "content-type": "text/plain", "X-Api-Key": hidden},
            urls=["postgresql://sagad:hunter2@db/sagad", ("kafka://a:hunter2@b",)],
            no_token=None,
        )
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "ValueError" in text
    assert "amqp://guest:***@rabbit:5672/v" in text
    assert "text/plain" in text


def test_a_password_with_an_at_sign_is_masked_whole(stream: io.StringIO) -> None:
    configure(Logging(), stream=stream)
    structlog.get_logger("ours").info("amqp://guest:p@ss@rabbit:5672/v and http://localhost:80/a@b")
    (line,) = lines(stream)
    assert line["event"] == "amqp://guest:***@rabbit:5672/v and http://localhost:80/a@b"


def test_what_has_no_json_form_is_written_all_the_same(stream: io.StringIO) -> None:
    configure(Logging(), stream=stream)
    structlog.get_logger("ours").info("odd", what=object, lone="\ud800", at=NOON, id=EXECUTION)
    (line,) = lines(stream)
    assert line["event"] == "odd"


def test_for_people_lines_are_plain_text_without_colours_in_a_file(stream: io.StringIO) -> None:
    configure(Logging(format="console"), stream=stream)
    structlog.get_logger("ours").info("ready", port=8750)
    (line,) = stream.getvalue().splitlines()
    assert "ready" in line
    assert "port=8750" in line
    assert "\x1b" not in line


async def test_a_failed_execution_leaves_a_line(stream: io.StringIO, tmp_path: Path) -> None:
    """Workflow, step, code and message: enough to know where to look."""
    configure(Logging(), stream=stream)
    text = "workflow: w\nnodes: {deny: {fail: {message: no more, code: refused}}}\nedges: []"
    async with running(settings_for(tmp_path, text)) as daemon:
        target = await start(daemon, "w")
    (line,) = [
        found for found in map(json.loads, stream.getvalue().splitlines()) if found["event"] == "execution_failed"
    ]
    assert (line["level"], line["execution_id"], line["workflow"]) == ("warning", str(target), "w")
    assert (line["step"], line["code"], line["error"]) == ("deny", "refused", "no more")
