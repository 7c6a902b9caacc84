"""`deploy/services`: the parts that need no server, and the fixtures that stand on the servers."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.private_services import lifecycle, ports, records
from deploy.private_services.command_line import main
from deploy.private_services.directory import Directory, default_path
from deploy.private_services.errors import ServiceError
from deploy.private_services.install import missing_packages
from deploy.private_services.kafka import cluster_id, server_properties
from deploy.private_services.processes import Process, kill
from deploy.private_services.records import Record
from tests.support.mock_kafka import Api, MockKafka
from tests.support.services import OwnService, required

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
GIVEN = {
    "SAGAD_TEST_POSTGRES_URL": "postgresql://me@db/test",
    "SAGAD_TEST_RABBITMQ_URL": "amqp://me:se$cret@mq/",
    "SAGAD_TEST_KAFKA_BOOTSTRAP": "kafka:9092",
}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


class TestPorts:
    def test_chosen_ports_are_different_and_never_a_default_port(self) -> None:
        chosen = ports.choose(["amqp", "distribution", "epmd"], previous={})
        assert len(set(chosen.values())) == 3
        assert all(port in ports.PORT_RANGE for port in chosen.values())

    def test_previous_ports_are_kept_while_they_are_free(self) -> None:
        previous = ports.choose(["sql"], previous={})
        assert ports.choose(["sql"], previous) == previous

    def test_a_port_taken_meanwhile_is_replaced(self) -> None:
        previous = ports.choose(["sql"], previous={})
        with socket.socket() as taker:
            taker.bind(("127.0.0.1", previous["sql"]))
            taker.listen()
            assert ports.choose(["sql"], previous) != previous


class TestProcesses:
    def test_a_process_id_given_to_a_stranger_is_not_taken_for_ours(self) -> None:
        me = Process.find(os.getpid())
        assert me is not None
        assert me.alive()
        assert not Process(me.pid, me.started + 1).alive()

    def test_an_ended_process_that_nobody_reaped_counts_as_dead(self) -> None:
        with subprocess.Popen(SLEEPER) as child:  # noqa: S603 - a constant
            process = Process.find(child.pid)
            assert process is not None
            kill([process])
            assert not process.alive()
        assert child.returncode == -signal.SIGKILL


class TestEnvironment:
    def test_given_services_are_not_started_but_passed_through(
        self, directory: Directory, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lifecycle.start(directory, ["postgres", "rabbitmq", "kafka"], GIVEN)
        lines = lifecycle.environment(directory).splitlines()
        exported = dict(shlex.split(line)[1].split("=", 1) for line in lines)
        assert exported == GIVEN | {"SAGAD_TEST_KAFKA_KIND": "given"}
        assert capsys.readouterr().out.count("is set and used as it is") == 3
        assert lifecycle.running(directory) == []

    def test_only_the_owner_can_read_it(self, directory: Directory) -> None:
        """It holds passwords."""
        lifecycle.start(directory, ["postgres"], GIVEN)
        assert directory.environment_file.stat().st_mode & 0o077 == 0

    def test_kafka_can_be_left_to_the_mock(self, directory: Directory) -> None:
        lifecycle.start(directory, ["kafka"], {"SAGAD_TEST_KAFKA_KIND": "mock"})
        assert lifecycle.environment(directory) == "export SAGAD_TEST_KAFKA_KIND=mock\n"

    def test_stop_leaves_no_environment_behind(self, directory: Directory) -> None:
        lifecycle.start(directory, ["postgres"], GIVEN)
        lifecycle.stop(directory, ["postgres"])
        with pytest.raises(ServiceError, match="deploy/services start"):
            lifecycle.environment(directory)

    def test_a_stopped_private_server_keeps_its_ports_but_offers_no_url(self) -> None:
        stopped = Record(kind="private", url="postgresql://old", ports={"sql": 23456})
        assert stopped.variables("SAGAD_TEST_POSTGRES_URL") == {}

    def test_records_survive_the_file(self, tmp_path: Path) -> None:
        record = Record(kind="private", url="u", ports={"sql": 23456}, processes={"postgres": Process(12, 34)})
        records.save(tmp_path / "postgres.json", record)
        assert records.load(tmp_path / "postgres.json") == record

    def test_data_stays_in_the_checkout_when_servers_can_reach_it(self) -> None:
        assert default_path(Path("/")) == Path("/.services")


class TestInstall:
    def test_nothing_is_installed_for_services_that_are_given(self) -> None:
        assert missing_packages(GIVEN) == []


class TestKafkaConfiguration:
    def test_it_listens_on_loopback_only(self) -> None:
        text = server_properties({"broker": 20001, "controller": 20002}, Path("/data"))
        assert "listeners=PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002\n" in text
        assert "0.0.0.0" not in text  # noqa: S104

    def test_a_cluster_id_never_looks_like_an_option(self) -> None:
        assert not any(cluster_id().startswith("-") for _ in range(500))


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [[], ["fly"], ["start", "--only", "mongodb"], ["kill"], ["kill", "mongodb"]])
    def test_unusable_arguments_end_with_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "usage: deploy/services" in capsys.readouterr().err

    def test_what_was_not_started_here_cannot_be_killed_here(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["kill", "postgres", "--dir", str(tmp_path)]) == 1
        assert "postgres was not started here" in capsys.readouterr().err


class TestFixtures:
    def test_a_missing_service_fails_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("SAGAD_TEST_POSTGRES_URL", raising=False)
        with pytest.raises(pytest.fail.Exception, match="deploy/services start"):
            required("SAGAD_TEST_POSTGRES_URL")

    def test_a_fresh_database_is_empty_and_durable(self, fresh_postgres_url: str, postgres_url: str) -> None:
        assert fresh_postgres_url != postgres_url
        with psycopg.connect(fresh_postgres_url) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
            settings = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
        assert tables == (0,)
        assert settings == [("on",), ("on",)]

    @pytest.mark.slow
    def test_a_server_of_ones_own_keeps_what_it_committed_when_it_is_killed(
        self, own_service: Callable[[str], OwnService]
    ) -> None:
        """Also: it comes back on the same port, in spite of the lock file of the killed server."""
        server = own_service("postgres")
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)
        server.restart()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)

    async def test_the_mock_cluster_stores_what_it_accepted_in_spite_of_an_error(
        self, mock_kafka: MockKafka, unique_name: Callable[[str], str]
    ) -> None:
        topic = unique_name("orders")
        mock_kafka.create_topic(topic)
        not_leader = 6
        mock_kafka.fail_next(Api.PRODUCE, not_leader)
        async with AIOKafkaProducer(bootstrap_servers=mock_kafka.bootstrap, retry_backoff_ms=10) as producer:
            await producer.send_and_wait(topic, b"one")
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=mock_kafka.bootstrap, auto_offset_reset="earliest")
        async with consumer:
            assert (await consumer.getone()).value == b"one"
