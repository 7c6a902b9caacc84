"""`sagad doctor` on the archive and the place for payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Sagad


def settings(folder: Path, archive: str, external: str) -> None:
    path = folder / "sagad.toml"
    path.write_text(
        path.read_text().replace("port = 1\n", "port = 0\n")
        + f'[retention]\narchive = "{archive}"\n[storage]\nexternal = "{external}"\n'
    )


def findings(sagad: Sagad) -> list[tuple[str, str]]:
    found = sagad("doctor", "--json").json["findings"]
    return [(each["about"], each["status"]) for each in found if each["about"].startswith(("[retention]", "[storage]"))]


def test_a_file_is_put_there_and_taken_away_again(folder: Path, sagad: Sagad) -> None:
    """A folder that is not there yet is a doubt, and is not made."""
    there, absent = folder / "archive", folder / "payloads"
    there.mkdir()
    settings(folder, f"file://{there}", f"file://{absent}")
    assert findings(sagad) == [("[retention] archive", "ok"), ("[storage] external", "warning")]
    assert list(there.iterdir()) == []
    assert not absent.exists()


def test_a_place_that_takes_nothing_is_broken(folder: Path, sagad: Sagad, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where its folder should be; a bucket that nobody serves."""
    there = folder / "archive"
    there.write_text("in the way")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings(folder, f"file://{there}", "s3://bucket/payloads")
    path = folder / "sagad.toml"
    path.write_text(path.read_text() + 's3_endpoint = "http://127.0.0.1:1"\ns3_region = "eu-central-1"\n')
    assert findings(sagad) == [("[retention] archive", "broken"), ("[storage] external", "broken")]
