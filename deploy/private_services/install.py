"""Bring the programs of the services onto this machine: Debian packages, and Kafka from Maven Central."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.private_services import kafka_download
from deploy.private_services.errors import ServiceError
from deploy.private_services.kafka import MINIMUM_JAVA, Kafka
from deploy.private_services.postgres import Postgres
from deploy.private_services.rabbitmq import RabbitMQ
from deploy.private_services.redis import Redis

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_ASIDE = Path("/usr/sbin/policy-rc.d.before-sagad")
_NO_START = "#!/bin/sh\nexit 101\n"
_CLUSTERS = Path("/etc/postgresql-common/createcluster.d/sagad-tests.conf")
_NO_CLUSTER = "create_main_cluster = false\n"


def missing_packages(environ: Mapping[str, str]) -> list[str]:
    """List the Debian packages that are needed and absent; a service handed in by the environment needs none."""
    packages = []
    if Postgres.variable not in environ and Postgres.problem():
        packages.append("postgresql")
    if RabbitMQ.variable not in environ and RabbitMQ.problem():
        packages.append("rabbitmq-server")
    if Redis.variable not in environ and Redis.problem():
        packages.append("redis-server")
    if Kafka.variable not in environ:
        if kafka_download.java_version() < MINIMUM_JAVA:
            packages.append("default-jre-headless")
        if not kafka_download.library_directory().is_dir() and shutil.which("mvn") is None:
            packages.append("maven")
    return packages


def install(environ: Mapping[str, str]) -> None:
    """Install what is missing and say so first.

    Raises:
        ServiceError: a package could not be installed. Kafka is the exception: tests can go on without it.

    """
    packages = missing_packages(environ)
    if packages:
        print(f"installing Debian packages: {' '.join(packages)}", flush=True)
        _install_packages(packages)
    if Kafka.variable in environ:
        return
    if not kafka_download.library_directory().is_dir():
        print(f"downloading Kafka {kafka_download.VERSION} to {kafka_download.library_directory()}", flush=True)
        try:
            kafka_download.download()
        except ServiceError as error:
            print(f"going on without Kafka: {error}", file=sys.stderr)
            return
    print(f"all programs are there; Kafka {kafka_download.VERSION} in {kafka_download.library_directory()}")


def _install_packages(packages: list[str]) -> None:
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise ServiceError(f"this is no Debian; install what corresponds to: {command}")
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        raise ServiceError(f"root is needed, and there is no sudo; run as root: {command}")
    with _nothing_starts_by_itself():
        if _apt("install", *packages):  # fails when the package lists are absent or out of date
            _apt("update")
            if output := _apt("install", *packages):
                raise ServiceError(f"{output[-2000:]}\nfailed: {command}")


def _apt(action: str, *packages: str) -> str:
    """Run apt-get and give what it said, or nothing when it succeeded."""
    options = ["--yes", "--quiet=2", "--no-install-recommends"]
    command = _as_root(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", action, *options, *packages])
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr or "apt-get failed") if result.returncode else ""


def _as_root(command: list[str]) -> list[str]:
    return command if os.geteuid() == 0 else ["sudo", *command]


@contextlib.contextmanager
def _nothing_starts_by_itself() -> Iterator[None]:
    """Keep Debian from starting the services that it installs and from making a database cluster.

    Both are settings of the machine's administrator, so they are put back afterwards.
    """
    if _POLICY.exists() and not _POLICY_ASIDE.exists():
        _run("mv", str(_POLICY), str(_POLICY_ASIDE))
    try:
        _write_as_root(_POLICY, _NO_START, mode="755")
        _write_as_root(_CLUSTERS, _NO_CLUSTER, mode="644")
        yield
    finally:
        _run("rm", "-f", str(_POLICY), str(_CLUSTERS))
        if _POLICY_ASIDE.exists():
            _run("mv", str(_POLICY_ASIDE), str(_POLICY))


def _write_as_root(path: Path, text: str, *, mode: str) -> None:
    with tempfile.NamedTemporaryFile("w") as source:
        source.write(text)
        source.flush()
        _run("install", "-D", f"--mode={mode}", source.name, str(path))


def _run(*command: str) -> None:
    subprocess.run(_as_root(list(command)), check=True)
