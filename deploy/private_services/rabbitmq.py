"""A private RabbitMQ node with its own Erlang name server (epmd), both on loopback only."""

import shutil
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.private_services.processes import Command, plain_environment
from deploy.private_services.server import Server

_CONFIGURATION = """\
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 512MB
"""
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_FRAME = struct.Struct(">BHIHH")  # type, channel, size; then class and method id of a method frame
_METHOD_FRAME = 1
_CONNECTION_START = (10, 10)


def _server_script() -> Path | None:
    # Not /usr/sbin/rabbitmq-server: that wrapper insists on root or on the user rabbitmq.
    scripts = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server")
    return max(scripts, default=None)


class RabbitMQ(Server):
    """Starts in about 5 s."""

    name = "rabbitmq"
    variable = "SAGAD_TEST_RABBITMQ_URL"
    port_names = ("amqp", "distribution", "epmd")
    user = "rabbitmq"

    @classmethod
    def problem(cls) -> str | None:
        """Say what is missing."""
        return None if _server_script() and shutil.which("epmd") else "RabbitMQ is not installed"

    def prepare(self) -> None:
        """Write the configuration; the node makes its data by itself."""
        (self.home / "rabbitmq.conf").write_text(_CONFIGURATION)
        (self.home / "enabled_plugins").write_text("[].\n")

    def commands(self) -> Mapping[str, Command]:
        """Put the name server first: else the node starts one of its own, which would outlive it unknown to us."""
        epmd = ["epmd", "-address", "127.0.0.1", "-port", str(self.ports["epmd"])]
        environment = self._environment()
        script = str(_server_script())
        return {
            "epmd": Command(arguments=epmd, environment=environment),
            "rabbitmq": Command(arguments=[script], environment=environment),
        }

    def _environment(self) -> dict[str, str]:
        return plain_environment(self.home) | {
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script then becomes the node, instead of waiting for it
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": "sagad@localhost",  # the data belongs to this name, whatever the ports are
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.ports["amqp"]),
            "RABBITMQ_DIST_PORT": str(self.ports["distribution"]),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_PID_FILE": str(self.home / "rabbitmq.pid"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.home / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.home / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.ports["epmd"]),
        }

    def answers(self) -> bool:
        """Say hello in AMQP 0-9-1: a node that is still booting does not answer with `connection.start`."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports["amqp"]), timeout=2) as connection:
            connection.settimeout(5)
            connection.sendall(_PROTOCOL_HEADER)
            answer = connection.recv(_FRAME.size, socket.MSG_WAITALL)
            if len(answer) == _FRAME.size:
                kind, _channel, _size, class_id, method_id = _FRAME.unpack(answer)
                return kind == _METHOD_FRAME and (class_id, method_id) == _CONNECTION_START
        return False

    def url(self) -> str:
        """Give the connection URL of the default user, who may connect from loopback only."""
        return f"amqp://guest:guest@127.0.0.1:{self.ports['amqp']}/"
