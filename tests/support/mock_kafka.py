"""A Kafka cluster that can be told to misbehave: librdkafka's mock cluster, over real TCP on loopback.

It runs in this process, inside the library that the confluent-kafka wheel brings along. Its C interface is called
directly, because the Python interface lacks what makes it worth having: brokers going down and up, error answers on
demand, slow answers, topics with a chosen number of partitions.

What it cannot do, so that such tests need a real broker: create topics by request (use `create_topic`), hide aborted
transactions, keep data when it stops, and several members in one consumer group without a delay in the leader.
"""

import ctypes
import socket
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

_POINTER, _TEXT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_SIGNATURES: Mapping[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_new": (_POINTER, [_INT, _POINTER, _TEXT, _SIZE]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_POINTER, ctypes.c_int32]),
    "rd_kafka_mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_broker_set_down": (_INT, [_POINTER, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (_INT, [_POINTER, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_rtt": (_INT, [_POINTER, ctypes.c_int32, _INT]),
    "rd_kafka_mock_push_request_errors_array": (None, [_POINTER, ctypes.c_int16, _SIZE, _POINTER]),
}
_PRODUCER = 0
_MESSAGE_BYTES = 256


class Api(IntEnum):
    """Kafka's requests, by their number in the protocol."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14


def _load() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    linux = package.parent.glob("confluent_kafka.libs/librdkafka-*.so*")
    macos = package.glob(".dylibs/librdkafka*.dylib")
    library = ctypes.CDLL(str(next(path for found in (linux, macos) for path in found)))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class MockKafka:
    """One mock cluster; brokers are numbered from 1. Close it, or use it as a context manager."""

    def __init__(self, *, brokers: int = 1, rebalance_delay_ms: int = 100) -> None:
        self._library = _load()
        message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        configuration = self._library.rd_kafka_conf_new()
        self._client = self._library.rd_kafka_new(_PRODUCER, configuration, message, _MESSAGE_BYTES)
        if not self._client:
            raise RuntimeError(f"librdkafka did not start: {message.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, rebalance_delay_ms)
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, name: str, *, partitions: int = 1, replicas: int = 1) -> None:
        """Create a topic; one that is first used without this gets four partitions."""
        self._succeed(self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, replicas))

    def down(self, broker: int = 1) -> None:
        """Drop the broker's connections and refuse new ones; what it stored stays. Returns when that is so."""
        self._succeed(self._library.rd_kafka_mock_broker_set_down(self._cluster, broker))
        host, _, port = self.bootstrap.split(",")[broker - 1].rpartition(":")
        while _takes_connections(host, int(port)):
            pass  # the broker's own thread does it

    def up(self, broker: int = 1) -> None:
        """Let the broker answer again."""
        self._succeed(self._library.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def slow_down(self, round_trip_ms: int, broker: int = 1) -> None:
        """Delay every answer of the broker; 0 ends it."""
        self._succeed(self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, round_trip_ms))

    def fail_next(self, api: Api, *error_codes: int) -> None:
        """Answer the next requests of a kind with these error codes of the protocol, one each."""
        codes = (ctypes.c_int * len(error_codes))(*error_codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, api, len(error_codes), codes)

    def close(self) -> None:
        """Stop the cluster and forget its data; closing twice is harmless."""
        if self._client:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _succeed(code: int) -> None:
        if code != 0:
            raise RuntimeError(f"librdkafka's mock cluster refused: error {code}")


def _takes_connections(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
