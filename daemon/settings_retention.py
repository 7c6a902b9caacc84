"""Settings of retention: which executions are deleted how long after their end, and where they are archived before.

Comes from: `settings`, which reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path  # noqa: TC003  the reader resolves the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from daemon.core.durations import parse_duration
from daemon.settings_reader import Between, Duration, Url

if TYPE_CHECKING:
    from datetime import timedelta

    from daemon.settings_reader import Reader


EVERY = "*"
"""The pattern that fits all workflows."""


class ArchiveUrl:
    """A folder, `file:///var/archive`, or storage that speaks S3, `s3://bucket/prefix`."""

    def apply(self, value: str, _base: Path) -> str:
        """Check it."""
        parts = urlsplit(value)
        folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
        if not folder and not (parts.scheme == "s3" and parts.netloc):
            raise ValueError("file:///an/absolute/folder or s3://bucket/prefix")
        return value.rstrip("/")


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """`[[retention.rules]]`: executions that may go. The first that fits an execution counts for it.

    What the execution's own definition says under `retention` counts before a rule whose workflow is `*`.
    """

    workflow: str = EVERY
    """A name, with `*` for any run of characters."""
    status: tuple[Literal["completed", "failed", "cancelled"], ...] = ()
    """How they have ended; none: however."""
    keep: Annotated[str, Duration()]
    """How long after their end they stay: `30d`."""
    archive: bool = True
    """Whether they are written to the archive first, and read back from there."""

    @property
    def age(self) -> timedelta:
        """How long they stay."""
        return parse_duration(self.keep)

    def fits(self, workflow: str, status: str) -> bool:
        """Tell whether the rule is for such executions."""
        return fnmatchcase(workflow, self.workflow) and (not self.status or status in self.status)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """`[retention]`; without rules, here or in definitions, nothing is deleted."""

    archive: Annotated[str, ArchiveUrl()] | None = None
    """`file:///var/archive`, or `s3://bucket/prefix`, which needs `pip install 'sagad[s3]'`: its keys are found as by
    other programs, in variables, profiles, the machine's role."""
    s3_endpoint: Annotated[str, Url("http", "https")] | None = None
    """Of storage that is not Amazon's: `http://minio:9000`."""
    s3_region: str | None = None
    interval_s: Annotated[float, Between(1, 31 * 86400)] = 3600.0
    """Between two times of looking what may go."""
    batch: Annotated[int, Between(1, 10_000)] = 50
    """So many are worked off at a time."""
    pause_s: Annotated[float, Between(0, 3600)] = 0.5
    """Between two batches, for others that use the store."""
    rules: tuple[RetentionRule, ...] = field(default_factory=tuple)
    """In tables of their own."""

    def rule_for(self, workflow: str, status: str) -> RetentionRule | None:
        """Return the first rule that fits."""
        return next((rule for rule in self.rules if rule.fits(workflow, status)), None)


@dataclass(frozen=True, kw_only=True)
class Quota:
    """`[[storage.quotas]]`: how much the payloads of a workflow may take. The first that fits it counts."""

    workflow: str = "*"
    """A name, with `*` for any run of characters: each workflow that fits has as much for itself."""
    bytes: Annotated[int, Between(1, 1 << 60)]
    policy: Literal["warn", "compress", "external", "evict_oldest", "evict_lru", "fail"] = "warn"
    """What happens beyond it, besides a warning: nothing; payloads of executions that have ended are compressed,
    moved out of the database, or dropped, of the first to end at first, with `evict_lru` those that were not read for
    longest; or no execution of the workflow is started."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """`[storage]`: how much payloads may take, which are values too large for the log. Without quotas, anything."""

    interval_s: Annotated[float, Between(1, 86400)] = 60.0
    """Between two times of counting."""
    external: Annotated[str, ArchiveUrl()] | None = None
    """Where payloads go with the policy `external`: `file:///var/payloads`, or `s3://bucket/prefix`. All daemons, and
    all commands that read the store, must reach it. When it is another place, move the files there first."""
    s3_endpoint: Annotated[str, Url("http", "https")] | None = None
    """Of storage that is not Amazon's, as in `[retention]`."""
    s3_region: str | None = None
    quotas: tuple[Quota, ...] = field(default_factory=tuple)
    """In tables of their own."""

    def quota_for(self, workflow: str) -> Quota | None:
        """Return the first that fits."""
        return next((quota for quota in self.quotas if fnmatchcase(workflow, quota.workflow)), None)


def check_retention(retention: Retention, reader: Reader) -> None:
    """Report what does not go together."""
    if retention.archive is None and any(rule.archive for rule in retention.rules):
        message = "is missing: there are rules that archive"
        reader.report("retention", "archive", message, "name a folder or a bucket, or give the rules archive = false")
    if retention.s3_endpoint is not None and not (retention.archive or "").startswith("s3://"):
        reader.report("retention", "s3_endpoint", "has no effect: the archive is not s3://…")


def check_storage(storage: Storage, reader: Reader) -> None:
    """Report what does not go together."""
    if storage.external is None and any(quota.policy == "external" for quota in storage.quotas):
        message = "is missing: there are quotas with the policy external"
        reader.report("storage", "external", message, "name a folder or a bucket, or choose another policy")
    if storage.s3_endpoint is not None and not (storage.external or "").startswith("s3://"):
        reader.report("storage", "s3_endpoint", "has no effect: external is not s3://…")
