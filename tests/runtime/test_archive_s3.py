"""An archive in storage that speaks S3, over the wire."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from daemon.core.errors import ExecutionDeleted, Rejected
from daemon.foundations import restoring_of
from daemon.runtime.archive_places import place_of
from daemon.settings_retention import Retention, RetentionRule
from eventstore.errors import Unavailable
from tests.support.daemons import PATIENCE_S, finished, running, settings_for, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = "workflow: w\nnodes: {a: {transform: '{{ input }}'}}"
REGION = "eu-central-1"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the address of a server with an empty bucket `kept`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        httpx.post(f"{url}/moto-api/reset").raise_for_status()  # what it holds is the process's, not the server's
        client_at(url).create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield url
    finally:
        server.stop()


def client_at(endpoint: str) -> Any:
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=REGION)


def retention(endpoint: str, bucket: str = "kept") -> Retention:
    rules = (RetentionRule(workflow="w", keep="1ms"),)
    return Retention(
        archive=f"s3://{bucket}/sagad/live", s3_endpoint=endpoint, s3_region=REGION, rules=rules, interval_s=86400
    )


async def test_what_goes_into_a_bucket_comes_back_from_there(tmp_path: Path, endpoint: str) -> None:
    """Each execution is an object, by its workflow and day."""
    async with running(settings_for(tmp_path, TEXT, retention=retention(endpoint))) as daemon:
        old = await finished(daemon, await start(daemon, "w", 1))
        async with asyncio.timeout(PATIENCE_S):
            while await daemon.store.deletions.deleted(old.execution_id) is None:  # the daemon itself may be first
                await daemon.expiry.run(most=1)
        [found] = client_at(endpoint).list_objects_v2(Bucket="kept")["Contents"]
        assert found["Key"] == f"sagad/live/w/{old.started_at:%Y/%m/%d}/{old.execution_id}.jsonl.gz"
        body = client_at(endpoint).get_object(Bucket="kept", Key=found["Key"])["Body"].read()
        assert gzip.decompress(body).startswith(b'{"line":"header"')
        with pytest.raises(ExecutionDeleted, match=f"archived as s3://kept/{found['Key']}"):
            await daemon.history.existing(old.execution_id)
        await restoring_of(daemon.settings, daemon.store, daemon.clock).restore(old.execution_id)
        assert await daemon.history.existing(old.execution_id) == old


async def test_a_bucket_that_is_not_there_deletes_nothing(tmp_path: Path, endpoint: str) -> None:
    settings = settings_for(tmp_path, TEXT, retention=retention(endpoint, "missing"))
    async with running(settings) as daemon:
        old = (await finished(daemon, await start(daemon, "w", 1))).execution_id
        with pytest.raises(Unavailable, match="the archive at s3://missing/sagad/live: "):
            await daemon.expiry.run()
        await daemon.history.existing(old)


async def test_objects_are_put_fetched_and_removed(tmp_path: Path, endpoint: str) -> None:
    place = place_of(retention(endpoint))
    assert place is not None
    given, back = tmp_path / "given", tmp_path / "back"
    given.write_bytes(b"x" * 100)
    await place.put("a/b", given)
    await place.fetch("a/b", back)
    assert back.read_bytes() == given.read_bytes()
    for _ in range(2):
        await place.remove("a/b")
    with pytest.raises(Rejected, match="there is no a/b"):
        await place.fetch("a/b", back)


async def test_a_server_that_is_away_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be there: that is no answer."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    place = place_of(retention("http://127.0.0.1:1"))
    assert place is not None
    with pytest.raises(Unavailable):
        await place.fetch("a/b", tmp_path / "back")
