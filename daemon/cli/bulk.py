"""One wish for many executions: each is asked of the daemon by itself, and what became of each is told.

Comes from: `forking`, `migrating`. Goes to: `connection`, `output`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from daemon.cli import output
from daemon.cli.faults import CommandError, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.cli.output import Row

Asked = dict[str, Any]


def each_of(
    chosen: Sequence[str],
    ask: Callable[[str], Asked],
    refused: Callable[[str, str], Asked],
    show: Callable[[list[Asked]], None],
    *,
    quiet: bool,
) -> list[Asked]:
    """Ask for one after the other; `refused` makes the answer of an execution and an error.

    Raises NoAnswer when no daemon answers any more: what was done until then is shown, the rest is not asked.
    """
    done: list[Asked] = []
    with output.progress(quiet=quiet) as progress:
        for execution_id in progress.track(chosen, description="executions"):
            try:
                done.append(ask(execution_id))
            except NoAnswer as error:
                if not done:
                    raise
                left, away = len(chosen) - len(done), error
                break
            except CommandError as error:
                done.append(refused(execution_id, str(error)))
        else:
            return done
    show(done)
    raise NoAnswer(f"{left} were not asked: {away}", hint="the same command goes on from there") from None


def print_done(
    done: Sequence[Asked],
    verb: str,
    *,
    fault: str,
    columns: Sequence[str],
    row: Callable[[Asked], Row],
    same: Callable[[Asked], bool] = lambda _: False,
    as_json: bool,
) -> None:
    """Print how many have the verb, which is all of those without the `fault`, and a row of each.

    `same` tells of one for which nothing was to be done.
    """
    if as_json:
        output.print_json({"executions": done})
        return
    failed = sum(1 for each in done if each[fault])
    already = sum(1 for each in done if not each[fault] and same(each))
    told = f"{len(done) - failed - already} {verb}, {failed} not{f', {already} are there already' if already else ''}."
    output.console().print(told, markup=False)
    if done:
        output.print_table(columns, map(row, done))


def end(done: Sequence[Asked], *, fault: str) -> None:
    """End with exit code 1 when one has the `fault`."""
    if any(each[fault] for each in done):
        raise typer.Exit(1)
