"""`diff`, `as-of` and `snapshot …`: on the store, and by asking the daemon."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest

from daemon.cli.faults import BadUsage
from daemon.cli.reading import read_moment
from tests.cli.conftest import halt

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Running, Sagad


@pytest.fixture
def small(sagad: Sagad, running: Running) -> str:
    """Run an order to its end; give its id."""
    started = sagad("start", "order", "-i", '{"order_id": "7", "total": 40}', "--wait", "--json")
    assert started.code == 0, started.err
    execution_id: str = started.json["execution_id"]
    return execution_id


@pytest.fixture
def large(sagad: Sagad, running: Running) -> str:
    """Run an order until it waits for a review; give its id."""
    started = sagad("start", "order", "-i", '{"order_id": "8", "total": 5000}', "--json").json["execution_id"]
    while sagad("show", started, "--json").json["waits_for"] != "signal":
        pass
    return str(started)


@pytest.fixture(params=["store", "daemon"])
def asked(request: pytest.FixtureRequest, running: Running) -> list[str]:
    """Give the options that lead to the store, and to the daemon."""
    return [] if request.param == "store" else ["--url", running.address]


def test_two_versions_are_compared(sagad: Sagad, small: str, asked: list[str]) -> None:
    """With the exit code of a comparison; a version is the same as itself."""
    found = sagad("diff", f"{small}@2", "@5", "--json", *asked)
    assert found.code == 1
    assert found.json["from"]["version"] == 2
    assert {"field": "status", "change": "replace", "from": "running", "to": "running"} not in found.json["execution"]
    changed = {step["address"]: step["changes"] for step in found.json["steps"]["changed"]}
    assert {"field": "status", "change": "replace", "from": "running", "to": "succeeded"} in changed["reserve"]
    assert sagad("diff", f"{small}@2", "@2", *asked).code == 0
    shown = sagad("diff", f"{small}@2", small, *asked).out
    assert "~ status: running → completed" in shown
    assert "+ charge: succeeded 40" in shown


def test_two_executions_are_compared_by_address(sagad: Sagad, small: str, large: str, asked: list[str]) -> None:
    found = sagad("diff", small, large, "--json", *asked).json
    assert [step["address"] for step in found["steps"]["removed"]] == ["charge"]
    changed = {step["address"]: step["changes"] for step in found["steps"]["changed"]}
    assert {"field": "status", "change": "replace", "from": "skipped", "to": "awaiting"} in changed["review"]
    fields = {change["field"]: (change["from"], change["to"]) for change in found["execution"] if "from" in change}
    assert fields["input.total"] == (40, 5000)
    assert fields["status"] == ("completed", "running")


def test_the_patch_leads_from_one_state_to_the_other(sagad: Sagad, small: str, asked: list[str]) -> None:
    """Applied by a library that knows nothing of us, to what `state --json` prints."""
    before = sagad("state", small, "--version", "3", "--json").json
    patch = sagad("diff", f"{small}@3", small, "--patch", *asked)
    assert jsonpatch.apply_patch(before, patch.json) == sagad("state", small, "--json").json


def test_a_checkpoint_is_named_listed_compared_and_cleared(sagad: Sagad, small: str, asked: list[str]) -> None:
    taken = sagad("snapshot", "take", small, "--name", "before", "--version", "3", "--json", *asked)
    assert taken.json == [{"execution_id": small, "name": "before", "version": 3, "stored": True}]
    assert sagad("snapshot", "take", small, "--name", "before", "--version", "3", *asked).code == 0
    again = sagad("snapshot", "take", small, "--name", "before", "--version", "4", *asked)
    assert again.code == 1
    assert "'before' is version 3" in again.err
    assert sagad("snapshot", "take", small, "--name", "end", *asked).code == 0
    listed = sagad("snapshot", "list", small, "--json", *asked).json
    assert [each["name"] for each in listed["checkpoints"]] == ["before", "end"]
    assert listed["bytes"] == sum(each["stored_bytes"] for each in listed["snapshots"]) > 0
    assert "before" in sagad("snapshot", "list", small, *asked).out
    assert sagad("snapshot", "latest", small, "--json", *asked).json["label"] == "end"
    assert sagad("diff", f"{small}@before", f"{small}@3", *asked).code == 0
    assert sagad("snapshot", "compare", small, "before", "end", *asked).code == 1
    assert sagad("diff", f"{small}@after", small, *asked).code == 3
    assert sagad("snapshot", "clear", small, "--version", "3", "--json", *asked).json[0]["cleared"] == 1
    assert sagad("snapshot", "clear", small, "--json", *asked).json[0]["cleared"] == 1
    assert sagad("snapshot", "latest", small, *asked).code == 1


def test_snapshots_of_all_that_match(sagad: Sagad, small: str, large: str, asked: list[str]) -> None:
    assert sagad("snapshot", "take", "--name", "batch", *asked).code == 2
    assert len(sagad("snapshot", "take", "--all", "--name", "batch", "--json", *asked).json) == 2
    listed = sagad("snapshot", "list", "--workflow", "order", "--json", *asked).json
    assert {view["execution_id"] for view in listed} == {small, large}
    assert "in 2 snapshots" in sagad("snapshot", "list", "--all", *asked).out
    checked = sagad("snapshot", "validate", "--all", *asked)
    assert (checked.code, checked.out) == (0, "2 of 2 snapshots are what the events say\n")
    cleared = sagad("snapshot", "clear", "--status", "completed", "--json", *asked).json
    assert cleared == [{"execution_id": small, "cleared": 1}]


def test_a_snapshot_goes_to_a_file_and_back(sagad: Sagad, small: str, folder: Path, asked: list[str]) -> None:
    sagad("snapshot", "take", small, "--name", "kept", *asked)
    assert sagad("snapshot", "export", small, "--to", "kept.json.gz", *asked).code == 0
    sagad("snapshot", "clear", small, *asked)
    assert sagad("snapshot", "import", "gone.json.gz", *asked).code == 2
    assert sagad("as-of", "now", *asked).code == 0
    assert sagad("snapshot", "import", "kept.json.gz", *asked).code == 0
    assert sagad("snapshot", "latest", small, "--json", *asked).json["label"] == "kept"
    document = json.loads(gzip.decompress((folder / "kept.json.gz").read_bytes()))
    assert sagad("snapshot", "export", "--all", "--to", "out", *asked).code == 0
    assert json.loads((folder / "out" / f"{small}-{document['version']}.json").read_text())["label"] == "kept"
    document["state"]["steps"]["charge"]["output"] = 41
    (folder / "changed.json").write_text(json.dumps(document))
    refused = sagad("snapshot", "import", "changed.json", *asked)
    assert refused.code == 1
    assert "steps.charge.output" in refused.err


def test_an_import_of_another_execution_is_refused(sagad: Sagad, small: str, large: str, asked: list[str]) -> None:
    sagad("snapshot", "take", small, *asked)
    sagad("snapshot", "export", small, "--to", "small.json", *asked)
    refused = sagad("snapshot", "import", "small.json", "--execution", large, *asked)
    assert refused.code == 1
    assert f"$.execution_id: it is of execution {small}" in refused.err


def test_which_executions_waited_at_a_time(sagad: Sagad, small: str, large: str, asked: list[str]) -> None:
    then = _time_of(sagad, large)
    found = sagad("as-of", then, "--where", "'signal' in waiting.types and input.total > 100", "--json", *asked)
    assert [view["execution_id"] for view in found.json["executions"]] == [large]
    assert found.json["executions"][0]["waiting"][0]["signal"] == "reviewed"
    shown = sagad(
        "as-of", then, "--status", "running", "--show", "input.total", "--show", "steps.reserve.output", *asked
    )
    assert large in shown.out
    assert small not in shown.out
    assert "r-8" in shown.out
    assert sagad("as-of", "2020-01-01", "--json", *asked).json["executions"] == []
    ended = sagad("as-of", then, "--where", "status == 'completed' and output.charged == 40", "--json", *asked).json
    assert [view["execution_id"] for view in ended["executions"]] == [small]


def test_an_expression_that_cannot_be_is_refused_at_once(sagad: Sagad, running: Running) -> None:
    wrong = sagad("as-of", "1h", "--where", "stats == 'running'")
    assert wrong.code == 2
    assert "there is no 'stats'; did you mean 'status'?" in wrong.err
    assert sagad("as-of", "1h", "--where", "status ==").code == 2


def test_those_for_which_there_is_no_answer_are_told(sagad: Sagad, small: str, asked: list[str]) -> None:
    found = sagad("as-of", _time_of(sagad, small), "--where", "vars.missing > 1", *asked)
    assert "for 1 executions there is no answer" in found.err
    assert "missing" in found.err


def test_a_daemon_that_has_stopped_leaves_all_of_it_to_be_read(sagad: Sagad, small: str, running: Running) -> None:
    halt(running)
    assert sagad("diff", f"{small}@1").code == 1
    assert sagad("snapshot", "take", small).code == 0


def test_a_time_of_day_is_today() -> None:
    assert read_moment("14:05") == datetime.now(UTC).replace(hour=14, minute=5, second=0, microsecond=0)
    with pytest.raises(BadUsage, match="'25:00' is not a time"):
        read_moment("25:00")


def _time_of(sagad: Sagad, execution_id: str) -> str:
    """Return the time of its last event."""
    events: list[Any] = [json.loads(line) for line in sagad("events", execution_id, "--json").out.splitlines()]
    return str(events[-1]["at"])
