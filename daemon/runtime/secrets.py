"""Secrets: looked up by name when a step is called, and kept out of everything that is recorded.

Goes to: `steps`, which fills them in; triggers, which verify signatures with them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from daemon.core.templates import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PREFIX = "SAGAD_SECRET_"
"""Of the environment variables that hold secrets: `SAGAD_SECRET_MAIL` is `secret.MAIL`."""
MAX_BYTES = 64 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


class SecretUnknown(Exception):
    """There is no such secret, or it cannot be read. The message says where it was looked for, never a value."""


class SecretResolver:
    """Gives secrets by name: from the environment, else from a folder with one file for each.

    Files are read at each call, so a rotated secret is taken up without a restart. One line end at the end of a file
    does not belong to the secret.
    """

    def __init__(self, environ: Mapping[str, str], directory: Path | None = None) -> None:
        self._environ = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
        self._directory = directory

    def __repr__(self) -> str:
        return f"SecretResolver(environment, {self._directory})"

    def __call__(self, name: str) -> str:
        """Return the secret. Raises `SecretUnknown`."""
        if not _NAME.fullmatch(name):
            raise SecretUnknown("a secret's name has letters, digits and underscores, and does not begin with a digit")
        value = self._environ.get(PREFIX + name)
        if value is None and self._directory is not None:
            value = _read(self._directory / name, name)
        if value is None:
            folder = f", and there is no file {self._directory / name}" if self._directory is not None else ""
            raise SecretUnknown(f"the secret {name} is unknown: {PREFIX}{name} is not set{folder}")
        if not value:
            raise SecretUnknown(f"the secret {name} is empty")
        return value


class Disclosed:
    """The secrets that one step was given, so that they can be struck out of what it tells."""

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self._resolve = resolve
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return f"Disclosed({len(self._values)} secrets)"

    def resolve(self, name: str) -> str:
        """Return the secret and remember it."""
        value = self._resolve(name)
        forms = {form for form in _forms(value) if form} | self._values
        self._values = forms
        self._pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))
        return value

    def hide(self, text: str) -> str:
        """Return the text with every secret struck out, also where it is quoted, escaped or part of a URL."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text

    def hide_in(self, value: Any) -> Any:
        """Return a JSON value with every secret struck out of its texts and keys."""
        if self._pattern is None:
            return value
        match value:
            case str():
                return self.hide(value)
            case list():
                return [self.hide_in(item) for item in value]
            case dict():
                return {self.hide(key): self.hide_in(item) for key, item in value.items()}
            case _:
                return value


def _forms(value: str) -> Iterator[str]:
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote(value)
    yield quote(value, safe="")
    yield quote_plus(value)


def _read(file: Path, name: str) -> str | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        text = content.decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretUnknown(f"the secret {name} cannot be read: {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SecretUnknown(f"the secret {name} cannot be read: {file} is not UTF-8") from None
    if len(content) > MAX_BYTES:
        raise SecretUnknown(f"the secret {name} cannot be read: {file} is longer than {MAX_BYTES} bytes")
    return text.removesuffix("\n").removesuffix("\r")
