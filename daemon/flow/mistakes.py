"""What is wrong in a workflow's function, told with the Python file and line.

Comes from: every module of this package. Goes to: daemon/runtime/python_files, which reports it as any other problem.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from daemon.core.errors import Misconfigured
from daemon.core.problems import Problem

if TYPE_CHECKING:
    from types import CodeType, FrameType

_HERE = f"{Path(__file__).parent}{os.sep}"


class Place(Struct, frozen=True):
    """Where something stands in a Python file; counted from 1."""

    file: str
    line: int
    column: int


def place_of_call(file: str | None = None) -> Place:
    """Return where the author's code is at: in this file, if it is under way in it, else nearest to us."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  there is no other way to the caller's place
    nearest: FrameType | None = None
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_HERE):
            nearest = nearest or frame
            if file is None or frame.f_code.co_filename == file:
                return _place(frame)
        frame = frame.f_back
    return _place(nearest) if nearest is not None else Place("<unknown>", 1, 1)


def place_of(code: CodeType) -> Place:
    """Return where a function begins."""
    return Place(code.co_filename, code.co_firstlineno, 1)


def mistake(message: str, hint: str | None = None, *, place: Place | None = None) -> Misconfigured:
    """Return the error to raise for what the author's code does at this place, or where it is now."""
    where = place or place_of_call()
    return Misconfigured([Problem(message=message, hint=hint, file=where.file, line=where.line, column=where.column)])


def _place(frame: FrameType) -> Place:
    column = None
    if frame.f_lasti >= 0:
        positions = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        column = positions[2]
    return Place(frame.f_code.co_filename, frame.f_lineno, 1 if column is None else column + 1)
