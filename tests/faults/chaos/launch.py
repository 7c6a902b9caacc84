"""The daemon of a chaos run: `python -m tests.faults.chaos.launch CLOCK run --config …`, elsewise as `sagad` is.

CLOCK is `true` for the machine's, or SEED:MOST_S for one that is wrong and jumps: the offset changes every few seconds,
forwards and backwards, by at most MOST_S from the true time. The environment tells handlers under which id the daemon
works, in CHAOS_LIFE. At SIGUSR1 the process writes where its tasks and threads stand, for whoever asks why it hangs.

Comes from: `fleet`. Goes to: daemon/cli.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta

from daemon import main as composition
from daemon.cli import main
from daemon.runtime.clock import SystemClock
from daemon.runtime.leases import Membership

JUMP_EVERY_S = 3.0


class JumpingClock(SystemClock):
    """The machine's clock with an offset that depends on the seed and the time only."""

    def __init__(self, seed: int, most_s: float) -> None:
        super().__init__()
        self._seed = seed
        self._most_s = most_s

    def now(self) -> datetime:
        """Return the wrong time."""
        dice = random.Random(f"{self._seed} {int(time.monotonic() / JUMP_EVERY_S)}")  # noqa: S311  repeatable
        return datetime.now(UTC) + timedelta(seconds=dice.uniform(-self._most_s, self._most_s))


class KnownMembership(Membership):
    """Tells handlers which life of the daemon they work in: a new one begins when it was fenced."""

    async def join(self) -> None:
        """Join; nothing is begun under the new id before it is told."""
        await super().join()
        os.environ["CHAOS_LIFE"] = str(self.id)


def show_tasks(*_: object) -> None:
    """Write where each task and thread stands."""
    for task in list(asyncio.tasks._all_tasks):  # type: ignore[attr-defined]  # there is no public way from outside the loop
        if not task.done():
            sys.stderr.write(f"STANDS {task.get_name()}\n")
            task.print_stack(file=sys.stderr)
            waiting, depth = task.get_coro(), 0
            while waiting is not None and depth < 40:
                frame = getattr(waiting, "cr_frame", None)
                if frame is not None:
                    sys.stderr.write(
                        f"    awaits in {frame.f_code.co_qualname} {frame.f_code.co_filename}:{frame.f_lineno}\n"
                    )
                waiting, depth = getattr(waiting, "cr_await", None), depth + 1
    faulthandler.dump_traceback(all_threads=True)


if __name__ == "__main__":
    CLOCK = sys.argv.pop(1)
    if CLOCK != "true":
        SEED, _, MOST_S = CLOCK.partition(":")
        vars(composition)["SystemClock"] = lambda: JumpingClock(int(SEED), float(MOST_S))  # in this process only
    vars(composition)["Membership"] = KnownMembership
    signal.signal(signal.SIGUSR1, show_tasks)
    main()
