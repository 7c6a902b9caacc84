"""Forks, rewinds and the deploy gate on the command line."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import until_logged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Running, Sagad


@pytest.fixture
def order(sagad: Sagad, running: Running) -> str:
    done = sagad("start", "order", "-i", '{"order_id": "7", "total": 10}', "--wait", "--json")
    assert running.process.poll() is None
    return str(done.json["execution_id"])


def test_a_fork_and_a_rewind(sagad: Sagad, running: Running, order: str) -> None:
    shown = sagad("fork", order, "--at", "before:charge", "--dry-run").out
    assert "What was decided next is decided again: CompleteStep reserve." in shown
    done = sagad("fork", order, "--at", "before:charge", "--input", '{"order_id": "7", "total": 20}', "--reason", "why")
    assert "forked from" in done.out
    fork = done.out.split()[0]
    assert sagad("show", fork, "--json").json["input"]["total"] == 20
    assert f"Forked from {order} at version 2." in sagad("lineage", fork).out
    assert fork in sagad("lineage", order).out
    assert (
        "Was done since, and stays as it is: charge" in sagad("rewind", order, "--to", "after:reserve", "--dry-run").out
    )
    for place in ("2", "@2", "now"):
        seen = sagad("fork", order, "--at", place, "--dry-run")
        assert (seen.code, "the execution was not under way" in seen.err) == (
            (1, True) if place == "now" else (0, False)
        )
    assert sagad("fork", order, "--at", "nonsense", "--dry-run").code == 1
    assert "goes on from version" in sagad("rewind", order, "--to", "before:charge", "--key", "k").out
    assert sagad("lineage", order, "--json").json["source"] is None
    wrong = ("fork", order, "--at", "after:reserve", "--step", 'reserve="r"', "--set", "x=1")
    assert [(done.code, "no variable 'x'" in done.err) for done in (sagad(*wrong), sagad(*wrong, "--dry-run"))] == [
        (1, True),
        (1, True),
    ]
    assert running.process.poll() is None


def test_executions_under_way_are_migrated(sagad: Sagad, running: Running, folder: Path) -> None:
    """Those that are open and match; what is in the way of one is told."""
    started = sagad("start", "order", "-i", '{"order_id": "8", "total": 2000}', "--json").json["execution_id"]
    flow = folder / "flows" / "order.yaml"
    flow.write_text(flow.read_text().replace("reserve", "hold").replace("task: hold", "task: reserve"))
    running.process.send_signal(signal.SIGHUP)
    until_logged(running.process, running.log, '"(reloaded)"')
    match = ("--where", "workflow == 'order'")
    missing = sagad("migrate-executions", *match, "--accept", "major", "--dry-run")
    assert (missing.code, "0 could be migrated, 1 not" in missing.out, "has no node 'reserve'" in missing.out) == (
        1,
        True,
        True,
    )
    named = (*match, "--rename", "reserve=hold")
    assert "1 could be migrated, 0 not" in sagad("migrate-executions", *named, "--dry-run").out
    [done] = sagad("migrate-executions", *named, "--json").json["executions"]
    assert (done["execution_id"], done["migrated"], done["severity"]) == (started, True, "none")
    assert "0 migrated, 0 not, 1 are there already" in sagad("migrate-executions", *named).out
    shown = sagad("show", started).out
    assert "hold" in shown, shown
    assert sagad("cancel", started).code == 0
    assert sagad("migrate-executions", started).code == 1


def test_many_are_forked_at_once(sagad: Sagad, running: Running, order: str) -> None:
    """Those that match, once each however often it is asked; what cannot be forked is told."""
    match = ("--where", "status == 'completed' and input.order_id == '7'", "--at", "before:charge")
    assert f"{order}  2 " in sagad("fork", *match, "--dry-run").out
    first = sagad("fork", *match, "--json").json["executions"]
    assert [each["execution_id"] for each in first] == [order]
    again = [each["fork"] for each in sagad("fork", *match, "--json").json["executions"]]
    assert first[0]["fork"] in again
    wrong = sagad("fork", "--where", f"id == '{order}'", "--at", "before:chrge")
    assert (wrong.code, "there is no step 'chrge'" in wrong.out) == (1, True)
    assert sagad("fork", "--where", "status ==", "--at", "1").code == 2
    assert sagad("fork", "--at", "1").code == 2
    assert running.process.poll() is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fork", "--at", "1", "--set", "x"), "--set x: write NAME=JSON"),
        (("fork", "--at", "1", "--set", "x=y"), "--set x is not JSON"),
        (("migrate-executions", "--rename", "x"), "--rename is OLD=NEW, not 'x'"),
        (("migrate-executions", "--accept", "critical"), "--accept is one of none, minor, major"),
        (("rewind", "--to", "1", "--undo", "perhaps"), "there is no way 'perhaps' to undo"),
    ],
)
def test_wrong_usage_is_told(sagad: Sagad, running: Running, order: str, arguments: tuple[str, ...], told: str) -> None:
    command, *rest = arguments
    done = sagad(command, order, *rest)
    assert (done.code, told in done.err, running.process.poll()) == (2, True, None)


def test_the_gate_finds_what_would_go_another_way(sagad: Sagad, running: Running, order: str, folder: Path) -> None:
    """The same definition goes on; another is told with its first event that differs, for people and for pipelines."""
    flows = folder / "flows"
    [now] = list(flows.glob("*.yaml"))
    other = folder / "other.yaml"
    other.write_text(now.read_text().replace('amount: "{{ input.total }}"', 'amount: "{{ input.total * 2 }}"'))
    same = sagad("what-if", order, "--definition", str(now))
    assert (same.code, "the same" in same.out) == (0, True)
    differs = sagad("what-if", order, "--definition", str(other))
    assert differs.code == 1
    assert "StepStarted charge has another input" in differs.out
    assert sagad("check", str(now), "--processes", "1").code == 0
    report = folder / "report.xml"
    found = sagad("check", str(other), "--junit", str(report), "--processes", "1")
    assert (found.code, "1 part at charge." in found.out) == (1, True)
    assert ET.parse(report).getroot().get("failures") == "1"  # noqa: S314  our own file
    assert sagad("check", str(other), "--allow", "major", "--processes", "1").code == 0
    assert sagad("check", str(other), "--json", "--processes", "2").json["by_severity"]["major"] == 1
    gone = folder / "gone.yaml"
    gone.write_text("workflow: order\nnodes: {reserve: {task: reserve, with: {order: 1}}}\n")
    assert sagad("check", str(gone), "--json", "--processes", "1").json["parted"][0]["severity"] == "major"
    assert sagad("check", str(other), "--against", "staging").code == 2
    assert sagad("check", str(other), "--allow", "much").code == 2
    stranger = folder / "stranger.yaml"
    stranger.write_text("workflow: stranger\nnodes: {a: {task: reserve, with: {order: 1}}}\n")
    assert (
        "there is no new workflow 'order'; there are: stranger"
        in sagad("what-if", order, "--definition", str(stranger)).err
    )
    assert running.process.poll() is None


def test_versions_tell_which_definitions_are_in_use(sagad: Sagad, running: Running, order: str) -> None:
    """From the store, and from the daemon, which knows the current one."""
    [stored] = sagad("versions", "order", "--json").json["versions"]
    assert (stored["current"], stored["executions"] >= 1) == (None, True)
    shown = sagad("versions", "order", "--url", running.address).out
    assert stored["definition"][:12] in shown
    assert "current" in shown
    assert sagad("versions", "nobody").code == 3
