"""The options of `deploy/demo`."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deploy.demonstration.stage import Services, set_up
from deploy.demonstration.story import StoryFailed, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_EXECUTIONS = 5000
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    found = argparse.ArgumentParser(
        prog="deploy/demo",
        description="Starts a daemon, sends it orders, kills it in the middle, starts it again, and checks that nothing"
        " was lost and nothing recorded was done twice. Needs no service; with your own it does the same on them.",
    )
    found.add_argument("--kafka", metavar="HOST:PORT", help="orders come through topics of its own in this Kafka")
    found.add_argument("--rabbitmq", metavar="URL", help="orders come through queues of its own in this RabbitMQ")
    found.add_argument("--postgres", metavar="DSN", help="the event log is in this database instead of SQLite")
    found.add_argument("--executions", metavar="N", type=_count, default=40, help="how many orders (default: 40)")
    found.add_argument("--keep", action="store_true", help="let the daemon run on in the end, until Ctrl-C")
    found.add_argument("--no-color", action="store_true", help="print without colours")
    return found


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_EXECUTIONS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_EXECUTIONS}")
    return int(text)


def main(arguments: Sequence[str]) -> int:
    """Give the demonstration; return 0 when everything checked out, 1 when not."""
    options = parser().parse_args(arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # what goes wrong is told by the story
    console = Console(no_color=True if options.no_color else None, highlight=False)
    services = Services(kafka=options.kafka, rabbitmq=options.rabbitmq, postgres=options.postgres)
    stage = set_up(Path.cwd(), services, options.executions)
    try:
        return 0 if asyncio.run(tell(stage, console, keep=options.keep)) else 1
    except StoryFailed as error:
        console.print(f"[bold red]The demonstration failed:[/] {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
