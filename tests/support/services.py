"""The real services, for tests: where they are, and a corner of each that no other test sees.

Where they are comes from the environment (`deploy/services` writes it). A service that is missing fails the test: a
skipped test proves nothing, and nobody reads why it was skipped. The exception is Kafka where it cannot be had:
SAGAD_TEST_KAFKA_KIND=mock stands for librdkafka's mock cluster, and `deploy/test` says so in its last lines.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.testing.databases import make_unique_name, new_database
from tests.support.mock_kafka import MockKafka

_SERVICES = Path(__file__).parents[2] / "deploy" / "services"
_URL_VARIABLES = (
    "SAGAD_TEST_POSTGRES_URL",
    "SAGAD_TEST_RABBITMQ_URL",
    "SAGAD_TEST_KAFKA_BOOTSTRAP",
    "SAGAD_TEST_REDIS_URL",
)


def required(variable: str) -> str:
    """Read the place of a service from the environment, or fail the test with the remedy."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(
            f"{variable} is not set: this test needs a real service.\n"
            "Run deploy/test, or: deploy/services start && source <(deploy/services env)",
            pytrace=False,
        )
    return value


@dataclass(frozen=True, slots=True)
class OwnService:
    """A server of one test alone, which the test may crash. Its methods block; from a coroutine use a thread."""

    name: str
    directory: Path
    url: str

    def kill(self) -> None:
        """End it as a crash would, by SIGKILL."""
        _services("kill", self.name, directory=self.directory)

    def restart(self) -> None:
        """Stop it in good order, unless it was killed; start it on the same port; return when it answers."""
        _services("restart", self.name, directory=self.directory)


@contextmanager
def new_service(name: str) -> Iterator[OwnService]:
    """Start another `postgres` (1 s), `rabbitmq` or `kafka` (6 s each) and stop it at the end."""
    # pytest's own temporary folder is closed to the accounts that servers run as when root starts them.
    with tempfile.TemporaryDirectory(prefix="sagad-test-", dir="/var/tmp") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        try:
            _services("start", "--only", name, directory=directory)
            exports = shlex.split(_services("env", directory=directory))
            url = next(value for word in exports for key, _, value in [word.partition("=")] if key in _URL_VARIABLES)
            yield OwnService(name, directory, url)
        finally:
            _services("stop", directory=directory)


def _services(*arguments: str, directory: Path) -> str:
    command = [str(_SERVICES), *arguments, "--dir", str(directory)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SAGAD_TEST_")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        pytest.fail(f"{shlex.join(command)}:\n{result.stdout}{result.stderr}", pytrace=False)
    return result.stdout


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of a database that the tests of one pytest worker share."""
    with new_database(required("SAGAD_TEST_POSTGRES_URL")) as url:
        yield url


@pytest.fixture
def fresh_postgres_url() -> Iterator[str]:
    """Give the URL of an empty database for this test alone.

    A database rather than a schema: advisory locks, notifications and tables named with their schema stay apart too.
    """
    with new_database(required("SAGAD_TEST_POSTGRES_URL")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[OwnService]:
    """Give a Redis that the tests of one pytest worker share: it starts at once, so nobody need lend one."""
    with new_service("redis") as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """Give the URL of the broker; all tests share it, so every queue and exchange needs a `unique_name`."""
    return required("SAGAD_TEST_RABBITMQ_URL")


@pytest.fixture(scope="session")
def kafka_kind() -> str:
    """Tell what answers at `kafka_bootstrap`: `real`, `given` (somebody's own broker) or `mock`."""
    kind = os.environ.get("SAGAD_TEST_KAFKA_KIND")
    return kind or (required("SAGAD_TEST_KAFKA_BOOTSTRAP") and "given")


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_kind: str) -> Iterator[str]:
    """Give the bootstrap server; all tests share it, so every topic and group needs a `unique_name`."""
    if kafka_kind != "mock":
        yield required("SAGAD_TEST_KAFKA_BOOTSTRAP")
        return
    with MockKafka() as cluster:
        yield cluster.bootstrap


@pytest.fixture
def mock_kafka() -> Iterator[MockKafka]:
    """Give a Kafka of this test alone, which can be made to fail."""
    with MockKafka() as cluster:
        yield cluster


@pytest.fixture
def own_service() -> Iterator[Callable[[str], OwnService]]:
    """Give `own_service("rabbitmq")`: a server of this test alone, to be killed and restarted."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(new_service(name))


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Give `make_unique_name`: `unique_name("orders")` is a name for a queue, topic or group of this test alone."""
    return make_unique_name
