"""How long the executions of a workflow stay after their end, as its definition says it.

Comes from: `parsing`; daemon/runtime/expiry, which reads stored documents. Goes to: `definition`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from daemon.core.durations import DurationError, parse_duration
from daemon.core.parsing_retry import read_duration
from daemon.core.schema_parts import mapping, ref, yes_no

if TYPE_CHECKING:
    from daemon.core.problems import Findings

ENDS = ("completed", "failed", "cancelled")

RETENTION = mapping(
    "How long executions stay after their end, by how they have ended; those of which nothing is said stay. A rule in"
    " the settings that names the workflow counts before it, one for all workflows after it.",
    {
        **{end: ref("duration", f"How long those stay that have {end}: `30d`.") for end in ENDS},
        "archive": yes_no(
            "Whether they are written to the archive of the settings before they are deleted; without one they stay.",
            default=True,
        ),
    },
)


class RetentionDefinition(Struct, frozen=True, kw_only=True):
    """What a definition says."""

    keep: Mapping[str, timedelta]
    """By status; those of other statuses stay."""
    archive: bool = True


class _Document(Struct):
    retention: Raw = Raw()


_document_of = msgspec.json.Decoder(_Document).decode


def parse_retention(given: Mapping[str, Any] | None, findings: Findings) -> RetentionDefinition | None:
    """Read what the schema has found to be sound; report what makes no sense."""
    if given is None:
        return None
    read = {end: read_duration(given[end], ("retention", end), findings) for end in ENDS if end in given}
    if not given.keys() & set(ENDS):
        hint = f"say how long, by status: {', '.join(ENDS)}"
        findings.error("retention lets nothing go", ("retention",), hint=hint)
    keep = {end: age for end, age in read.items() if age is not None}
    return RetentionDefinition(keep=keep, archive=given.get("archive", True))


def retention_in(document: bytes) -> RetentionDefinition | None:
    """Return what a stored document says, sound when it was new; None when it says nothing that can be read."""
    try:
        text = _document_of(document).retention
        given = msgspec.json.decode(text) if text else {}
        keep = {end: parse_duration(given[end]) for end in ENDS if end in given}
        return RetentionDefinition(keep=keep, archive=given.get("archive") is not False) if keep else None
    except (msgspec.DecodeError, DurationError, TypeError, AttributeError):
        return None
