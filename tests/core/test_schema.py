"""The published schema: it explains everything, and accepts what the daemon accepts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from daemon.core.errors import Misconfigured
from daemon.core.schema import definition_schema
from daemon.core.trigger_schemas import KINDS
from daemon.nodes import builtin_node_types
from daemon.runtime.documents import read_documents
from tests.support.definitions import WHOLE, changed_documents, compiler
from triggers.kafka import KafkaSettings
from triggers.memory import MemorySettings
from triggers.rabbitmq import RabbitSettings
from triggers.schedule import ScheduleSettings
from triggers.webhook import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = definition_schema(builtin_node_types())
EXAMPLES = sorted((Path(__file__).parents[2] / "deploy" / "examples").rglob("workflow*.yaml"))
ADAPTERS: dict[str, type[msgspec.Struct]] = {
    "kafka": KafkaSettings,
    "memory": MemorySettings,
    "rabbitmq": RabbitSettings,
    "schedule": ScheduleSettings,
    "webhook": WebhookSettings,
}


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every property of every object in a schema, with its path."""
    if isinstance(schema, list):
        for each in schema:
            yield from properties(each, path)
    elif isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            yield f"{path}.{name}", inner
        for key, inner in schema.items():
            yield from properties(inner, f"{path}.{key}" if key not in ("properties", "anyOf") else path)


def test_it_is_a_json_schema() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_property_is_described() -> None:
    found = dict(properties(SCHEMA))
    assert len(found) > 100
    assert [path for path, inner in found.items() if not inner.get("description")] == []


def test_every_node_type_and_kind_of_trigger_is_in_it() -> None:
    assert {f"{name}_node" for name in builtin_node_types()} <= SCHEMA["$defs"].keys()
    assert {f"{kind}_trigger" for kind in KINDS} <= SCHEMA["$defs"].keys()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_it_accepts_the_examples(path: Path) -> None:
    documents, _ = read_documents(path.read_text(), str(path))
    for document in documents:
        jsonschema_rs.validate(SCHEMA, document.value)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(changed_documents())
def test_it_accepts_what_the_daemon_accepts(document: Any) -> None:
    try:
        compiler().load_text(msgspec.json.encode(document).decode(), "x.json")
    except Misconfigured:
        return
    jsonschema_rs.validate(SCHEMA, document)


def test_it_refuses_what_has_the_wrong_structure() -> None:
    validator = jsonschema_rs.validator_for(SCHEMA)
    assert validator.is_valid(WHOLE)
    for change in ({"nodes": {"a": {"tusk": 1}}}, {"triggers": [{"name": "x"}]}, {"colour": 1}, {"timeout": 3}):
        assert not validator.is_valid({**WHOLE, **change})


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_triggers_are_those_of_the_adapters(kind: str) -> None:
    """The schema stands in the core, which knows no adapter: so the two are compared here."""
    described = KINDS[kind].schema
    fields = {field.name: field for field in msgspec.structs.fields(ADAPTERS[kind])}
    assert set(described["properties"]) == set(fields)
    assert set(described["required"]) == {name for name, field in fields.items() if field.required}
    for name, inner in described["properties"].items():
        if "default" in inner:
            assert inner["default"] == fields[name].default
