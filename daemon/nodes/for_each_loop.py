"""`forEach`: repeat the body for each item of a list, one after the other; the list may come page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from daemon.core.events import StepError
from daemon.core.node import Begin, Beginning, ConfigError, Fail, NodeType, Pager, Pages, Repeat, Turns
from daemon.core.parsing_retry import parse_retry, read_duration
from daemon.core.problems import Findings
from daemon.core.retry import RetryPolicy
from daemon.core.schema_parts import either, list_of, mapping, ref
from daemon.core.templates import Template
from daemon.nodes.reading import Reader
from daemon.nodes.repeating import COUNTED, loop_keys, loop_turns
from daemon.nodes.task import NODE_TYPE as TASK

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE = ("forEach", "pages")


class ForEach(Struct, frozen=True):
    """The items, or what gives their pages; and how the body is repeated."""

    items: Template | None
    pages: Pages | None
    turns: Turns


def parse(own: Mapping[str, Any]) -> ForEach:
    """Compile items and conditions."""
    reader, given = Reader(), own["forEach"]
    items, pages = None, None
    if isinstance(given, dict):
        pages = _read_pages(reader, given["pages"])
    else:
        items = reader.template(given, "forEach")
    return reader.finish(ForEach(items, pages, loop_turns(reader, own, COUNTED)))


def _read_pages(reader: Reader, given: Mapping[str, Any]) -> Pages | None:
    """Read what fetches a page; None where there is a mistake, which the reader has then."""
    findings = Findings()
    retry = parse_retry(given.get("retry"), RetryPolicy(), ("retry",), findings)
    timeout = read_duration(given["timeout"], ("timeout",), findings) if "timeout" in given else None
    if timeout is not None and not timeout:
        findings.error("the timeout is zero", ("timeout",), hint="leave it out for no limit")
    config = None
    try:
        config = TASK.parse({key: value for key, value in given.items() if key not in ("retry", "timeout")})
    except ConfigError as error:
        for problem in error.problems:
            findings.adopt(problem)
    reader.adopt(findings.errors, _PLACE)
    return None if findings.errors else Pages(config=config, retry=retry, timeout=timeout)


def begin(config: ForEach, beginning: Beginning) -> Begin:
    """Ask for a turn for each item."""
    if config.items is None:
        return Repeat(paged=True)
    items = config.items.render(beginning.scope).value
    if items is None:  # to `Repeat` it would say that conditions alone end the loop
        return Fail(StepError("the items must be a list, and are nothing", "loop"))
    return Repeat(items)


PAGES = mapping(
    "A registered handler that gives the items page by page: `{items: [...], next: ...}`. It is asked for the next page"
    " when the turns of the page before have ended, until `next` is null or left out; each page is a step of its own.",
    {
        "task": TASK.schema,
        "with": ref(
            "value",
            "The handler's input; it may read `page.number`, from 0, and `page.cursor`: the `next` of the page before,"
            " null for the first.",
        ),
        "worker": TASK.keys["worker"],
        "heartbeat": TASK.keys["heartbeat"],
        "retry": ref("retry", "When a page that could not be fetched is asked for again."),
        "timeout": ref("duration", "Limit of one attempt."),
    },
    "task",
)

NODE_TYPE = NodeType(
    name="forEach",
    summary="Repeats its body for each item of a list, one after the other; in it, `loop.item` is the item.",
    schema=either(
        "The items: an expression that gives a list, a list, or what gives them page by page.",
        ref("template", "An expression that gives a list."),
        list_of("The items.", ref("value")),
        mapping("The items come page by page.", {"pages": PAGES}, "pages"),
    ),
    keys=loop_keys(COUNTED),
    parse=parse,
    templates=lambda config: () if config.items is None else (config.items,),
    begin=begin,
    turns=lambda config: config.turns,
    pager=Pager(type=TASK, pages=lambda config: config.pages),
)
