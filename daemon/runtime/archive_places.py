"""Where files are kept, of executions or of payloads: a folder, or storage that speaks S3.

Comes from: `expiry`, `restoring`, `payload_place`. Goes to: the file system, `archive_s3`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from daemon.core.errors import Misconfigured, Rejected
from daemon.core.problems import Problem
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from daemon.settings_retention import Retention


ARCHIVE = "the archive"


class Place(Protocol):
    """Keeps whole files under names. Raises Unavailable when it cannot; then there is no part of a file either."""

    url: str

    async def put(self, name: str, file: Path) -> None:
        """Keep a copy of the file, in place of what has this name; return when it is there to stay."""

    async def fetch(self, name: str, to: Path) -> None:
        """Copy what has this name into a file. Raises Rejected when there is nothing."""

    async def remove(self, name: str) -> None:
        """Forget what has this name; harmless when there is nothing."""


class Folder:
    """Files in a folder; names with slashes are in folders of it."""

    def __init__(self, url: str, what: str = ARCHIVE) -> None:
        """Take the folder; `what` is what people call it."""
        self.url = url
        self._said = f"{what} at {url}"
        self._root = Path(unquote(urlsplit(url).path))

    async def put(self, name: str, file: Path) -> None:
        """See `Place`. The file takes its name when all of it is on the disk."""
        await asyncio.to_thread(self._put, self._root / name, file)

    async def fetch(self, name: str, to: Path) -> None:
        """See `Place`."""
        try:
            await asyncio.to_thread(shutil.copyfile, self._root / name, to)
        except FileNotFoundError as error:
            if not await asyncio.to_thread(self._root.is_dir):
                raise away(self._said, error) from error
            raise nothing_at(self._said, name) from None
        except OSError as error:
            raise away(self._said, error) from error

    async def remove(self, name: str) -> None:
        """See `Place`."""
        try:
            await asyncio.to_thread((self._root / name).unlink, missing_ok=True)
        except OSError as error:
            raise away(self._said, error) from error

    def _put(self, target: Path, file: Path) -> None:
        part = target.with_name(f".{target.name}.{uuid4().hex}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, part)
            for written in (part, target.parent):
                _to_disk(written)
            part.replace(target)
            _to_disk(target.parent)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise away(self._said, error) from error


def place_of(retention: Retention) -> Place | None:
    """Return the place that the settings name. Raises Misconfigured when the library for S3 is not there."""
    url = retention.archive
    if url is None:
        return None
    return place_at(url, ARCHIVE, setting="[retention] archive", s3=(retention.s3_endpoint, retention.s3_region))


def place_at(url: str, what: str, *, setting: str, s3: tuple[str | None, str | None]) -> Place:
    """Return the place at a URL; `s3` is an endpoint and a region. Raises Misconfigured as `place_of` does."""
    if url.startswith("file:"):
        return Folder(url, what)
    try:
        from daemon.runtime.archive_s3 import Bucket  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        message = f"{setting} = {url}: {error}"
        raise Misconfigured([Problem(message=message, hint="pip install 'sagad[s3]', or name a folder")]) from error
    endpoint, region = s3
    return Bucket(url, what, endpoint=endpoint, region=region)


def away(said: str, error: Exception) -> Unavailable:
    """Return the error for a place that does not do what it is asked; `said` is what it is, and where."""
    return Unavailable(f"{said}: {error}")


def nothing_at(said: str, name: str) -> Rejected:
    """Return the error for a file that is not there."""
    return Rejected(f"there is no {name} in {said}")


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
