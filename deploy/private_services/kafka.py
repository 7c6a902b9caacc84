"""A private Kafka: one node that is broker and controller (KRaft), with a small heap."""

import base64
import os
import shutil
import socket
import struct
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.private_services.kafka_download import java_version, library_directory
from deploy.private_services.processes import Command, plain_environment, run
from deploy.private_services.server import Server

MINIMUM_JAVA = 11
ADVERTISED_VARIABLE = "SAGAD_PRIVATE_KAFKA_ADVERTISED"
"""`host:port` that clients are told to come to, where a proxy stands between them and the broker."""
_LOGGING = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
"""
_METADATA, _VERSION, _CORRELATION, _NO_CLIENT_ID, _NO_TOPICS = 3, 1, 7, -1, 0
_ANSWER = struct.Struct(">iii")  # size, correlation id, number of brokers that follow


def server_properties(ports: Mapping[str, int], data: Path) -> str:
    """Render the configuration of the node."""
    broker, controller = f"127.0.0.1:{ports['broker']}", f"127.0.0.1:{ports['controller']}"
    settings: dict[str, str | int] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{os.environ.get(ADVERTISED_VARIABLE, broker)}",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "true",
        "num.partitions": 4,
        # One node: nothing can be replicated.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        # Tests form and break consumer groups all the time.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # After a crash the controller lets the broker in again only when the old session has timed out.
        "broker.session.timeout.ms": 5000,
        "broker.heartbeat.interval.ms": 500,
        # Small: a few clients, many short-lived topics.
        "num.network.threads": 2,
        "num.io.threads": 2,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
        "log.segment.delete.delay.ms": 1000,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def cluster_id() -> str:
    """Make a random cluster id: 16 bytes in URL-safe base64, not beginning like a command line option."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    return "A" + text[1:] if text.startswith("-") else text


class Kafka(Server):
    """Starts in about 3 s, the first time in 5 s."""

    name = "kafka"
    variable = "SAGAD_TEST_KAFKA_BOOTSTRAP"
    port_names = ("broker", "controller")
    user = None  # ourselves: the jar files are in our own cache

    @classmethod
    def problem(cls) -> str | None:
        """Say what is missing."""
        if java_version() < MINIMUM_JAVA:
            return f"a Java runtime of at least version {MINIMUM_JAVA} is not installed"
        return None if library_directory().is_dir() else "Kafka has not been downloaded"

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _properties(self) -> Path:
        return self.home / "server.properties"

    def _java(self, *arguments: str) -> Command:
        options = ["-Xmx512m", "-XX:+UseSerialGC", f"-Dlog4j.configuration=file:{self.home / 'log4j.properties'}"]
        java = str(shutil.which("java"))
        return Command(
            arguments=[java, *options, "-cp", f"{library_directory()}/*", *arguments],
            environment=plain_environment(self.home),
        )

    def prepare(self) -> None:
        """Configure for the present ports and format the storage once."""
        (self.home / "log4j.properties").write_text(_LOGGING)
        self._properties.write_text(server_properties(self.ports, self._data))
        if not (self._data / "meta.properties").exists():
            tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id(), "--config"]
            command = self._java(*tool, str(self._properties))
            run(command.arguments, home=self.home, environment=command.environment, account=self.account())

    def commands(self) -> Mapping[str, Command]:
        """Give one process."""
        return {"kafka": self._java("kafka.Kafka", str(self._properties))}

    def answers(self) -> bool:
        """Ask for the metadata: the broker lists itself once the controller has let it in."""
        header = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION, _NO_CLIENT_ID)
        request = header + struct.pack(">i", _NO_TOPICS)
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports["broker"]), timeout=2) as connection:
            connection.settimeout(5)
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(_ANSWER.size, socket.MSG_WAITALL)
            if len(answer) == _ANSWER.size:
                _size, correlation, brokers = _ANSWER.unpack(answer)
                return bool(correlation == _CORRELATION and brokers > 0)
        return False

    def url(self) -> str:
        """Give the bootstrap server."""
        return f"127.0.0.1:{self.ports['broker']}"
