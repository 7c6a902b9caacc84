"""The daemon's settings: one frozen dataclass for each part, read once, passed on as values.

Each field is a key of `sagad.toml` under its part, and an environment variable `SAGAD_<PART>_<KEY>` (lists with
commas). The environment goes before the file, the file before the default; an empty variable counts as not set.
Relative paths in the file, and those that are defaults, are relative to the file's folder; those in variables to the
working directory.

Comes from: `sagad.toml` and the environment, by way of `settings_reader`. Goes to: daemon/main, daemon/cli.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping  # noqa: TC003  the reader resolves the annotations at run time
from dataclasses import dataclass, field, fields, is_dataclass
from ipaddress import ip_address
from pathlib import Path  # noqa: TC003  the reader resolves the annotations at run time
from typing import Annotated, Any, Literal

from msgspec.structs import replace

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem
from daemon.settings_encryption import Encryption, check_encryption
from daemon.settings_outside import Connection, Outbound, Workers
from daemon.settings_people import Approvals, Smtp, check_people
from daemon.settings_reader import (
    Between,
    Duration,
    ModuleOrFile,
    Reader,
    Url,
)
from daemon.settings_retention import Retention, Storage, check_retention, check_storage

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, kw_only=True)
class Store:
    """`[store]`: where the event log is. The last three are the eventsourcing library's settings of these names."""

    url: Annotated[str, Url("memory", "sqlite", "postgresql", "postgres")] = field(
        default="sqlite:///sagad.db", repr=False
    )
    """`sqlite:///file.db`, `sqlite:////absolute/file.db`, `postgresql://…`, or `memory://`, which forgets."""
    auto_migrate: bool = True
    """Bring an older schema up to date at start; else `sagad migrate` does."""
    compressor_topic: str | None = None
    """`zlib`, say; None stores events as they are."""
    cipher_topic: str | None = None
    """None is `eventsourcing.cipher:AESCipher` when there is a key."""
    cipher_key: str | None = field(default=None, repr=False)
    """Base64 of 16, 24 or 32 bytes; None stores events in the clear."""

    def codec_settings(self) -> Mapping[str, str]:
        """Return the settings of encryption and compression under the library's names."""
        named = {
            "COMPRESSOR_TOPIC": self.compressor_topic,
            "CIPHER_TOPIC": self.cipher_topic,
            "CIPHER_KEY": self.cipher_key,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, kw_only=True)
class Http:
    """`[http]`: API and webhooks."""

    host: str = "127.0.0.1"
    """Any other than a loopback address needs a token."""
    port: Annotated[int, Between(0, 65535)] = 8750
    """0 lets the system choose."""
    token: str | None = field(default=None, repr=False)
    """Bearer token for everything but webhooks and `/healthz`; None lets every local user in."""
    max_body_bytes: Annotated[int, Between(1024, 1 << 30)] = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Kafka:
    """`[kafka]`; without `bootstrap` there is no Kafka."""

    bootstrap: tuple[str, ...] = ()
    """`host:port`, one or more."""
    client_id: str = "sagad"
    tls: bool = False
    ca_file: Path | None = None
    """Authorities to trust instead of the system's; PEM, like the two below."""
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    verify_hostname: bool = True
    sasl_mechanism: SaslMechanism = "PLAIN"
    username: str | None = None
    """With it, SASL is used."""
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class RabbitMQ:
    """`[rabbitmq]`; without `url` there is no RabbitMQ."""

    url: Annotated[str, Url("amqp", "amqps")] | None = field(default=None, repr=False)
    """`amqp://user:password@host:5672/vhost`; `amqps://` for TLS."""
    ca_file: Path | None = None
    """Authorities to trust instead of the system's; PEM, like the two below."""
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    verify_hostname: bool = True


@dataclass(frozen=True, kw_only=True)
class Workflows:
    """`[workflows]`: what is run."""

    paths: tuple[Path, ...] = ()
    """Definition files, and folders of them; Python files (`flow.py`, `flow.py:name`) by name alone."""
    handlers: tuple[Annotated[str, ModuleOrFile()], ...] = ()
    """Python modules, and `.py` files, in which handlers are declared."""
    env: tuple[str, ...] = ()
    """Environment variables that expressions may read."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """`[secrets]`: where `secret.NAME` is looked up besides the environment."""

    dir: Path | None = None
    """A folder with one file for each secret, as container platforms mount them."""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """`[daemon]`: this process among others that work on the same store."""

    name: str | None = None
    """What people call it; None is `host:pid`. Two may have the same: nothing depends on it."""
    lease_ttl_s: Annotated[float, Between(1, 3600)] = 10.0
    """After this long without a sign of life others take its work. One that has died they see sooner."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`[limits]`: what one daemon takes on."""

    max_active_executions: Annotated[int, Between(1, 1_000_000)] = 1000
    """Executions with work in flight; beyond it brokers are held back."""
    max_running_steps: Annotated[int, Between(1, 100_000)] = 100
    """Handlers at work at once."""
    max_threads: Annotated[int, Between(1, 10_000)] = 32
    """Of these, `def` handlers: each has a thread."""
    max_processes: Annotated[int, Between(1, 1000)] = 2
    """Of these, `cpu=True` handlers: each has a process."""
    grace_s: Annotated[float, Between(0, 3600)] = 10.0
    """How long a stop waits for running handlers before it cancels them."""
    payload_threshold_bytes: Annotated[int, Between(1024, 1 << 30)] = 65536
    """Larger values are stored beside the log, once each."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """`[cache]`: where results of steps are kept for other steps."""

    backend: Literal["store", "memory", "redis"] = "store"
    """`store`: in the log's database, for all daemons; `memory`: in each daemon by itself, and gone with it; `redis`:
    for all daemons that name the same; needs `pip install 'sagad[redis]'`."""
    url: Annotated[str, Url("redis", "rediss", "unix")] | None = field(default=None, repr=False)
    """Of Redis: `redis://:password@host:6379/0`; `rediss://` for TLS."""
    max_result_bytes: Annotated[int, Between(1, 1 << 30)] = 1024 * 1024
    """A larger output is not kept."""
    memory_bytes: Annotated[int, Between(1024, 1 << 40)] = 64 * 1024 * 1024
    """What `memory` keeps at most; what was not used for longest goes first."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """`[streams]`: chunks that steps give out while they are at work."""

    keep_s: Annotated[float, Between(0, 365 * 86400)] = 3600.0
    """How long chunks can be read after their step has ended; then its output is what remains."""


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """`[dead_letters]`: messages that could not be processed, which the store keeps to be given in again."""

    keep_s: Annotated[float, Between(60, 3650 * 86400)] = 30 * 86400.0
    """How long after it was set aside last one is kept."""
    keep_most: Annotated[int, Between(1, 10_000_000)] = 100_000
    """How many are kept; of more, the oldest go."""


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """`[snapshots]`: cached states, so that fewer events are read; for workflows that do not say themselves."""

    every: Annotated[int, Between(0, 1_000_000)] = 200
    """Events of an execution between two; 0 for none."""
    interval_s: Annotated[float, Between(0, 365 * 86400)] = 0.0
    """Time between two of an execution that goes on; 0 for none."""
    keep: Annotated[int, Between(1, 1000)] = 3
    """How many of an execution are kept, the newest; those with a name are kept beside them."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """`[archive]`: executions outside of the store."""

    head_keys: tuple[str, ...] = field(default=(), repr=False)
    """The first signs the heads that `sagad verify --head` prints, all are accepted; none signs nothing."""
    head_private_key: str | None = field(default=None, repr=False)
    """It signs them instead: Ed25519, as PEM. Its public half can check heads, and not make them."""
    head_private_key_file: Path | None = None
    """The same in a file."""
    head_public_keys: tuple[Path, ...] = ()
    """Files with the public halves of keys whose heads are accepted; PEM."""
    max_import_bytes: Annotated[int, Between(1024, 2**50)] = 2**30
    """Of a file that is imported over HTTP, as it is sent."""


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """`[tracing]`; without `otlp_endpoint` no spans are made."""

    otlp_endpoint: Annotated[str, Url("http", "https")] | None = None
    """Where spans go by OTLP over HTTP: `http://localhost:4318/v1/traces`."""
    service_name: str = "sagad"


@dataclass(frozen=True, kw_only=True)
class Logging:
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


@dataclass(frozen=True, kw_only=True)
class Throttle:
    """`[throttle.NAME]`: a limit that workflows share, on all daemons of the store; each should say the same."""

    concurrency: Annotated[int, Between(1, 1_000_000)] | None = None
    """How many steps may be at work at once."""
    rate: Annotated[int, Between(1, 1_000_000)] | None = None
    """How many may begin within `per`, evenly spread."""
    per: Annotated[str, Duration()] = "1s"
    burst: Annotated[int, Between(1, 1_000_000)] = 1
    """How many may begin at once after a quiet time."""
    node_types: tuple[str, ...] = ()
    """It holds for all nodes of these types, beside those that name it."""
    handlers: tuple[str, ...] = ()
    """And for all with these handlers: names, with `*` for any run of characters."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All parts."""

    store: Store = Store()
    http: Http = Http()
    kafka: Kafka = Kafka()
    rabbitmq: RabbitMQ = RabbitMQ()
    workflows: Workflows = Workflows()
    secrets: Secrets = Secrets()
    daemon: Daemon = Daemon()
    limits: Limits = Limits()
    cache: Cache = Cache()
    streams: Streams = Streams()
    dead_letters: DeadLetters = DeadLetters()
    snapshots: Snapshots = Snapshots()
    archive: Archive = Archive()
    encryption: Encryption = Encryption()  # noqa: RUF009  it is frozen
    retention: Retention = Retention()  # noqa: RUF009  it is frozen
    storage: Storage = Storage()  # noqa: RUF009  it is frozen
    tracing: Tracing = Tracing()
    log: Logging = Logging()
    outbound: Outbound = Outbound()  # noqa: RUF009  it is frozen
    approvals: Approvals = Approvals()  # noqa: RUF009  it is frozen
    smtp: Smtp = Smtp()  # noqa: RUF009  it is frozen
    throttle: Mapping[str, Throttle] = field(default_factory=dict)
    """The limits that workflows share, by name."""
    workers: Workers = Workers()  # noqa: RUF009  it is frozen
    connections: Mapping[str, Connection] = field(default_factory=dict)
    file: Path | None = None
    """What they were read from; None when there was no file."""


PARTS: Mapping[str, type] = {part.name: type(part.default) for part in fields(Settings) if is_dataclass(part.default)}
"""The parts that have keys of their own."""
NAMED: Mapping[str, type] = {"throttle": Throttle, "connections": Connection}
"""The parts that have tables with names of the user's."""
SHORTEST_TOKEN = 16


def settings_from(document: Mapping[str, Any], environ: Mapping[str, str], *, file: Path | None = None) -> Settings:
    """Return the settings of a parsed `sagad.toml` and an environment. Pure.

    Raises `Misconfigured` with every problem; none shows a secret.
    """
    reader = Reader(document, environ, file=file)
    reader.unknown(PARTS, NAMED)
    parts: dict[str, Any] = {name: reader.part(name, cls) for name, cls in PARTS.items()}
    parts |= {name: reader.named(name, cls) for name, cls in NAMED.items()}
    settings = Settings(file=file, **parts)
    _check(settings, reader)
    if reader.problems:
        raise Misconfigured(reader.problems)
    return settings


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, if one is named, and the environment. Raises `Misconfigured`."""
    if path is None:
        return settings_from({}, environ)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        hint = "name another with --config or SAGAD_CONFIG"
        raise Misconfigured([Problem(message=f"cannot read {path}: {reason}", hint=hint)]) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (None, None)
        message = str(error)[: place.start()] if place else str(error)
        raise Misconfigured([Problem(message=message, file=str(path), line=line, column=column)]) from None
    try:
        return settings_from(document, environ, file=path)
    except Misconfigured as error:
        raise Misconfigured([_with_line(problem, text) for problem in error.problems]) from None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check(settings: Settings, reader: Reader) -> None:
    for name, limit in settings.throttle.items():
        if limit.concurrency is None and limit.rate is None:
            reader.report("throttle", name, "limits nothing", "give it `concurrency`, `rate`, or both")
    http, kafka, rabbitmq = settings.http, settings.kafka, settings.rabbitmq
    if not is_loopback(http.host) and len(http.token or "") < SHORTEST_TOKEN:
        reader.report(
            "http",
            "token",
            f"must have at least {SHORTEST_TOKEN} characters, because {http.host} can be reached from elsewhere",
            "set SAGAD_HTTP_TOKEN, or listen on 127.0.0.1",
        )
    if kafka.username is not None and kafka.password is None:
        reader.report("kafka", "password", "is missing: there is a username", "set SAGAD_KAFKA_PASSWORD")
    if kafka.ca_file is not None and not kafka.tls:
        reader.report("kafka", "tls", "must be true for ca_file to have an effect", "add tls = true")
    if rabbitmq.url is not None and rabbitmq.ca_file is not None and not rabbitmq.url.startswith("amqps://"):
        reader.report("rabbitmq", "url", "must begin with amqps:// for ca_file to have an effect")
    for part, tls in (("kafka", kafka), ("rabbitmq", rabbitmq)):
        if tls.key_file is not None and tls.cert_file is None:
            reader.report(part, "cert_file", "is missing: there is a key_file")
    if settings.cache.backend == "redis" and settings.cache.url is None:
        reader.report("cache", "url", "is missing: the backend is redis", "set SAGAD_CACHE_URL")
    if any(len(key) < SHORTEST_TOKEN for key in settings.archive.head_keys):
        reader.report("archive", "head_keys", f"must have at least {SHORTEST_TOKEN} characters each")
    check_encryption(settings.encryption, reader)
    if settings.encryption.at_rest_keys and settings.store.cipher_key is not None:
        reader.report("encryption", "at_rest_keys", "beside cipher_key in [store]: one of the two encrypts the store")
    check_retention(settings.retention, reader)
    check_storage(settings.storage, reader)
    check_people(settings.approvals, settings.smtp, reader, shortest=SHORTEST_TOKEN)
    if settings.store.cipher_topic and not settings.store.cipher_key:
        reader.report("store", "cipher_key", "is missing: there is a cipher_topic", "set SAGAD_STORE_CIPHER_KEY")


def _with_line(problem: Problem, text: str) -> Problem:
    """Add where in the file the key stands, as far as plain lines tell."""
    if problem.file is None or not problem.path:
        return problem
    part, *key = (re.escape(str(name)) for name in problem.path)
    rows, _, number = str(problem.path[0]).rpartition(".")
    if number.isdecimal():
        found_rows = list(re.finditer(rf"^\s*\[\[\s*{re.escape(rows)}\s*\]\]", text, re.MULTILINE))
        table = found_rows[int(number) - 1] if int(number) <= len(found_rows) else None
    else:
        table = re.search(rf"^\s*\[\s*{part}\s*\]|^\s*{part}\s*=", text, re.MULTILINE)
    if table is None:
        return problem
    end = re.compile(r"^\s*\[", re.MULTILINE).search(text, table.end())
    found = key and re.compile(rf"^\s*({key[0]})\s*=", re.MULTILINE).search(
        text, table.end(), end.start() if end else len(text)
    )
    start = found.start(1) if found else table.start() + len(table[0]) - len(table[0].lstrip())
    line_start = text.rfind("\n", 0, start) + 1
    return replace(problem, line=text.count("\n", 0, start) + 1, column=start - line_start + 1)
