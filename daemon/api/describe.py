"""What the OpenAPI document says of bodies that are read by msgspec, and of errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from daemon.api.errors import PROBLEM
from daemon.api.models import Problem


class _Answers:
    """`ANSWERS[404, 503]` describes the errors with these statuses; what is not found may have been deleted: 410."""

    def __getitem__(self, statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
        content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        given = [each for status in statuses for each in ((404, 410) if status == HTTPStatus.NOT_FOUND else (status,))]
        return {
            status: {"description": HTTPStatus(status).phrase, "model": Problem, "content": content} for status in given
        }


ANSWERS = _Answers()


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return the schema with what it refers to in place: the document has no place for definitions of ours."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(each, definitions) for name, each in schema.items() if name != "$defs"}


def body_of(shape: Any, description: str, example: Any, *, required: bool = False) -> dict[str, Any]:
    """Return the `openapi_extra` of a route with a JSON body of this type."""
    schema = msgspec.json.schema(shape)
    schema = _inlined(schema, schema.get("$defs", {}))
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"description": description, "required": required, "content": content}}
