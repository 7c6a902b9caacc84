"""What the log says, what the index has, what was sent and what the witness saw, side by side.

A SQLite file of its own, so that a log of any length can be compared in little memory. The comparisons are `rules.sql`.

Comes from: `reading`. Goes to: `violations`.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from tests.faults.checker.violations import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_FOLDER = Path(__file__).parent
_INDEXES = (
    "started(execution)",
    "signalled(execution, signal)",
    "attempts(key, attempt)",
    "succeeded(key)",
    "calls(key, attempt)",
    "effects(key)",
    "dead(id)",
    "told(parent, address, attempt, child)",
    "sent(execution)",
    "ended(execution)",
    "found_rows(execution)",
    "implied_rows(execution)",
)
_FULL = 5000


class Notebook:
    """Rows are gathered by `note` and written in lots; `compare` reads them all."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._pending: dict[str, list[Sequence[Any]]] = {}
        database.executescript((_FOLDER / "tables.sql").read_text())

    def note(self, table: str, *row: Any) -> None:
        """Add a row."""
        rows = self._pending.setdefault(table, [])
        rows.append(row)
        if len(rows) >= _FULL:
            self._write(table)

    def note_sent(self, file: Path) -> int:
        """Add the ledger of what was sent; the last line about a message counts. Return how many messages."""
        query = "INSERT OR REPLACE INTO sent VALUES (:id, :kind, :execution, :signal, :confirmed, :status, :output)"
        self._database.executemany(query, (_sent(line) for line in lines(file)))
        return int(self._database.execute("SELECT count(*) FROM sent").fetchone()[0])

    def note_dead(self, file: Path) -> None:
        """Add the ids of the dead letters."""
        for line in lines(file):
            self.note("dead", line["id"])

    def note_witness(self, file: Path) -> None:
        """Add what the witness saw: the file that `tests.support.witness` keeps."""
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as witness:
            self._database.executemany(
                "INSERT INTO calls VALUES (?, ?, ?)", witness.execute("SELECT key, attempt, life FROM calls")
            )
            self._database.executemany(
                "INSERT INTO effects VALUES (?, ?)", witness.execute("SELECT key, effect FROM effects")
            )

    def compare(self, *, without: Iterable[str] = ()) -> Iterator[Violation]:
        """Yield what breaks a rule. `without` names rules for which nothing was noted."""
        for table in list(self._pending):
            self._write(table)
        for index in _INDEXES:
            self._database.execute(f"CREATE INDEX IF NOT EXISTS on_{index.partition('(')[0]} ON {index}")
        left_out = set(without)
        for rule, query in rules():
            if rule not in left_out:
                for execution, version, message in self._database.execute(query):
                    versions = () if version is None else (version,)
                    yield Violation(rule, message, None if execution is None else UUID(bytes=execution), versions)

    def forget_implied(self, execution_id: UUID) -> None:
        """Take back what the index must have of an execution: it had ended, and goes on."""
        for table in ("implied_rows", "implied_timers", "implied_leases"):
            self._write(table)
            self._database.execute(f"CREATE INDEX IF NOT EXISTS on_{table} ON {table}(execution)")
            self._database.execute(f"DELETE FROM {table} WHERE execution = ?", (execution_id.bytes,))  # noqa: S608  our own names

    def count(self, table: str) -> int:
        """Return the number of rows written so far."""
        self._write(table)
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  our own names

    def _write(self, table: str) -> None:
        rows = self._pending.pop(table, [])
        if rows:
            places = ", ".join("?" * len(rows[0]))
            self._database.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608  our own names


@contextmanager
def notebook(folder: Path) -> Iterator[Notebook]:
    """Give an empty one, in a file of this folder that is removed at the end."""
    file = folder / "notebook.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")
        notes = Notebook(database)
        database.execute("BEGIN")
        yield notes
        database.execute("COMMIT")
    file.unlink()


def rules() -> Iterator[tuple[str, str]]:
    """Give the queries of `rules.sql` by the rule each one belongs to."""
    for part in (_FOLDER / "rules.sql").read_text().split("\n-- ")[1:]:
        title, _, query = part.partition("\n")
        yield re.split(r"-\d+:", title)[0], query


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """Read a file of JSON lines; a last line that was cut off by a crash is left out."""
    with file.open("rb") as given:
        for line in given:
            if line.endswith(b"\n"):
                yield msgspec.json.decode(line)


def _sent(line: dict[str, Any]) -> dict[str, Any]:
    execution = line.get("execution")
    return {
        "id": line["id"],
        "kind": line["kind"],
        "execution": UUID(execution).bytes if execution else None,
        "signal": line.get("signal"),
        "confirmed": bool(line.get("confirmed")),
        "status": line.get("status"),
        "output": canonical(line["output"]) if "output" in line else None,
    }


def canonical(value: Any) -> str:
    """Return the one text of a JSON value by which outputs are compared."""
    return msgspec.json.encode(value, order="sorted").decode()
