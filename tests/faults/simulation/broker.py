"""The in-process broker as a server that outlives its daemons: it loses acknowledgements, repeats and reorders.

What a killed daemon has taken comes back after a while, as it does when a broker notices that a consumer has gone.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from triggers.errors import BrokerUnavailable
from triggers.memory_broker import MemoryBroker, Stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.faults.simulation.loop import Process, SimulatedLoop
    from tests.faults.simulation.profile import Profile
    from triggers.publishing import Outbound

SESSION_S = 6.0
"""How long the broker waits for a consumer that says nothing."""


class SimulatedBroker(MemoryBroker):
    """One broker of all daemons of a world."""

    def __init__(self, loop: SimulatedLoop, dice: Random, profile: Profile, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.id = "simulated"
        self._loop = loop
        self._dice = dice
        self._profile = profile
        self._tell = tell
        self.healed = False
        self._held: dict[tuple[str, str, int], Process] = {}
        self.on_ack: Callable[[str, Stored | None], None] = lambda *_: None
        """Told of each message that is acknowledged, before anything else happens; None is one that is gone."""

    async def publish(self, message: Outbound) -> str:
        """Publish, or say that it could not be done: true or not."""
        if self.healed or self._dice.random() >= self._profile.unpublished:
            await asyncio.sleep(0)
            return await super().publish(message)
        stored = self._dice.random() < 0.5
        self._tell(f"broker {'lost' if stored else 'refused'} publish")
        if stored:
            await super().publish(message)
        await asyncio.sleep(self._dice.random())
        raise BrokerUnavailable("simulated")

    def take(self, topic: str, group: str, most: int) -> list[Stored]:
        """Give some of what there is, in any order."""
        if most > 1 and not self.healed:
            most = self._dice.randint(1, most)
        taken = super().take(topic, group, most)
        if not self.healed:
            self._dice.shuffle(taken)
        for stored in taken:
            self._held[topic, group, stored.offset] = self._loop.current
        return taken

    def ack(self, topic: str, group: str, offset: int) -> None:
        """Settle the message, or hear nothing of it: then it comes again."""
        self.on_ack(topic, self.stored(topic, offset))
        if not self.healed and self._dice.random() < self._profile.redelivered:
            self._tell("broker redelivers")
            self._loop.world_later(self._dice.random() * SESSION_S, self._again, topic, group, offset)
            return
        self._held.pop((topic, group, offset), None)
        super().ack(topic, group, offset)

    def give_back(self, topic: str, group: str, offset: int) -> None:
        """See `MemoryBroker`."""
        self._held.pop((topic, group, offset), None)
        super().give_back(topic, group, offset)

    def lost(self, process: Process) -> None:
        """Give back what a dead process had."""
        for place in [place for place, holder in self._held.items() if holder is process]:
            self.give_back(*place)

    def stored(self, topic: str, offset: int) -> Stored | None:
        """Return a message that is still kept."""
        kept = self._topic(topic)
        return kept.messages[offset - kept.start] if kept.start <= offset < kept.end else None

    def unsettled(self) -> list[str]:
        """Return which groups have not settled all that there is."""
        return [
            f"{name} by {group_name}: {sorted(group.taken)} taken, {group.returned} returned, {topic.end} in all"
            for name, topic in self._topics.items()
            for group_name, group in topic.groups.items()
            if group.taken or group.returned or group.next < topic.end
        ]

    def _again(self, topic: str, group: str, offset: int) -> None:
        reader = self._topic(topic).groups[group]
        if offset in reader.taken:
            reader.taken.discard(offset)
            heapq.heappush(reader.returned, offset)
            reader.wake()
