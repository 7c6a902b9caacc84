"""Settings: what is read, from where, and what is said about what cannot work."""

from __future__ import annotations

import pickle
import tomllib
from base64 import b64encode
from pathlib import Path

import pytest

from daemon.core.errors import Misconfigured
from daemon.nodes.gates import GateRule
from daemon.runtime.services import outbound_policy
from daemon.runtime.shared_limits import shared_limits
from daemon.settings import PARTS, Settings, load_settings, settings_from
from daemon.settings_encryption import Encryption

FILE = Path("/etc/sagad/sagad.toml")


def problems_of(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        settings_from(tomllib.loads(text), environ or {}, file=FILE)
    return [str(problem) for problem in caught.value.problems]


def test_without_file_and_variables_everything_has_a_default() -> None:
    assert settings_from({}, {}) == Settings()


def test_the_environment_goes_before_the_file_and_the_file_before_the_default() -> None:
    document = {"http": {"port": 9000, "host": "127.0.0.2"}}
    settings = settings_from(document, {"SAGAD_HTTP_PORT": "9001", "SAGAD_HTTP_TOKEN": ""}, file=FILE)
    assert (settings.http.port, settings.http.host, settings.http.token) == (9001, "127.0.0.2", None)


def test_every_key_of_every_part_is_read_from_its_variable() -> None:
    """Whole numbers, lists, switches, paths and words: the text form of each type is understood."""
    environ = {
        "SAGAD_KAFKA_BOOTSTRAP": "a:9092, b:9092",
        "SAGAD_KAFKA_TLS": "yes",
        "SAGAD_KAFKA_CA_FILE": "ca.pem",
        "SAGAD_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "SAGAD_LIMITS_GRACE_S": "2.5",
        "SAGAD_LIMITS_MAX_RUNNING_STEPS": "7",
        "SAGAD_WORKFLOWS_PATHS": "flows",
        "SAGAD_LOG_FORMAT": "console",
    }
    settings = settings_from({}, environ, file=FILE)
    assert settings.kafka.bootstrap == ("a:9092", "b:9092")
    assert settings.kafka.tls is True
    assert settings.kafka.ca_file == Path("ca.pem")
    assert settings.kafka.sasl_mechanism == "SCRAM-SHA-512"
    assert (settings.limits.grace_s, settings.limits.max_running_steps) == (2.5, 7)
    assert settings.workflows.paths == (Path("flows"),)
    assert settings.log.format == "console"


def test_relative_paths_of_the_file_are_relative_to_the_file() -> None:
    text = '[store]\nurl = "sqlite:///data/sagad.db"\n[workflows]\npaths = ["flows"]\nhandlers = ["h.py", "shop.h"]'
    settings = settings_from(tomllib.loads(text), {}, file=FILE)
    assert settings.store.url == "sqlite:////etc/sagad/data/sagad.db"
    assert settings.workflows.paths == (Path("/etc/sagad/flows"),)
    assert settings.workflows.handlers == ("/etc/sagad/h.py", "shop.h")


def test_the_default_database_stands_beside_the_file() -> None:
    assert settings_from({}, {}, file=FILE).store.url == "sqlite:////etc/sagad/sagad.db"
    assert settings_from({}, {}, file=Path("sagad.toml")).store.url == "sqlite:///sagad.db"
    assert settings_from({}, {"SAGAD_STORE_URL": "sqlite:///x.db"}, file=FILE).store.url == "sqlite:///x.db"


def test_absolute_and_other_store_urls_stay_as_they_are() -> None:
    for url in ("sqlite:////var/sagad.db", "postgresql://u:p@db/sagad", "memory://"):
        assert settings_from({"store": {"url": url}}, {}, file=FILE).store.url == url


def test_all_problems_are_told_at_once_with_hints() -> None:
    problems = problems_of(
        '[http]\nprot = 1\nport = "x"\n[stroe]\nurl = ""\n[log]\nlevel = "loud"\n[limits]\ngrace_s = -1',
        {"SAGAD_KAFKA_BOOTSTRAPS": "x", "SAGAD_RABBITMQ_TLS_X": "1"},
    )
    text = "\n".join(problems)
    assert len(problems) == 7
    assert "/etc/sagad/sagad.toml: [http] prot: there is no such key (did you mean 'port'?)" in problems
    assert "[http] port: must be a whole number, not 'x'" in text
    assert "[stroe]: there is no such part (did you mean 'store'?)" in text
    assert "must be one of debug, info, warning, error, not 'loud'" in text
    assert "[limits] grace_s: must be a number from 0 to 3600, not -1" in text
    assert "SAGAD_KAFKA_BOOTSTRAPS: nothing reads this variable (did you mean 'SAGAD_KAFKA_BOOTSTRAP'?)" in text
    assert "SAGAD_RABBITMQ_TLS_X: nothing reads this variable" in text


def test_variables_of_other_programs_are_left_alone() -> None:
    assert settings_from({}, {"SAGAD_TEST_POSTGRES": "x", "SAGAD_CONFIG": "y", "PATH": "/bin"}) == Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "sagad.example"])  # noqa: S104  refused without token
def test_another_address_than_loopback_is_refused_without_a_token(host: str) -> None:
    assert "at least 16 characters" in problems_of(f'[http]\nhost = "{host}"')[0]
    assert "at least 16 characters" in problems_of(f'[http]\nhost = "{host}"', {"SAGAD_HTTP_TOKEN": "short-one"})[0]
    settings = settings_from({"http": {"host": host}}, {"SAGAD_HTTP_TOKEN": "0123456789abcdef"})
    assert settings.http.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert settings_from({"http": {"host": host}}, {}).http.token is None


def test_secrets_are_in_no_repr_and_in_no_message() -> None:
    secret = "hunter2-hunter2-hunter2"
    document = {
        "store": {"url": f"postgresql://u:{secret}@db/x", "cipher_key": secret},
        "http": {"token": secret},
        "kafka": {"username": "u", "password": secret, "key_password": secret},
        "rabbitmq": {"url": f"amqp://u:{secret}@mq"},
    }
    assert secret not in repr(settings_from(document, {}))
    wrong = {"SAGAD_RABBITMQ_URL": f"http://u:{secret}@mq", "SAGAD_STORE_URL": f"mysql://u:{secret}@db"}
    found = problems_of("[http]\ntoken = 5", wrong)
    assert len(found) == 3
    assert secret not in "".join(found)


def test_what_belongs_together_is_checked_together() -> None:
    text = '[kafka]\nusername = "u"\nca_file = "x"\nkey_file = "k"\n[store]\ncipher_topic = "a:B"\n'
    text += '[cache]\nbackend = "redis"'
    assert [problem.split("] ")[1].split(":")[0] for problem in problems_of(text)] == [
        "password",
        "tls",
        "cert_file",
        "url",
        "cipher_key",
    ]


def test_encryption_settings_have_the_librarys_names() -> None:
    store = settings_from({"store": {"compressor_topic": "zlib", "cipher_key": "abc"}}, {}).store
    assert store.codec_settings() == {"COMPRESSOR_TOPIC": "zlib", "CIPHER_KEY": "abc"}


def test_another_process_is_given_the_keys_and_makes_its_own_ciphers() -> None:
    """Whether or not they were used here: `verify --all`, `check` and `replay` work in several processes."""
    key = b64encode(bytes(32)).decode()
    encryption = Encryption(keys=(key,), at_rest_keys=(key,))
    assert encryption.keyring is not None
    assert encryption.at_rest is not None
    there = pickle.loads(pickle.dumps(encryption))  # noqa: S301  our own
    assert there == encryption
    assert there.at_rest.ids == encryption.at_rest.ids


def test_problems_of_a_file_name_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "sagad.toml"
    file.write_text('# mine\n[store]\nurl = "memory://"\n\n[http]\n  port = 99999\n[oops]\n')
    with pytest.raises(Misconfigured) as caught:
        load_settings(file, {})
    places = {(problem.path[0], problem.line, problem.column) for problem in caught.value.problems}
    assert places == {("http", 6, 3), ("oops", 7, 1)}


def test_broken_toml_names_the_place(tmp_path: Path) -> None:
    file = tmp_path / "sagad.toml"
    file.write_text("[http]\nport = = 1\n")
    with pytest.raises(Misconfigured) as caught:
        load_settings(file, {})
    assert str(caught.value) == f"{file}:2:8: Invalid value"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"cannot read .*nope\.toml: No such file"):
        load_settings(tmp_path / "nope.toml", {})


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "sagad.toml"
    file.write_text('[secrets]\ndir = "secrets"\n')
    settings = load_settings(file, {})
    assert (settings.file, settings.secrets.dir) == (file, tmp_path / "secrets")


def test_every_key_is_documented_by_a_part_with_a_docstring() -> None:
    assert all(cls.__doc__ for cls in PARTS.values())


def test_limits_that_workflows_share_are_tables_of_their_own() -> None:
    """Each has its name; what it leaves out has a default."""
    text = '[throttle.payments]\nconcurrency = 10\nhandlers = ["payments.*"]\n[throttle.mail]\nrate = 5\nper = "1m"'
    settings = settings_from(tomllib.loads(text), {}, file=FILE)
    assert (settings.throttle["payments"].concurrency, settings.throttle["payments"].handlers) == (10, ("payments.*",))
    mail = shared_limits(settings)["mail"]
    assert (mail.most, mail.interval_us, mail.burst) == (None, 12_000_000, 1)


def test_what_is_wrong_with_a_shared_limit_is_told() -> None:
    text = '[throttle]\nx = 1\n[throttle.a]\nconcurency = 1\n[throttle.b]\nrate = 0\nper = "soon"'
    told = "\n".join(problems_of(text))
    for part in (
        "there is no such key",
        "did you mean",
        "[throttle] a: limits nothing",
        "a number from 1",
        "a length of time",
        "must be a table",
    ):
        assert part in told, (part, told)
    assert "must be tables" in problems_of("throttle = 1")[0]


def test_connections_have_names_and_variables_of_their_own() -> None:
    text = (
        '[connections.orders]\nurl = "postgresql://app:{{ secret.DB }}@db/orders"\nmax_connections = 3\n'
        '[connections.stock-2]\nurl = "sqlite:///stock.db"'
    )
    environ = {"SAGAD_CONNECTIONS_STOCK_2_TIMEOUT_S": "2.5"}
    connections = settings_from(tomllib.loads(text), environ, file=FILE).connections
    assert connections["orders"].max_connections == 3
    assert (connections["stock-2"].url, connections["stock-2"].timeout_s) == ("sqlite:////etc/sagad/stock.db", 2.5)
    assert "secret" not in repr(connections)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[connections.a]\nread_only = true", "[connections.a] url: is missing"),
        ('[connections.a]\nurl = "mysql://x/y"', "[connections.a] url: must be a URL that begins with postgresql://"),
        ('[connections.a]\nurl = "postgresql://{{ env.X }}@db/y"', "nothing but {{ secret.NAME }}"),
        ('[connections.a]\nurl = "postgresql://{{ secret.X @db/y"', "must be a URL: `{{` has no `}}`"),
        ('[connections.a]\nurl = "sqlite:///a.db"\nsize = 1', "[connections.a] size: there is no such key"),
        ('[connections."a b"]\nurl = "sqlite:///a.db"', "the name must be of letters, digits, _ and -"),
        ("connections = 1", "[connections]: must be tables"),
        ("[connections]\na = 1", "[connections.a]: must be a table"),
    ],
)
def test_connections_that_cannot_be_are_told(text: str, problem: str) -> None:
    assert any(problem in each for each in problems_of(text)), problems_of(text)


def test_a_variable_of_a_connection_that_nothing_reads_is_told() -> None:
    text = '[connections.a]\nurl = "sqlite:///a.db"'
    problems = problems_of(text, {"SAGAD_CONNECTIONS_A_URI": "x"})
    assert [each for each in problems if "nothing reads this variable" in each]


def test_hosts_have_limits_by_name_or_pattern() -> None:
    text = (
        '[outbound]\nallow_private = true\n[outbound.clients."api.example.com"]\nrate = "50/s"\nmax_connections = 4\n'
        '[outbound.clients."*.example.com"]\ncircuit_failures = 0'
    )
    outbound = settings_from(tomllib.loads(text), {}, file=FILE).outbound
    assert (outbound.clients["api.example.com"].rate, outbound.clients["api.example.com"].max_connections) == (
        "50/s",
        4,
    )
    policy = outbound_policy(outbound)
    assert policy.gates["api.example.com"] == GateRule(calls=50, per_s=1, at_once=4, failures=5, open_s=30)
    assert policy.gates["*.example.com"] == GateRule(failures=None, open_s=30)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[outbound.clients."a"]\nrate = "fast"', "must be a rate such as 50/s"),
        ('[outbound.clients."a"]\nrate = "0.5/s"', "must be a rate such as 50/s"),
        ('[outbound.clients."a b"]\nrate = "1/s"', "the name must be of a host's name, perhaps with *"),
        ("[outbound]\nclients = 3", "must be tables"),
        ('[workers]\nhandlers = ["a.b"]', "must be a handler and its queue"),
        ('[workers]\nhandlers = ["a.b=x y"]', "must be letters, digits"),
        ('[workers]\nprefix = "a b"', "must be letters, digits"),
        ('[workers]\nbroker = "nats"', "must be one of kafka, rabbitmq, memory"),
    ],
)
def test_limits_and_workers_that_cannot_be_are_told(text: str, problem: str) -> None:
    assert any(problem in each for each in problems_of(text)), problems_of(text)
