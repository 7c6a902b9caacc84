"""What `doctor` says of the places outside of the database: the archive, and where payloads go.

Comes from: `doctor`. Goes to: daemon/runtime/archive_places.
"""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from daemon.cli.findings import broken, doubtful, fine, problems
from daemon.core.errors import Misconfigured, Rejected
from daemon.runtime.archive_places import place_at, place_of
from eventstore.errors import Unavailable

if TYPE_CHECKING:
    from daemon.cli.findings import Finding
    from daemon.runtime.archive_places import Place
    from daemon.settings import Settings

WAIT_S = 10.0
ARCHIVE, PAYLOADS = "[retention] archive", "[storage] external"
MEND = "let the daemon write there: the folder's owner, or the bucket's name, region, endpoint and keys"


async def check_places(settings: Settings) -> list[Finding]:
    """Put a small file into each place that the settings name, read it back, and take it away again."""
    storage = settings.storage
    found: list[tuple[str, Place]] = []
    try:
        if (archive := place_of(settings.retention)) is not None:
            found.append((ARCHIVE, archive))
        if storage.external is not None:
            s3 = storage.s3_endpoint, storage.s3_region
            found.append((PAYLOADS, place_at(storage.external, "the payloads", setting=PAYLOADS, s3=s3)))
    except Misconfigured as error:
        return problems("places", error, MEND)
    return list(await asyncio.gather(*(_check(about, place) for about, place in found)))


async def _check(about: str, place: Place) -> Finding:
    if _absent(place):
        return doubtful(about, f"{place.url} is not there yet", "the first file makes it, or mount it")
    name, written = f".sagad-doctor-{uuid4().hex}", b"sagad doctor"
    with tempfile.TemporaryDirectory(prefix="sagad-doctor-") as folder:
        sent, got = Path(folder) / "sent", Path(folder) / "got"
        sent.write_bytes(written)
        try:
            async with asyncio.timeout(WAIT_S):
                await place.put(name, sent)
                await place.fetch(name, got)
        except TimeoutError:
            return broken(about, f"{place.url} does not answer in time", MEND)
        except (Unavailable, Rejected) as error:
            return broken(about, str(error), MEND)
        finally:
            with suppress(Unavailable, Rejected, TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await place.remove(name)
        if got.read_bytes() != written:
            return broken(about, f"{place.url} does not give back what it was given", MEND)
    return fine(about, f"{place.url} takes files and gives them back")


def _absent(place: Place) -> bool:
    parts = urlsplit(place.url)
    return parts.scheme == "file" and not Path(unquote(parts.path)).exists()
