"""Reports about many executions as JUnit XML, which CI pipelines read. Pure.

Comes from: `what_if`, `shadow_check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Case(NamedTuple):
    """One execution of which something is wrong."""

    workflow: str
    name: str
    kind: str
    message: str
    text: str


def suite(name: str, checked: int, cases: Sequence[Case], failed: Mapping[str, str]) -> str:
    """Return a suite in which each case is a failure, and each of `failed`, which could not be checked, an error."""
    root = ET.Element(
        "testsuite",
        name=name,
        tests=str(checked + len(failed)),
        failures=str(len(cases)),
        errors=str(len(failed)),
    )
    for each in cases:
        case = ET.SubElement(root, "testcase", classname=each.workflow, name=each.name)
        ET.SubElement(case, "failure", type=each.kind, message=each.message).text = each.text
    for execution_id, error in failed.items():
        case = ET.SubElement(root, "testcase", classname="sagad", name=execution_id)
        ET.SubElement(case, "error", message=error)
    return ET.tostring(root, encoding="unicode")
