"""Checks the history of everything that a store has seen, offline.

    python -m tests.faults.checker --store URL [--sent FILE] [--dead FILE] [--witness FILE] [--rules]

`--sent` is the ledger of what was sent: JSON lines of `{id, kind: start|signal|poison|filtered, execution, signal,
confirmed, status, output}`; the last line about an id counts, `status` and `output` foretell the end where they are
given. `--dead` has a line `{id}` for each dead letter. `--witness` is the file of `tests.support.witness`. Nobody may
write to the store meanwhile, unless `--live` leaves the index out. Exit code 0 when no rule is broken, else 1; each
violation is printed with its rule, execution and versions, the first 20 of each rule.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from daemon.core.events import EVENT_TYPES, UPCASTERS
from eventstore.codec import Codec
from eventstore.store import open_store
from tests.faults.checker.leases import lease_table
from tests.faults.checker.reading import Evidence, Report, check
from tests.faults.checker.violations import RULES


async def check_url(url: str, evidence: Evidence) -> Report:
    """Open the store, check it, close it."""
    store = await open_store(url, Codec(EVENT_TYPES, UPCASTERS), auto_migrate=False)
    try:
        return await check(store, evidence)
    finally:
        await store.close()


def main() -> int:
    """Check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", metavar="URL")
    for name in ("sent", "dead", "witness"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    parser.add_argument("--live", action="store_true", help="others write meanwhile: leave the index out")
    parser.add_argument("--rules", action="store_true", help="print the rules")
    arguments = parser.parse_args()
    if arguments.rules or not arguments.store:
        sys.stdout.writelines(f"{rule:12} {text}\n" for rule, text in RULES.items())
        return 0
    evidence = Evidence(
        sent=arguments.sent,
        dead=arguments.dead,
        witness=arguments.witness,
        leases=None if arguments.live else lease_table(arguments.store),
        index=not arguments.live,
    )
    report = asyncio.run(check_url(arguments.store, evidence))
    sys.stdout.writelines(f"{violation}\n" for violation in report.shown)
    sys.stdout.write(f"{report}\n")
    return 1 if report.total else 0


if __name__ == "__main__":
    sys.exit(main())
