"""JSON Schema in the shell: the validator is jsonschema-rs, and the messages are ours (`schema_messages`).

`check` is what the core's `parsing` borrows; `InputSchema` checks what comes into executions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema_rs
import msgspec

from daemon.core.errors import InvalidInput
from daemon.core.schema_parts import DEFS
from daemon.runtime.schema_messages import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daemon.core.problems import Path, Problem

MOST_SHOWN = 10
"""How many mistakes of one input are named."""


class BadSchema(ValueError):
    """A workflow's input schema is no JSON Schema; `path` leads to the mistake in it."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


class InputSchema:
    """A workflow's schema of its input."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raise `BadSchema`. References to other documents are refused: nothing is fetched."""
        self._schema = dict(schema)
        try:
            jsonschema_rs.meta.validate(self._schema)
            self._validator = jsonschema_rs.validator_for(self._schema, retriever=_refuse)
        except jsonschema_rs.ValidationError as error:
            raise BadSchema(error.message, tuple(error.instance_path)) from None
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise BadSchema(str(error)) from None

    def check(self, value: object) -> None:
        """Raise `InvalidInput` that names each wrong place."""
        problems = in_words(self._validator.iter_errors(value), self._schema)
        if problems:
            more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
            raise InvalidInput("; ".join(str(problem) for problem in problems[:MOST_SHOWN]) + more)


def check(schema: Mapping[str, Any]) -> Callable[[object], Sequence[Problem]]:
    """Return what checks a part of a definition by a schema of ours; `#/$defs/…` are those of `schema_parts`."""
    whole = {**schema, "$defs": DEFS}
    validator = _validator(msgspec.json.encode(whole))
    return lambda value: in_words(validator.iter_errors(value), whole)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(msgspec.json.decode(schema), retriever=_refuse)


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is another document; only references within the schema are followed")
