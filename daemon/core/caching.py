"""The result cache's part in a decision: the key of a step, and a hit.

A key is rendered when the step begins, and recorded as a hash: the shell looks it up before it runs the handler. A hit
settles the step as a result does, and is an event of its own. It is never owed a compensation, since a node has either
a cache or a compensation: a lost attempt may have taken effect before another one found the result, and nothing in the
log would tell.

Comes from: `walk`, `decide`. Goes to: `draft`; by the recorded key, daemon/runtime/result_cache.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from daemon.core import events as e
from daemon.core.parsing_retry import read_duration
from daemon.core.plan import PlannedCache
from daemon.core.templates import TemplateError, compile_template
from daemon.core.values import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.commands import CompleteStep
    from daemon.core.definition import Definition, NodeDefinition
    from daemon.core.draft import Draft
    from daemon.core.node import NodeType
    from daemon.core.plan import PlannedNode
    from daemon.core.problems import Findings, Path
    from daemon.core.result_events import Origin


def check_cache(
    node_id: str, node_type: NodeType, given: Mapping[str, Any], path: Path, findings: Findings
) -> Mapping[str, Any] | None:
    """Return what a node says of its cache, the time to live read; None where it says nothing, or nothing usable."""
    if "cache" not in given:
        return None
    path = (*path, "cache")
    if node_type.subflow is not None:
        hint = "put it on the steps of the other workflow"
        findings.error(f"a `{node_type.name}` starts an execution each time", path, node=node_id, hint=hint)
    if "compensate" in given:
        message = "a node with a compensation cannot have a cache: a result of another step is not this step's effect"
        findings.error(message, path, node=node_id, hint="take one of the two out")
    ttl = read_duration(given["cache"]["ttl"], (*path, "ttl"), findings, node=node_id)
    if ttl is None:
        return None
    if not ttl:
        hint = "take `cache` out, or write how long a result may be used: 1h"
        findings.error("the result would be of no use to anybody", (*path, "ttl"), node=node_id, hint=hint)
    return {**given["cache"], "ttl": ttl}


def read_cache(node: NodeDefinition, definition: Definition, findings: Findings) -> PlannedCache | None:
    """Compile what a node says of its cache; None where it says nothing, or has a mistake."""
    if node.cache is None:
        return None
    try:
        key = compile_template(node.cache["key"])
    except TemplateError as error:
        findings.template(error, (*node.path, "cache", "key"), node=node.id)
        return None
    name = node.cache.get("name", f"{definition.workflow}/{node.id}")
    return PlannedCache(name=name, key=key, ttl=node.cache["ttl"])


def key_of(node: PlannedNode, scope: Mapping[str, object], subject: str = "") -> str:
    """Return the hash of the step's key; empty for none. Raises `EvaluationError`.

    Executions that hold the data of a `subject` share results with others of the same subject only.
    """
    if node.cache is None:
        return ""
    value = node.cache.key.render(scope).value
    if value is None:
        return ""
    return hashed({"subject": subject, "key": value}) if subject else hashed(value)


def hashed(value: object) -> str:
    """Return the hash of a key: SHA-256, hex, of its JSON. Equal values have equal hashes."""
    return sha256(bytes(to_json(value))).hexdigest()


def use_cached(draft: Draft, command: CompleteStep, origin: Origin, *, cache: str, key: str) -> None:
    """Settle the step by the result of another."""
    draft.emit(
        e.StepCached(
            address=command.address,
            attempt=command.attempt,
            output=command.output,
            port=command.port,
            to=command.to,
            cache=cache,
            key=key,
            origin=origin,
            at=draft.at,
        )
    )
