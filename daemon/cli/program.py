"""The table of commands. A command's module is imported when the command is called, so that help is quick.

Comes from: the shell. Goes to: one module of this package for each group of commands.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from daemon.cli.faults import exit_code_of, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("serving:run", "Run the daemon."),
    "worker": ("working:worker", "Run handlers for daemons, by way of Kafka or RabbitMQ."),
    "validate": ("checking:validate", "Check definitions; print every problem."),
    "export": ("exporting:export", "Write a workflow that is in Python as YAML."),
    "start": ("changing:start", "Start an execution of a workflow."),
    "publish": ("publishing:publish", "Send a message to a trigger."),
    "list": ("reading:list_executions", "List executions, newest first."),
    "show": ("reading:show", "Show an execution with its steps."),
    "events": ("reading:events", "Show the events of an execution."),
    "stream": ("streaming:stream", "Print the chunks that a step gives out while it is at work."),
    "state": ("reading:state", "Show the state of an execution, now or in the past."),
    "why": ("reading:why", "Say what an execution waits for, or how it ended."),
    "diff": ("comparing:diff", "Show what differs between two versions of an execution, or two executions."),
    "as-of": ("asking:as_of", "List the executions that matched at a time, as they were then."),
    "snapshot": ("snapshots:snapshot", "Give versions names; list, check, compare, move and clear stored states."),
    "undo": ("undoing:undo", "Show what an execution has done and what would undo it; answer what the undo asks."),
    "fork": ("branching:fork", "Begin an execution that goes on from the past of another."),
    "rewind": ("branching:rewind", "Let an execution go on from its own past."),
    "migrate-executions": ("migrating:migrate_executions", "Move executions under way to another definition."),
    "lineage": ("branching:lineage", "Show what an execution was forked from, and its forks."),
    "what-if": ("gate:what_if", "Decide an execution again under another definition, and show where the two part."),
    "check": ("gate:check", "Check new definitions against the executions that there are."),
    "debug": ("debugging:debug", "Move in an execution, forwards and backwards, and look at it; also for editors."),
    "replay": (
        "replaying:replay",
        "Show an execution as it went; or live a part of the log again under other definitions.",
    ),
    "daemons": ("reading:daemons", "Show the daemons that work on the store."),
    "versions": ("versions:versions", "Show which definitions of a workflow still have open executions."),
    "limits": ("limiting:limits", "Show the limits that executions share, who holds them and who waits."),
    "signal": ("changing:signal", "Give an execution a signal."),
    "update": ("changing:update", "Give an execution an update, and print its result."),
    "query": ("changing:query", "Ask an execution, and print the answer."),
    "cancel": ("changing:cancel", "End an execution without a result; what it has done is undone first."),
    "approvals": ("deciding:approvals", "List what people are asked."),
    "approve": ("deciding:approve", "Approve what an execution asks."),
    "reject": ("deciding:reject", "Reject what an execution asks."),
    "delegate": ("deciding:delegate", "Let another decide what you are asked."),
    "pause": ("pausing:pause", "Begin no more handlers for an execution, or for many, until it is resumed."),
    "resume": ("pausing:resume", "End a pause, and carry out what is owed; or give a paused step its input."),
    "cache": ("caching:cache", "Show or clear the results that are kept for other steps."),
    "forget": ("forgetting:forget", "Make all values of a subject unreadable, for ever."),
    "subjects": ("forgetting:subjects", "List the subjects whose data executions hold, and those forgotten."),
    "dead-letters": ("dead_letters:dead_letters", "List messages that could not be processed, and give them in again."),
    "archive": ("archiving:archive", "Write executions to files, and read them from there; restore what was deleted."),
    "retention": ("retaining:retention", "Show and delete what was kept long enough, by the rules of the settings."),
    "pin": ("pinning:pin", "Keep an execution, whatever the rules of retention and the quotas say."),
    "unpin": ("pinning:unpin", "Let the rules of retention and the quotas count for an execution again."),
    "verify": ("verifying:verify", "Verify that executions are what was once written."),
    "storage": ("storing:storage", "Show how much payloads take, by workflow, and their quotas."),
    "index": ("upkeep:index", "Work on the tables that are derived from the log."),
    "migrate": ("upkeep:migrate", "Bring the store's schema up to date."),
    "doctor": ("doctor:doctor", "Check settings, store, brokers, definitions; say how to mend each."),
    "schema": ("checking:schema", "Print the JSON Schema of definitions, for editors."),
}
"""Name -> `module:function` in this package, and one sentence."""


class Commands(TyperGroup):
    """Finds commands in the table, and turns known errors into a message and an exit code."""

    listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  the base's signature
        """Return all names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  the base's signature
        """Import a command; for the list of all, its name and sentence do."""
        if cmd_name not in COMMANDS:
            return None
        place, summary = COMMANDS[cmd_name]
        if self.listing:
            return TyperCommand(cmd_name, help=summary)
        module, _, name = place.partition(":")
        return _command(cmd_name, summary, getattr(import_module(f"daemon.cli.{module}"), name))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List commands without importing them."""
        self.listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self.listing = False

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            code = exit_code_of(error)
            if code is None:
                raise
            report(error)
            raise typer.Exit(code) from None


def _command(name: str, summary: str, found: Callable[..., Any] | typer.Typer) -> Any:
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name, help=found.__doc__ or summary)(found)
    return typer.main.get_command(alone)


app = typer.Typer(
    cls=Commands,
    name="sagad",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed or no, 2 misconfigured, 3 not found, 4 unavailable, 130 interrupted.",
)


def _version(asked: bool) -> None:  # noqa: FBT001  typer calls it so
    if asked:
        typer.echo(f"sagad {version('sagad')}")
        raise typer.Exit


@app.callback()
def _sagad(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """sagad, the saga daemon: durable, replayable workflows from Kafka, RabbitMQ, webhooks and schedules."""


def main() -> None:
    """Run the command line; ends the process."""
    app(prog_name="sagad")
