"""What `doctor` looks at outside this process: store, brokers, databases of workflows, the address, the clock.

Comes from: `doctor`. Goes to: eventstore, triggers, the daemon if one runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aio_pika
from aiokafka.client import AIOKafkaClient

from daemon.cli.connection import Connection
from daemon.cli.faults import CommandError
from daemon.cli.findings import Finding, broken, doubtful, fine
from daemon.cli.key_checks import check_keys, lost_at_rest
from daemon.cli.stores import is_memory, missing_file, opened
from daemon.core.errors import Misconfigured
from daemon.nodes.context import StepFailure
from daemon.nodes.statements import Statement
from daemon.runtime.brokers import kafka_connection, rabbit_connection
from daemon.runtime.databases import Databases
from daemon.runtime.secrets import SecretResolver
from eventstore.errors import KeyMissing, StoreError, Unusable
from eventstore.index import ExecutionFilter
from triggers.kafka_client import LOST as KAFKA_LOST
from triggers.kafka_client import client_arguments
from triggers.link import explain
from triggers.rabbitmq_client import LOST as RABBITMQ_LOST
from triggers.rabbitmq_client import tls_context

if TYPE_CHECKING:
    from daemon.settings import Settings
    from eventstore.store import Store

WAIT_S = 5.0
CLOCK_SKEW = timedelta(seconds=5)
CURSOR = "doctor"
"""Name under which the write test saves a position."""


async def check_store(settings: Settings) -> list[Finding]:
    """Open the store, read, and write in a transaction."""
    if is_memory(settings):
        return [doubtful("store", "in memory: everything is gone when the daemon stops", "set [store] url")]
    missing = missing_file(settings)
    if missing is not None:
        if not missing.parent.is_dir():
            return [broken("store", f"there is no folder {missing.parent}", "make it, or change [store] url")]
        return [doubtful("store", f"{missing} is not there yet", "`sagad run` or `sagad migrate` makes it")]
    try:
        async with asyncio.timeout(WAIT_S * 2), opened(settings) as store:
            return [*await _check_open(store), *await check_keys(store, settings)]
    except KeyMissing as error:
        return [lost_at_rest(str(error))]
    except Unusable as error:
        return [broken("store", str(error), "do what it says, or change [store] url")]
    except StoreError as error:
        return [broken("store", str(error), "start the database, or change [store] url")]
    except Misconfigured as error:
        return [broken("store", str(error), "mend the encryption settings in [store]")]
    except TimeoutError:
        return [broken("store", "no answer in time", "look at the database's load and locks")]


async def check_kafka(settings: Settings) -> list[Finding]:
    """Connect to Kafka, where the settings have it."""
    connection = kafka_connection(settings.kafka)
    if connection is None:
        return []
    servers = ", ".join(settings.kafka.bootstrap)
    mend = "start the broker, or mend [kafka] bootstrap, tls and username"
    try:
        client = AIOKafkaClient(**client_arguments(connection))
    except (OSError, ValueError) as error:
        return [broken("kafka", f"TLS files: {error}", "mend ca_file, cert_file and key_file in [kafka]")]
    try:
        async with asyncio.timeout(WAIT_S):
            await client.bootstrap()
    except KAFKA_LOST as error:
        return [broken("kafka", f"{servers}: {explain(error)}", mend)]
    finally:
        await client.close()
    return [fine("kafka", f"{servers} answers; {len(client.cluster.brokers())} brokers")]


async def check_rabbitmq(settings: Settings) -> list[Finding]:
    """Connect to RabbitMQ, where the settings have it."""
    connection = rabbit_connection(settings.rabbitmq)
    if connection is None:
        return []
    place = connection.url.rpartition("@")[2]
    try:
        link = await aio_pika.connect(connection.url, ssl_context=tls_context(connection), timeout=WAIT_S)
    except (OSError, ValueError, *RABBITMQ_LOST) as error:
        mend = "start the broker, or mend [rabbitmq] url"
        return [broken("rabbitmq", f"{place}: {explain(error)}", mend)]
    await link.close()
    return [fine("rabbitmq", f"{place} answers")]


async def check_connections(settings: Settings) -> list[Finding]:
    """Ask each database of the workflows something small."""
    databases = Databases(settings.connections, SecretResolver(os.environ, settings.secrets.dir))

    async def check(name: str) -> Finding:
        try:
            await databases.run(name, Statement(query="select 1", read_only=True, timeout=timedelta(seconds=WAIT_S)))
        except StepFailure as error:
            mend = f"start the database, or mend [connections.{name}]"
            return broken(f"connection {name}", f"{error.code}: {error.message}", mend)
        return fine(f"connection {name}", "answers")

    try:
        return list(await asyncio.gather(*map(check, settings.connections)))
    finally:
        await databases.close()


def check_address(settings: Settings) -> list[Finding]:
    """Ask a running daemon how it is; without one, see whether its port is free."""
    host, port = settings.http.host, settings.http.port
    try:
        with Connection(settings) as connection:
            connection.get("/healthz")
            return [_readiness(connection), *_circuits(connection)]
    except CommandError:
        pass
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        detail = f"{host}:{port} cannot be used, and no daemon answers there: {error.strerror or error}"
        return [broken("http", detail, "choose another [http] port, or stop the program that has it")]
    return [fine("http", f"no daemon runs; {host}:{port} is free")]


def _readiness(connection: Connection) -> Finding:
    try:
        connection.get("/readyz")
    except CommandError as error:
        return broken("http", f"the daemon at {connection.url} is not ready: {error}", "see `/readyz` and its log")
    return fine("http", f"a daemon runs at {connection.url} and is ready")


def _circuits(connection: Connection) -> list[Finding]:
    """Tell which services the daemon does not call just now."""
    try:
        clients = connection.get("/readyz")["clients"]
    except CommandError:
        return []
    return [
        doubtful(
            f"client {client['name']}",
            f"the circuit is {client['state']} after {client['failures']} failures; {client['rejected']} calls refused",
            "look at that service; the daemon tries again by itself",
        )
        for client in clients
        if client["state"] != "closed"
    ]


async def _check_open(store: Store) -> list[Finding]:
    head = await store.log.head()
    await store.cursors.save(CURSOR, head)
    version = await store.schema.schema_version() if store.schema is not None else 0
    found = [fine("store", f"{store.url} can be read and written; schema {version}, {head} positions")]
    newest = await store.index.executions(ExecutionFilter(limit=1))
    ahead = newest[0].updated_at - datetime.now(UTC) if newest else timedelta(0)
    if ahead > CLOCK_SKEW:
        detail = f"the newest execution is from {ahead} in the future"
        found.append(broken("clock", detail, "set this machine's clock, by NTP say"))
    else:
        found.append(fine("clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"))
    stuck = await store.index.without_cause(limit=10)
    return [
        *found,
        *(broken("executions", f"{each} waits for nothing recorded", f"`sagad resume {each}`") for each in stuck),
    ]
