"""`[retention]`: which rule counts, and what is said about rules that cannot work."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from daemon.core.errors import Misconfigured
from daemon.settings import load_settings, settings_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.problems import Problem

FILE = Path("/etc/sagad/sagad.toml")
RULES = """
[retention]
archive = "file:///var/archive/"

[[retention.rules]]
workflow = "orders*"
status = ["completed"]
keep = "30d"

[[retention.rules]]
keep = "90d"
archive = false
"""


def problems_of(text: str) -> Sequence[Problem]:
    with pytest.raises(Misconfigured) as caught:
        settings_from(tomllib.loads(text), {}, file=FILE)
    return caught.value.problems


def test_the_first_rule_that_fits_counts() -> None:
    retention = settings_from(tomllib.loads(RULES), {}, file=FILE).retention
    first, second = retention.rules
    assert (retention.archive, first.age, first.archive) == ("file:///var/archive", timedelta(days=30), True)
    assert retention.rule_for("orders-eu", "completed") is first
    assert retention.rule_for("orders-eu", "failed") is second
    assert retention.rule_for("other", "completed") is second


def test_without_rules_nothing_goes() -> None:
    assert settings_from({}, {}).retention.rule_for("orders", "completed") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[retention.rules]]\nkeep = "30"\narchive = false', "[retention.rules.1] keep: must be a length of time"),
        ("[[retention.rules]]\narchive = false", "[retention.rules.1] keep: is missing"),
        ('[[retention.rules]]\nkeep = "1d"\nstatus = ["done"]\narchive = false', "[retention.rules.1] status: must be"),
        ('[[retention.rules]]\nkeep = "1d"\nkep = 1\narchive = false', "[retention.rules.1] kep: there is no such key"),
        ('[retention]\nrules = "x"', "[retention.rules]: must be tables"),
        ("[retention]\nrules = [1]", "[retention.rules.1]: must be a table"),
        ('[[retention.rules]]\nkeep = "1d"', "[retention] archive: is missing: there are rules that archive"),
        ('[retention]\narchive = "archive"', "[retention] archive: must be file:///an/absolute/folder or s3://bucket"),
        ('[retention]\narchive = "s3://"', "[retention] archive: must be file:///an/absolute/folder or s3://bucket"),
        ('[retention]\ns3_endpoint = "http://x"', "[retention] s3_endpoint: has no effect"),
        ('[[storage.quotas]]\nworkflow = "w"', "[storage.quotas.1] bytes: is missing"),
        ('[[storage.quotas]]\nbytes = 1\npolicy = "evict"', "[storage.quotas.1] policy: must be one of warn, compress"),
        ('[[storage.quotas]]\nbytes = 1\npolicy = "external"', "[storage] external: is missing: there are quotas with"),
        ('[storage]\nexternal = "s3:/x"', "[storage] external: must be file:///an/absolute/folder or s3://bucket"),
        ('[storage]\ns3_endpoint = "http://x"', "[storage] s3_endpoint: has no effect"),
        ("[retention]\ninterval_s = 0", "[retention] interval_s: must be a number from 1"),
    ],
)
def test_what_cannot_work_is_told_with_its_key(text: str, said: str) -> None:
    assert any(problem.message.startswith(said) for problem in problems_of(text)), problems_of(text)


def test_a_rule_is_told_with_its_line(tmp_path: Path) -> None:
    """The number counts the tables, and the line is the one of the key."""
    (tmp_path / "sagad.toml").write_text(RULES.replace('"90d"', '"90 d"'))
    with pytest.raises(Misconfigured) as caught:
        load_settings(tmp_path / "sagad.toml", {})
    [problem] = caught.value.problems
    assert (problem.line, problem.message.startswith("[retention.rules.2] keep")) == (11, True)
