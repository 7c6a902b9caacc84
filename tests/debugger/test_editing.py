"""What an editor can have done to an execution, over the wire: values set, steps skipped and tried again."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from daemon.core.events import BreakpointEdited
from daemon.core.values import from_json
from daemon.debugger.acting import ABILITIES, EDIT, RETRY, SKIP, WHILE_LIVE
from tests.debugger.conftest import LINES, LIVE_LINES, Going, Played, editor
from tests.debugger.test_dap import launched
from tests.debugger.test_terminal import ROOT
from tests.support import gated_handlers

if TYPE_CHECKING:
    from tests.debugger.dap_client import DapClient

INPUTS = {"items": ["a", "b"], "amount": 30}


async def run_here(client: DapClient, played: Played, inputs: dict[str, Any], *nodes: str) -> None:
    """Begin an execution of the file, and go on to the first of the nodes."""
    await client.request("initialize", supportsInvalidatedEvent=True)
    await client.request("launch", program=played.flow, inputs=inputs)
    assert (await client.event("capabilities"))["capabilities"] == ABILITIES
    await client.request("setFunctionBreakpoints", breakpoints=[{"name": node} for node in nodes])
    await client.request("configurationDone")
    await client.stopped()
    if nodes:
        assert (await client.move("continue"))[0] == "breakpoint"


async def attached(client: DapClient, going: Going, *nodes: str, filters: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """Stop the live execution at the first of the nodes; return where."""
    await client.request("initialize", supportsInvalidatedEvent=True)
    file = str(going.folder / "workflows.yaml")
    await client.request("attach", execution=str(going.target), live=True, url=going.url, program=file)
    assert (await client.event("capabilities"))["capabilities"] == ABILITIES | WHILE_LIVE
    await client.request("setFunctionBreakpoints", breakpoints=[{"name": node} for node in nodes])
    await client.request("setExceptionBreakpoints", filters=list(filters))
    await client.request("configurationDone")
    going.open_gate()
    return await client.stopped()


async def reference(client: DapClient, scope: str) -> int:
    scopes = (await client.request("scopes", frameId=1))["scopes"]
    found: int = next(each["variablesReference"] for each in scopes if each["name"] == scope)
    return found


async def shown(client: DapClient, number: int) -> dict[str, dict[str, Any]]:
    found = await client.request("variables", variablesReference=number)
    return {each["name"]: each for each in found["variables"]}


def config_of(going: Going) -> tuple[str, str]:
    return "--config", str(going.folder / "sagad.toml")


async def test_a_recorded_execution_is_only_looked_at(played: Played) -> None:
    """Its values are marked so, and whoever tries to change something is told why not and what to do."""
    async with editor() as client:
        await launched(client, played, lines=(LINES["charge"],))
        await client.move("continue")
        variables = await reference(client, "vars")
        assert (await shown(client, variables))["seen"]["presentationHint"] == {"attributes": ["readOnly"]}
        for command, arguments in (
            ("setVariable", {"variablesReference": variables, "name": "seen", "value": "9"}),
            ("setExpression", {"expression": "vars.seen", "value": "9"}),
            ("restartFrame", {"frameId": 1}),
            (SKIP, {"output": 1}),
            (RETRY, {}),
            (EDIT, {"variables": {"seen": 9}}),
        ):
            refused = await client.answer(command, **arguments)
            assert (refused["success"], "it is only looked at" in refused["message"]) == (False, True), command
        assert not [each for each in client.events if each["event"] == "capabilities"]
        assert await client.scope("vars") == {"seen": "2"}
        await client.request("disconnect")


async def test_variables_and_the_input_are_set_of_an_execution_that_is_carried_out_here(played: Played) -> None:
    """The handler is sent what was set, and what follows sees the variable; the frame stays where it is."""
    async with editor("--config", played.config) as client:
        await run_here(client, played, INPUTS, "pack")
        variables = await reference(client, "vars")
        set_to = await client.request("setVariable", variablesReference=variables, name="seen", value="40 + 1")
        assert (set_to["value"], set_to["type"]) == ("41", "a number")
        assert (await client.event("invalidated"))["areas"] == ["stacks", "variables"]
        assert (await shown(client, variables))["seen"]["value"] == "41"
        assert (await client.request("stackTrace"))["stackFrames"][0]["name"] == "each[0].pack"
        step = await reference(client, "step")
        whole = (await shown(client, step))["input"]
        inside = whole["variablesReference"]
        await client.request("setVariable", variablesReference=inside, name="item", value='"z"')
        assert (await shown(client, inside))["item"]["value"] == '"z"'
        assert (await client.scope("step"))["input"] == '{"item": "z"}'
        await client.request("next")
        await client.event("stopped")
        assert (await client.scope("step"))["answer"] == '"Z"'
        assert (await client.move("next"))[2] == "each[0].note"
        assert (await client.request("evaluate", expression="pack", frameId=1))["result"] == '"Z"'
        assert (await client.request("evaluate", expression="vars.seen", frameId=1))["result"] == "42"
        await client.request("disconnect")


async def test_an_expression_is_assigned_to(played: Played) -> None:
    """Only what stands in a place of its own can be; a mistyped variable is refused, and the session goes on."""
    async with editor("--config", played.config) as client:
        await run_here(client, played, INPUTS, "charge")
        assert (await client.request("setExpression", expression="vars.seen", value="7", frameId=1))["value"] == "7"
        assert (await client.request("setExpression", expression="step.input['amount']", value="8"))["value"] == "8"
        for expression, value, why in (
            ("vars.seen + 1", "7", "is computed"),
            ("vars.sen", "7", "did you mean 'seen'"),
            ("input.amount", "7", "cannot be set"),
            ("step.input.none", "7", "there is no 'none'"),
            ("vars.seen", "nothing + 1", "'nothing' is not defined"),
        ):
            refused = await client.answer("setExpression", expression=expression, value=value)
            assert (refused["success"], why in refused["message"]) == (False, True), refused
        assert (await client.move("next"))[2] == "charge"
        await client.move("next")
        assert (await client.request("evaluate", expression="[charge, vars.seen]"))["result"] == "[8.0, 7]"
        ended = await client.answer("setExpression", expression="vars.seen", value="1")
        assert "the execution has ended: completed" in ended["message"]
        await client.request("disconnect")


async def test_a_step_is_skipped_tried_again_and_given_a_result_here(played: Played) -> None:
    """A failure that is not recorded yet is an exception to the editor; the way on is told by requests of ours."""
    failing = {"items": ["a"], "amount": 13}
    async with editor("--config", played.config) as client:
        await run_here(client, played, failing, "pack")
        await client.request("setExceptionBreakpoints", filters=["failed"])
        await client.request(SKIP, output="by hand")
        assert (await client.stopped())[2] == "each[0].note"
        assert (await client.request("evaluate", expression="pack"))["result"] == '"by hand"'
        assert (await client.move("next"))[2] == "charge"
        refused = await client.answer("restartFrame", frameId=1)
        assert "no step has answered" in refused["message"]
        assert (await client.move("continue"))[0] == "exception"
        told = await client.request("exceptionInfo", threadId=1)
        assert (told["description"], told["details"]["typeName"]) == ("declined", "ValueError")
        assert "only the step itself" in (await client.answer("restartFrame", frameId=2))["message"]
        await client.request("restartFrame", frameId=1)
        assert (await client.stopped())[0] == "exception"
        await client.request(EDIT, input={"amount": 5})
        await client.request(RETRY)
        assert (await client.stopped())[0] == "step"
        assert (await client.scope("step"))["answer"] == "5.0"
        await client.request(EDIT, output=6)
        assert (await client.stopped())[2] == "order"
        assert (await client.request("evaluate", expression="charge"))["result"] == "6"
        await client.request("disconnect")


async def test_the_past_cannot_be_changed(played: Played) -> None:
    async with editor("--config", played.config) as client:
        await run_here(client, played, INPUTS, "charge")
        await client.move("stepBack")
        refused = await client.answer("setExpression", expression="vars.seen", value="7")
        assert "this is the past" in refused["message"]
        assert "this is the past" in (await client.answer(SKIP, output=1))["message"]
        assert (await client.move("next"))[2] == "charge"
        assert "names `variables`" in (await client.answer(EDIT))["message"]
        await client.request(SKIP, output=1)
        await client.stopped()
        await client.request("disconnect")


async def test_a_live_execution_is_changed_by_events(going: Going) -> None:
    """What the step is to be sent is shown before it begins, and is set; so are variables."""
    async with editor(*config_of(going)) as client:
        assert await attached(client, going, "x", "c") == ("breakpoint", LIVE_LINES["x"], "each[0].x")
        variables, step = await reference(client, "vars"), await reference(client, "step")
        assert "presentationHint" not in (await shown(client, variables))["rate"]
        await client.request("setVariable", variablesReference=variables, name="rate", value="5")
        sent = (await shown(client, step))["input"]
        assert sent["value"] == '{"value": 1}'
        inside = sent["variablesReference"]
        await client.request("setVariable", variablesReference=inside, name="value", value="70")
        assert (await client.scope("step"))["input"] == '{"value": 70}'
        assert (await client.move("reverseContinue"))[2] == "live"
        assert "this is the past" in (await client.answer(SKIP, output=1))["message"]
        assert (await client.move("continue"))[2] == "each[0].x"
        assert (await client.move("continue"))[2] == "each[1].x"
        assert (await client.scope("step"))["input"] == '{"value": 10}'
        await client.request(SKIP, output=9)
        assert (await client.stopped())[2] == "c"
        refused = await client.answer(SKIP, output=1, port="far")
        assert "no port 'far'" in refused["message"]
        assert "nothing to be tried again" in (await client.answer(RETRY))["message"]
        await client.request("disconnect")
    assert await going.output() == [[70, 9], 1]
    events = [each.event for each in await going.daemon.history.events(going.target)]
    edited = [each for each in events if isinstance(each, BreakpointEdited)]
    assert [from_json(each.variables["rate"]) for each in edited if each.variables] == [5]
    assert [from_json(each.input.value) for each in edited if each.input is not None] == [{"value": 70}]


async def test_a_live_step_that_has_failed_is_edited_and_tried_again(going: Going) -> None:
    gated_handlers.failures[going.name] = 2
    async with editor(*config_of(going)) as client:
        assert await attached(client, going, filters=("failed",)) == ("exception", LIVE_LINES["c"], "c")
        assert (await client.request("exceptionInfo"))["description"] == "not yet"
        await client.request("restartFrame", frameId=1)
        assert (await client.stopped())[0] == "exception"
        await client.request(EDIT, output="by hand")
        assert (await client.stopped())[2] == "live"
        await client.request("disconnect")
    assert await going.output() == [[1, 2], "by hand"]


async def test_breakpoints_count_their_hits_and_say_something(played: Played) -> None:
    """A log point does not stop; a hit is the same moment in both directions."""
    async with editor() as client:
        await launched(client, played)
        source = {"path": played.flow}
        points = [
            {"line": LINES["pack"], "hitCondition": "2"},
            {"line": LINES["note"], "logMessage": "packed {loop.item ~ '!'} as {{ pack }}, {vars.sen}"},
            {"line": LINES["charge"], "hitCondition": "often"},
            {"line": LINES["charge"], "logMessage": "{1 +}"},
        ]
        answers = (await client.request("setBreakpoints", source=source, breakpoints=points))["breakpoints"]
        assert [each["verified"] for each in answers] == [True, True, False, False]
        assert "counts no hits" in answers[2]["message"]
        for item, where in (("a", "each[1].pack"), ("b", "order")):
            await client.request("continue")
            said = (await client.event("output"))["output"]
            assert said.startswith(f"packed {item}! as {item.upper()}, {{vars.sen: 'vars' has no 'sen'")
            assert (await client.stopped())[2] == where
        assert (await client.move("reverseContinue"))[2] == "each[1].pack"
        assert (await client.move("reverseContinue"))[2] == "order"
        await client.request("disconnect")


async def test_failures_stop_under_conditions(played: Played) -> None:
    async with editor() as client:
        await launched(client, played, execution=played.failed)
        options = [{"filterId": "failed", "condition": "input.amount > 20"}, {"filterId": "sometimes"}]
        answer = await client.request("setExceptionBreakpoints", filters=[], filterOptions=options)
        assert [each["verified"] for each in answer["breakpoints"]] == [True, False]
        assert (await client.move("continue"))[0] == "step"
        await client.request("setExceptionBreakpoints", filters=["failed"])
        assert (await client.move("reverseContinue"))[:2] == ("exception", LINES["charge"])
        await client.request("disconnect")


async def test_a_live_execution_refuses_what_it_cannot_stop_at(going: Going) -> None:
    """Log points it has: they are told of what was decided when it stands, or has ended."""
    async with editor(*config_of(going)) as client:
        await attached(client, going, "c")
        answer = await client.request("setExceptionBreakpoints", filters=["attempt"])
        assert [each["verified"] for each in answer["breakpoints"]] == [False]
        wanted = [{"name": "x", "hitCondition": "2"}, {"name": "c", "logMessage": "c after {each}"}]
        answer = await client.request("setFunctionBreakpoints", breakpoints=wanted)
        assert [each["verified"] for each in answer["breakpoints"]] == [False, True]
        assert "write a condition" in answer["breakpoints"][0]["message"]
        await client.request("continue")
        while "c after" not in (said := (await client.event("output"))["output"]):
            pass
        assert said == "c after [1, 2]\n"
        await client.request("disconnect")
    assert await going.output() == [[1, 2], 1]


async def test_an_editor_goes_to_another_moment_of_a_line(played: Played) -> None:
    """Nothing is carried out, and nothing left out: it only looks elsewhere."""
    async with editor() as client:
        await launched(client, played)
        found = await client.request("gotoTargets", source={"path": played.flow}, line=LINES["pack"])
        targets = {each["label"].partition(": ")[2]: each["id"] for each in found["targets"]}
        assert set(targets) == {"each[0].pack begins", "each[1].pack begins"}
        await client.request("goto", threadId=1, targetId=targets["each[1].pack begins"])
        assert await client.stopped() == ("goto", LINES["pack"], "each[1].pack")
        nowhere = await client.request("gotoTargets", source={"path": played.flow}, line=1)
        assert nowhere["targets"] == []
        assert "no such place" in (await client.answer("goto", threadId=1, targetId=99))["message"]
        await client.request("disconnect")


def test_the_commands_of_the_extension_are_registered_and_send_what_the_adapter_takes() -> None:
    folder = ROOT / "deploy" / "vscode"
    contributes = json.loads((folder / "package.json").read_text())["contributes"]
    commands = {each["command"] for each in contributes["commands"]}
    program = (folder / "actions.js").read_text()
    sends = dict(re.findall(r"'(sagad\.\w+)': \{\s+request: '([\w/]+)'", program))
    assert set(sends) == commands
    assert set(sends.values()) == {SKIP, RETRY, EDIT}
    assert {each["command"] for menu in contributes["menus"].values() for each in menu} == commands
    assert "...actions.register(vscode)" in (folder / "extension.js").read_text()
