"""What `doctor` looks at of the keys in [encryption]: there, kept to oneself, and fit to open what the store holds.

No finding shows a key; each is named by its id, as everywhere.

Comes from: `doctor`, `health_checks`. Goes to: eventstore.
"""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from daemon.cli.findings import Finding, broken, doubtful, fine
from eventstore.errors import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.plan import Plan
    from daemon.settings import Settings
    from eventstore.keyring import Keyring
    from eventstore.store import Store
    from eventstore.subjects import KeyUse

AT_REST, SUBJECTS = "encryption at rest", "keys of subjects"
NEWEST = 100
"""Events that are opened, with their payloads."""
MOST = 1_000
"""Keys of subjects that are unwrapped; their ids are drawn, so these are as good as any."""
BACK = "put the key back: the first of them encrypts, all decrypt"
_NAMED = re.compile(r"^\s*(at_rest_keys|keys|cipher_key)\s*=", re.MULTILINE)


def lost_at_rest(problem: str) -> Finding:
    """Return that the store cannot be opened: a key is not there that it was encrypted with."""
    return broken(AT_REST, problem, f"{BACK}; a copy is where you keep keys, and nothing can be read without it")


def check_key_file(settings: Settings) -> list[Finding]:
    """See whether others can read the settings, where those hold keys."""
    if settings.file is None or not _NAMED.search(settings.file.read_text(encoding="utf-8")):
        return []
    mode = settings.file.stat().st_mode
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    detail = f"{settings.file} holds keys, and others than its owner can read it ({stat.filemode(mode)})"
    mend = f"`chmod 600 {settings.file}`, or give the keys as SAGAD_ENCRYPTION_AT_REST_KEYS and SAGAD_ENCRYPTION_KEYS"
    return [doubtful("encryption", detail, mend)]


def check_subjects_have_keys(plans: Iterable[Plan], settings: Settings) -> list[Finding]:
    """See whether there is a key where workflows say whose data they hold."""
    named = [plan.definition.workflow for plan in plans if plan.start.subject is not None]
    if not named or settings.encryption.keyring is not None:
        return []
    detail = f"there are no `keys` in [encryption], and these workflows say a `subject`: {', '.join(named)}"
    return [broken(SUBJECTS, detail, "`openssl rand -base64 32` makes a key; keep a copy of it elsewhere")]


async def check_keys(store: Store, settings: Settings) -> list[Finding]:
    """Open the newest events of the store, with their payloads, and the keys of its subjects."""
    return [*await _check_newest(store, settings), *await _check_subjects(store, settings.encryption.keyring)]


async def _check_newest(store: Store, settings: Settings) -> list[Finding]:
    head = await store.log.head()
    try:
        events = await store.log.read_all(after_position=max(head - NEWEST, 0), limit=NEWEST)
    except Undecodable as error:
        mend = f"if the keys or [store] cipher_key were changed, {BACK}; else restore the database: it is damaged"
        return [broken("events", f"the newest {NEWEST} cannot be read: {error}", mend)]
    at_rest = settings.encryption.at_rest
    if at_rest is None:
        return []
    keys = f"{len(at_rest.ids)} keys, {at_rest.ids[0]} encrypts" if len(at_rest.ids) > 1 else f"key {at_rest.ids[0]}"
    return [fine(AT_REST, f"{keys}; the newest {len(events)} events can be read")]


async def _check_subjects(store: Store, keyring: Keyring | None) -> list[Finding]:
    uses = await _in_use(store)
    if keyring is None:
        if not uses:
            return []
        detail = f"the store has keys of {_many(len(uses))} subjects, and [encryption] has no `keys` to unwrap them"
        return [broken(SUBJECTS, detail, f"{BACK}; until then the data of these subjects cannot be read")]
    lost: dict[str, int] = {}
    old = 0
    for use in uses:
        try:
            keyring.unwrap(use.key.key_id, use.key.wrapped or b"")
        except Undecodable as error:
            problem = str(error).replace(use.key.key_id, "ID")
            lost[problem] = lost.get(problem, 0) + 1
        else:
            old += not keyring.is_current(use.key.wrapped or b"")
    found = [
        broken(SUBJECTS, f"{count} of {_many(len(uses))}: {problem}", f"{BACK}; a damaged one is lost: restore it")
        for problem, count in sorted(lost.items())
    ]
    if old:
        detail = f"{old} of {_many(len(uses))} are wrapped by an older key of [encryption] keys"
        found.append(doubtful(SUBJECTS, detail, "`sagad subjects --rewrap`, before that one is taken out"))
    return found or [fine(SUBJECTS, f"{_many(len(uses))} can be unwrapped")]


async def _in_use(store: Store) -> list[KeyUse]:
    """Return keys that were not destroyed, as many as are looked at."""
    found: list[KeyUse] = []
    after = ""
    while len(found) < MOST and (page := await store.subjects.uses(after=after, limit=NEWEST)):
        found += [use for use in page if use.key.wrapped is not None]
        after = page[-1].key.key_id
    return found[:MOST]


def _many(count: int) -> str:
    return f"{count} (of those looked at)" if count == MOST else str(count)
