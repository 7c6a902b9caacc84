"""Files of executions in storage that speaks S3, by boto3, which is blocking: in threads.

Comes from: `archive_places`. Goes to: boto3.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from daemon.runtime.archive_places import away, nothing_at

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_S = 30
"""How long one answer may take; then it is asked again, a few times."""
_MISSING = {"404", "NoSuchKey"}


class Bucket:
    """Objects in a bucket, under a prefix. An object is there whole, or not at all."""

    def __init__(self, url: str, what: str, *, endpoint: str | None, region: str | None) -> None:
        """Take the bucket; `what` is what people call it."""
        parts = urlsplit(url)
        self.url = url
        self._said = f"{what} at {url}"
        self._bucket = parts.netloc
        self._prefix = unquote(parts.path).strip("/")
        config = Config(connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"mode": "standard"})
        self._client: Any = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=region, config=config
        )

    async def put(self, name: str, file: Path) -> None:
        """See `archive_places.Place`."""
        await self._ask(self._client.upload_file, name, str(file), self._bucket, self._key(name))

    async def fetch(self, name: str, to: Path) -> None:
        """See `archive_places.Place`."""
        await self._ask(self._client.download_file, name, self._bucket, self._key(name), str(to))

    async def remove(self, name: str) -> None:
        """See `archive_places.Place`."""
        await self._ask(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(name)), name)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    async def _ask(self, ask: Any, name: str, *given: str) -> None:
        try:
            await asyncio.to_thread(ask, *given)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                raise nothing_at(self._said, name) from None
            raise away(self._said, error) from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise away(self._said, error) from error
