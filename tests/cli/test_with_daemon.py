"""Commands that change something, against a daemon in its own process."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.cli.conftest import Running, Sagad, halt, until_logged

if TYPE_CHECKING:
    from pathlib import Path

SMALL = '{"order_id": "A1", "total": 5}'
LARGE = '{"order_id": "A2", "total": 5000}'


def test_an_execution_from_start_to_end(sagad: Sagad, running: Running) -> None:
    """Start, look, signal, follow, list: what a user does with one execution."""
    begun = sagad("start", "order", "--input", LARGE, "--json").json
    execution_id = begun["execution_id"]
    assert "waits for the signal 'reviewed'" in sagad("why", execution_id[:8]).out
    shown = sagad("show", execution_id)
    assert (shown.code, "awaiting" in shown.out) == (0, True)
    signalled = sagad("signal", execution_id, "reviewed", "--data", '{"ok": true}')
    assert signalled.out == f"{execution_id} signalled reviewed\n"
    followed = sagad("events", execution_id, "--follow", "--url", running.address)
    assert followed.out.splitlines()[-1].split()[3] == "ExecutionCompleted"
    again = sagad("events", execution_id, "--follow", "--json")
    assert len(again.out.splitlines()) == len(followed.out.splitlines())
    listed = sagad("list", "--status", "completed", "--json").json
    assert [row["execution_id"] for row in listed] == [execution_id]
    assert sagad("list", "--json", "--url", running.address).json == listed
    assert (
        sagad("show", execution_id, "--json").json
        == sagad("show", execution_id, "--json", "--url", running.address).json
    )


def test_a_loop_that_is_under_way_is_shown_with_its_turns(sagad: Sagad, running: Running, folder: Path) -> None:
    """And what it waits for is one line where it is read by a program."""
    (folder / "flows" / "loop.yaml").write_text("""
workflow: loop
nodes:
  each: {forEach: [1, 2, 3], do: {nodes: {work: {task: charge, with: {amount: "{{ loop.item }}"}}}}}
""")
    running.process.send_signal(signal.SIGHUP)
    until_logged(running.process, running.log, '"(reloaded)"')
    execution_id = sagad("start", "loop", "--break-at", "work if loop.item == 2", "--json").json["execution_id"]
    shown = sagad("show", execution_id)
    assert (shown.code, "1 of 3 turns ended, 1 under way" in shown.out) == (0, True)
    assert "1 of 3 turns ended" in sagad("state", execution_id).out
    assert (
        sagad("why", execution_id).out.splitlines()[-1].endswith(f"`sagad debug --live {execution_id}` lets it go on.")
    )
    wrong = sagad("start", "loop", "--break-at", "work if lop.item == 2")
    assert (wrong.code, "there is nothing called 'lop'" in wrong.err) == (1, True)


def test_waiting_prints_the_output_and_tells_failure_by_the_exit_code(sagad: Sagad, running: Running) -> None:
    done = sagad("start", "order", "-i", SMALL, "--wait")
    assert (done.code, done.json) == (0, {"charged": 5})
    failed = sagad("start", "order", "-i", '{"order_id": "A3", "total": 13}', "--wait", "--json")
    assert (failed.code, failed.json["status"], failed.json["error"]["message"]) == (1, "failed", "declined")
    late = sagad("start", "order", "-i", LARGE, "--wait", "--timeout", "10ms")
    assert (late.code, "has not ended in time" in late.err) == (4, True)


def test_the_daemons_of_the_store_are_shown(sagad: Sagad, running: Running) -> None:
    (daemon,) = sagad("daemons", "--json").json["daemons"]
    assert (daemon["rank"], daemon["executions"]) == (0, 0)
    (same,) = sagad("daemons", "--json", "--url", running.address).json["daemons"]
    assert (same["id"], same["this"]) == (daemon["id"], True)
    assert daemon["name"] in sagad("daemons").out


def test_keys_make_commands_harmless_to_repeat(sagad: Sagad, running: Running) -> None:
    first = sagad("start", "order", "-i", LARGE, "--key", "k", "--json").json
    second = sagad("start", "order", "-i", LARGE, "--key", "k", "--json").json
    assert (first["execution_id"], first["started"], second["started"]) == (second["execution_id"], True, False)
    cancelled = sagad("cancel", first["execution_id"], "--reason", "twice")
    assert cancelled.out.endswith(" cancelled\n")
    assert sagad("cancel", first["execution_id"]).out.endswith("had already cancelled\n")
    assert "twice" in sagad("why", first["execution_id"]).out


def test_what_is_not_there_or_not_allowed(sagad: Sagad, running: Running) -> None:
    assert sagad("start", "nothing").code == 3
    assert sagad("signal", str(uuid4()), "x").code == 3
    assert sagad("show", str(uuid4())).code == 3
    refused = sagad("start", "order", "-i", "{}")
    assert (refused.code, "order_id" in refused.err) == (1, True)
    assert sagad("start", "order", "-i", "{order}").code == 2


def test_messages_reach_a_webhook_and_the_in_process_broker(sagad: Sagad, running: Running) -> None:
    hooked = sagad("publish", "order/hook", "--data", SMALL, "--id", "d1", "--json").json
    assert hooked["outcome"] == "started"
    again = sagad("publish", "order", "--via", "http", "--data", SMALL, "--id", "d1", "--json").json
    assert (again["outcome"], again["execution_id"]) == ("duplicate", hooked["execution_id"])
    queued = sagad("publish", "queue", "--data", LARGE, "--key", "k", "--header", "x=1", "--json").json
    assert queued["published"] == "memory:orders@0"
    ambiguous = sagad("publish", "order", "--data", SMALL)
    assert (ambiguous.code, "order/queue, order/hook" in ambiguous.err) == (2, True)
    assert sagad("publish", "nothing", "--data", SMALL).code == 3


def test_an_execution_can_be_carried_on_without_a_daemon(sagad: Sagad, running: Running) -> None:
    begun = sagad("start", "order", "-i", LARGE, "--json").json
    halt(running)
    resumed = sagad("resume", begun["execution_id"])
    assert (resumed.code, resumed.out) == (0, f"{begun['execution_id']} running, waits for signal\n")


def test_a_signal_stops_the_daemon_in_order(sagad: Sagad, running: Running) -> None:
    begun = sagad("start", "order", "-i", LARGE, "--json").json
    follower = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "daemon.cli", "events", begun["execution_id"], "-f", "--url", running.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    follower.stdout.readline()
    assert halt(running) == 0
    assert "stopped" in running.log.read_text().splitlines()[-1]
    _, said = follower.communicate(timeout=30)
    assert (follower.returncode, "no daemon answers" in said) == (4, True)


def test_an_interrupted_command_ends_with_130(sagad: Sagad, running: Running) -> None:
    begun = sagad("start", "order", "-i", LARGE, "--json").json
    for more in ([], ["--url", running.address]):
        with subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "daemon.cli", "events", begun["execution_id"], "-f", *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as follower:  # fmt: skip
            assert follower.stdout is not None
            follower.stdout.readline()
            follower.send_signal(signal.SIGINT)
            try:
                _, said = follower.communicate(timeout=30)
            finally:
                follower.kill()
        assert (follower.returncode, "Traceback" in said) == (130, False)


def test_a_second_daemon_says_that_the_port_is_taken(sagad: Sagad, running: Running) -> None:
    done = sagad("run")
    assert (done.code, "cannot listen on" in done.err) == (2, True)


def test_hangup_reads_the_definitions_again(sagad: Sagad, running: Running, folder: Path) -> None:
    (folder / "flows" / "second.yaml").write_text(
        "workflow: second\nnodes: {one: {transform: 1}}\noutput: '{{ one }}'\n"
    )
    running.process.send_signal(signal.SIGHUP)
    until_logged(running.process, running.log, '"(reloaded)"')
    assert sagad("start", "second", "--wait").json == 1


def test_doctor_finds_a_running_daemon(sagad: Sagad, running: Running) -> None:
    done = sagad("doctor", "--json")
    assert done.code == 0
    findings = {finding["about"]: finding for finding in done.json["findings"]}
    assert "is ready" in findings["http"]["detail"]
    assert "can be read and written" in findings["store"]["detail"]


def test_a_rebuilt_index_says_what_the_one_before_said(sagad: Sagad, running: Running) -> None:
    """Running, completed, failed and cancelled executions, and their timers, come out of the log as they went in."""
    for text in (SMALL, LARGE, '{"order_id": "A3", "total": 13}'):
        sagad("start", "order", "-i", text)
    sagad("start", "order", "-i", SMALL, "--wait")
    cancelled = sagad("start", "order", "-i", LARGE, "--json").json
    sagad("cancel", cancelled["execution_id"])
    sagad("signal", str(uuid4()), "reviewed", "--before-start")
    halt(running)
    before = sagad("list", "--json").json
    rebuilt = sagad("index", "rebuild", "--json").json
    assert rebuilt["executions"] == len(before) == 6
    assert sagad("list", "--json").json == before


TRIP = """
workflow: trip
nodes:
  book: {task: reserve, with: {order: {order_id: "7"}}, compensate: {task: charge, with: {amount: 13}}}
  end: {fail: enough}
edges: [book -> end]
---
workflow: held
nodes:
  book: {task: reserve, with: {order: {order_id: "8"}}, compensate: {task: charge, with: {amount: 13}}}
  hold: {signal: go}
edges: [book -> hold]
"""


def test_an_undo_is_shown_and_answered(sagad: Sagad, running: Running, folder: Path) -> None:
    (folder / "flows" / "trip.yaml").write_text(TRIP)
    running.process.send_signal(signal.SIGHUP)
    until_logged(running.process, running.log, '"(reloaded)"')
    begun = sagad("start", "trip", "--json").json["execution_id"]
    until_logged(running.process, running.log, f'"{begun}".*"(person_needed)"')
    for more in ([], ["--url", running.address]):
        shown = sagad("undo", begun, "--plan", *more)
        assert shown.code == 0
        assert "It has failed, and is being undone (automatic); left to undo: 1." in shown.out
        assert "Asked about book: the compensation failed: declined. Choose: retry, skip, done." in shown.out
    assert sagad("undo", begun, "--json").json["effects"][0]["status"] == "compensating"
    assert "a person decides (retry, skip, done)" in sagad("why", begun).out
    assert sagad("undo", begun, "--choose", "perhaps").code == 2
    assert sagad("undo", begun, "--plan", "--choose", "go").code == 2
    assert "nothing is asked about the plan" in sagad("undo", begun, "--choose", "skip").err
    answered = sagad("undo", begun, "--choose", "skip", "--step", "book", "--note", "it is cheap")
    assert (answered.code, "failed" in answered.out) == (0, True)
    assert "it is cheap" in sagad("undo", begun).out
    assert "Nothing is left to undo." in sagad("undo", begun).out

    held = sagad("start", "held", "--json").json["execution_id"]
    assert "waits for the signal 'go'" in sagad("why", held).out
    assert sagad("cancel", held).out == f"{held} is undone first, and cancelled then\n"
    assert sagad("cancel", held).out == f"{held} is being undone already\n"
    until_logged(running.process, running.log, f'"{held}".*"(person_needed)"')
    assert sagad("undo", held, "--choose", "done", "--step", "book").out == f"{held} cancelled\n"


def test_an_execution_is_paused_and_resumed(sagad: Sagad, running: Running) -> None:
    begun = sagad("start", "order", "-i", LARGE, "--json").json["execution_id"]
    assert sagad("pause", begun, "--reason", "lunch").out == f"{begun} paused\n"
    assert sagad("pause", begun).out == f"{begun} was paused already\n"
    assert "lunch" in sagad("why", begun).out
    assert sagad("resume", begun).out == f"{begun} running, waits for signal\n"
