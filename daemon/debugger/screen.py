"""The debugger on a whole terminal: the graph, the events, the state, and a line for expressions and commands.

It is the prompt with panes: each key is one of its commands, and what it says stands above the line.

Comes from: daemon/cli/debugging. Goes to: `prompt`, `outline`.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Footer, Header, Input, OptionList, RichLog, Static, Tree
from textual.widgets.option_list import Option

from daemon.core.address import node_of
from daemon.core.errors import SagadError
from daemon.core.evaluation import EvaluationError
from daemon.debugger.breakpoints import Breakpoint
from daemon.debugger.live_prompt import LivePrompt
from daemon.debugger.looking import said, seen
from daemon.debugger.outline import outline, statuses
from daemon.debugger.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from textual.app import ComposeResult
    from textual.widgets.tree import TreeNode

    from daemon.core.events import Event
    from daemon.debugger.debuggee import Debuggee

AROUND = 200
"""Events that are listed before and after the moment."""
SIGNS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "running": ("▶", "yellow"),
    "skipped": ("–", "dim"),
    "abandoned": ("–", "dim"),
}
"""By status; what is not here waits for something."""
WAITS, UNREACHED = ("…", "cyan"), ("·", "dim")
TOLD_FIRST = ("status", "attempt", "error", "answer", "output", "input")
NARROWEST = 20
"""Columns that the state is written for at least."""
SHOWN = ("loop", "parallel", "vars", "steps", "input", "trigger")


class Pane(VerticalScroll):
    """Has what is in it written anew when there is another width."""

    def __init__(self, write: Callable[[], None], *, id: str) -> None:  # noqa: A002  Textual's name
        super().__init__(id=id)
        self._write = write

    def on_resize(self) -> None:
        """Do so."""
        self._write()


class Screen(App[None]):
    """One debugger."""

    TITLE = "sagad debug"
    ENABLE_COMMAND_PALETTE = False
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012  as the base class has it
    CSS = """
    #graph { width: 30%; min-width: 26; max-width: 48; border: round $primary; }
    #events { height: 45%; border: round $primary; }
    #events > .option-list--option { text-wrap: nowrap; text-overflow: ellipsis; }
    #state { border: round $primary; }
    #told { height: 7; border: round $primary; }
    .-short #events { height: 40%; }
    .-short #told { height: 5; }
    .-short #line { border: none; height: 1; padding: 0 1; }
    """
    BINDINGS: ClassVar = [
        ("n", "command('next')", "Next"),
        ("s", "command('step')", "Into"),
        ("o", "command('out')", "Out"),
        ("b", "command('back')", "Back"),
        ("c", "command('continue')", "Continue"),
        ("r", "command('reverse')", "Reverse"),
        ("t", "break_here", "Break"),
        ("e", "errors", "Errors"),
        ("slash", "ask", "Ask"),
        ("q", "quit", "Quit"),
        Binding("escape", "leave", "Leave", show=False),
    ]

    def __init__(self, debuggee: Debuggee, prompt: type[Prompt] = Prompt) -> None:
        super().__init__()
        self._debuggee = debuggee
        self._said = io.StringIO()
        console = Console(file=self._said, width=200, no_color=True)
        self._prompt = prompt(debuggee, _nothing, console)
        self._leaves: dict[str, TreeNode[str]] = {}

    def compose(self) -> ComposeResult:
        """Lay the panes out."""
        yield Header()
        with Horizontal():
            graph: Tree[str] = Tree("", id="graph")
            graph.border_title = "Graph"
            yield graph
            with Vertical():
                events = OptionList(id="events")
                events.border_title = "Events"
                yield events
                with Pane(self._show_state, id="state") as state:
                    state.border_title = "State"
                    yield Static(id="seen")
        told = RichLog(id="told", wrap=True)
        told.border_title = "Said"
        yield told
        yield Input(placeholder="an expression, or :command (:help lists them); esc leaves", id="line")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Show the moment that the session is at."""
        self._grow()
        self._show()
        self.query_one("#graph").focus()

    # What keys and lines do.

    def action_command(self, command: str) -> None:
        """Carry out a command of the prompt."""
        self.run_worker(self._do(command), group="command", exclusive=False)

    def action_break_here(self) -> None:
        """Set a breakpoint on the selected node, or take it away."""
        node = self.query_one("#graph", Tree).cursor_node
        if node is not None and node.data:
            self.run_worker(self._switch(Breakpoint(node=node.data)), group="command")

    def action_errors(self) -> None:
        """Have errors stop it, or not."""
        self.run_worker(self._switch(Breakpoint(errors="failed")), group="command")

    def action_ask(self) -> None:
        """Go to the line for expressions."""
        self.query_one("#line").focus()

    def action_leave(self) -> None:
        """Come back from a move that waits, or from the line."""
        self._prompt.interrupt()
        self.query_one("#graph").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Evaluate an expression, or carry out a command."""
        text = event.value.strip()
        event.input.clear()
        if text.startswith(":"):
            self.action_command(text[1:])
        elif text:
            self.action_command(f"eval {text}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go to the moment of an event, or the next after it."""
        place = int(event.option.id or 0)
        session = self._debuggee.session
        later = (number for number, moment in enumerate(session.moments) if moment.number >= place)
        session.position = next(later, len(session.moments) - 1)
        self._show()

    async def _do(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        if name in ("quit", "q"):
            self.exit()
            return
        self.sub_title = "…"
        try:
            await self._prompt.do(name, rest.strip())
        except SagadError as error:
            self._said.write(str(error))
        self._tell()
        self._show()
        if self._prompt.over:
            self.exit()

    async def _switch(self, breakpoint_: Breakpoint) -> None:
        points = self._debuggee.session.breakpoints
        others = tuple(each for each in points if each != breakpoint_)
        try:
            await self._debuggee.break_at(others if len(others) < len(points) else (*points, breakpoint_))
        except SagadError as error:
            self._said.write(str(error))
            self._tell()
        self._show()

    # What is shown.

    def _tell(self) -> None:
        text = self._said.getvalue().rstrip()
        self._said.seek(0)
        self._said.truncate()
        if text:
            self.query_one("#told", RichLog).write(Text(text), expand=True)

    def _grow(self) -> None:
        """Make the tree of the graph."""
        graph = self.query_one("#graph", Tree)
        plan = self._debuggee.session.here.plan
        graph.root.set_label(plan.definition.workflow)
        graph.root.expand()
        around = [graph.root]
        for row in outline(plan):
            del around[row.depth + 1 :]
            has_body = plan.nodes[row.node].body is not None
            parent = around[row.depth]
            node = parent.add(row.node, row.node, expand=True) if has_body else parent.add_leaf(row.node, row.node)
            self._leaves[row.node] = node
            around.append(node)

    def _show(self) -> None:
        session = self._debuggee.session
        moment = session.here
        self.sub_title = f"{session.position + 1}/{len(session.moments)} {said(moment)}"
        reached, stops = statuses(moment), {each.node for each in session.breakpoints if not each.condition}
        for name, node in self._leaves.items():
            kind = moment.plan.nodes[name].type.name if name in moment.plan.nodes else ""
            here = name == node_of(moment.address)
            node.set_label(_label(name, kind, reached.get(name), stops=name in stops, here=here))
        self._list_events()
        self._show_state()
        errors = any(each.errors for each in session.breakpoints)
        self.query_one("#graph").border_subtitle = "stops at errors" if errors else ""

    def _show_state(self) -> None:
        width = max(self.query_one("#state").scrollable_content_region.width, NARROWEST)
        self.query_one("#seen", Static).update(Text(_seen(self._debuggee, width)))

    def _list_events(self) -> None:
        session, listed = self._debuggee.session, self.query_one("#events", OptionList)
        place = session.here.number
        start = max(place - AROUND, 0)
        listed.clear_options()
        listed.add_options(
            Option(_event(version, event, now=at == place), id=str(at))
            for at, (version, event) in enumerate(session.events[start : place + AROUND], start)
        )
        listed.highlighted = place - start


def screen(debuggee: Debuggee) -> Screen:
    """Return the screen of an execution, with what can be done to it."""
    return Screen(debuggee, LivePrompt if debuggee.live else Prompt)


async def _nothing() -> str | None:
    await asyncio.Event().wait()
    return None


def _label(name: str, kind: str, status: str | None, *, stops: bool, here: bool) -> Text:
    sign, style = UNREACHED if status is None else SIGNS.get(status, WAITS)
    return Text.assemble(
        ("● " if stops else "  ", "red"), (f"{sign} ", style), (name, "reverse" if here else ""), (f" {kind}", "dim")
    )


def _event(version: int, event: Event, *, now: bool) -> Text:
    name = event.NAME
    failed = getattr(event, "error", None) is not None
    address = getattr(event, "address", "")
    return Text.assemble(
        ("▶ " if now else "  ", "yellow"),
        (f"{version:>4} {event.at:%H:%M:%S} ", "dim"),
        (name, "red" if failed else "green" if name.endswith(("Succeeded", "Completed")) else ""),
        f" {address}",
    )


def _seen(debuggee: Debuggee, width: int) -> str:
    """Return the step, and what templates see, in lines of this width where that can be."""
    moment = debuggee.session.here
    shown: dict[str, Any] = {"step": dict(sorted(debuggee.step().items(), key=_first))}
    try:
        known = seen(moment, debuggee.session.outputs())
    except EvaluationError as error:
        return "\n".join([*_lines("step", shown["step"], width), str(error)])
    shown |= {root: known[root] for root in SHOWN if root in known}
    return "\n".join(line for root, value in shown.items() if value for line in _lines(root, value, width))


def _first(item: tuple[str, Any]) -> int:
    """Return the place of what is told of a step: what it is sent and gives, then the rest."""
    return TOLD_FIRST.index(item[0]) if item[0] in TOLD_FIRST else len(TOLD_FIRST)


def _lines(name: str, value: Any, width: int) -> Iterator[str]:
    """Give a value in one line if it fits, else what is in it below its name."""
    whole = json.dumps(value, ensure_ascii=False, default=str)
    if not isinstance(value, dict | list) or not value or len(name) + 2 + len(whole) <= width:
        yield f"{name}: {whole}"
        return
    yield f"{name}:"
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inside:
        for line in _lines(str(key), each, width - 2):
            yield f"  {line}"
