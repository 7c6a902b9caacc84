"""What the command line says of databases of workflows, and of remote workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Sagad


def settings(folder: Path, more: str) -> None:
    text = (folder / "sagad.toml").read_text().replace("port = 1", "port = 0")
    (folder / "sagad.toml").write_text(f"{text}\n{more}\n")


def test_doctor_asks_each_database_and_says_which_does_not_answer(sagad: Sagad, folder: Path) -> None:
    away = '[connections.away]\nurl = "postgresql://127.0.0.1:1/x"\nconnect_timeout_s = 0.2'
    settings(folder, f'{away}\n[connections.here]\nurl = "sqlite:///shop.db"')
    found = {finding["about"]: finding for finding in sagad("doctor", "--json").json["findings"]}
    assert found["connection here"]["status"] == "ok"
    assert (found["connection away"]["status"], "sql_unavailable" in found["connection away"]["detail"]) == (
        "broken",
        True,
    )


def test_validate_knows_the_connections_of_the_settings(sagad: Sagad, folder: Path) -> None:
    settings(folder, '[connections.shop]\nurl = "sqlite:///shop.db"')
    (folder / "flows" / "sql.yaml").write_text(
        "workflow: sql\nnodes: {a: {sql: {connection: shap, query: 'select {{ 1 }}'}}}\n"
    )
    done = sagad("validate", "flows")
    assert done.code == 1
    assert "a query holds no templates" in done.out
    (folder / "flows" / "sql.yaml").write_text(
        "workflow: sql\nnodes: {a: {sql: {connection: shap, query: select 1}}}\n"
    )
    done = sagad("validate", "flows")
    assert (done.code, "did you mean 'shop'?" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("more", "status", "detail"),
    [
        ("", "broken", "remote workers are wanted for far/a"),
        ('[workers]\nbroker = "kafka"', "broken", "they are to be reached by kafka"),
        ('[workers]\nbroker = "memory"', "warning", "reaches no other process"),
        ('[workers]\nbroker = "rabbitmq"\n[rabbitmq]\nurl = "amqp://127.0.0.1:1"', "ok", "by rabbitmq, for 1 nodes"),
    ],
)
def test_doctor_says_whether_remote_workers_can_be_reached(
    sagad: Sagad, folder: Path, more: str, status: str, detail: str
) -> None:
    settings(folder, more)
    (folder / "flows" / "far.yaml").write_text("workflow: far\nnodes: {a: {task: far.work, worker: far}}\n")
    [found] = [each for each in sagad("doctor", "--json").json["findings"] if each["about"] == "workers"]
    assert (found["status"], detail in found["detail"]) == (status, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--queue", "far"], "a worker needs a broker"),
        (["--queue", "far", "--broker", "kafka"], "[workers] needs kafka"),
        (["--queue", "far", "--broker", "memory"], "a worker needs a broker"),
        (["--queue", "far", "--broker", "nats"], "must be one of kafka, rabbitmq, memory"),
        (["--queue", "far", "--broker", "kafka", "--handlers", "nothing_of_this_name"], "nothing_of_this_name"),
        ([], "--queue"),
    ],
)
def test_a_worker_that_cannot_work_says_why(
    sagad: Sagad, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("SAGAD_WORKERS_BROKER", "")  # the command sets it, and it goes with the test
    done = sagad("worker", *arguments)
    assert (done.code, said in done.err + done.out) == (2, True), done
