"""Dead letters: kept when a message cannot be processed, then looked at, mended, given in again, or discarded.

Given in again, a message takes the way of any other: its trigger's route, its dedupe key, the engine. One that has no
id of its own gets that of its letter, so however often it is given in, it starts one execution. What is edited is what
is given in; the message as it came stays.

Comes from: triggers/delivery (`keep`), daemon/api. Goes to: `intake`, eventstore/dead_letters.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid5

import jsonpatch
import jsonpointer
import structlog

from daemon.core.errors import InvalidInput, Rejected
from daemon.core.expressions import EvaluationError, ExpressionError, compile_expression
from daemon.core.problems import did_you_mean
from daemon.runtime.intake import is_private
from daemon.runtime.leases import first_of
from eventstore.dead_letters import Content, Letter, Settled
from eventstore.errors import StoreError, Unavailable
from triggers.content import decode
from triggers.errors import BrokerUnavailable
from triggers.message import Ack, DeadLetter, Inbound, Retry
from triggers.routing import SAGAD_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from daemon.core.expressions import Expression
    from daemon.runtime.clock import Clock
    from daemon.runtime.views import View
    from eventstore.dead_letters import DeadLetters
    from triggers.message import Sink

NAMES = ("id", "trigger", "source", "code", "reason", "times", "key", "headers", "value")
"""What `where` may read; `value` is the body, read as its content type says, null where it cannot be."""
PRUNE_EVERY_S = 3600.0

_logger = structlog.get_logger(__name__)


class UnknownLetter(Rejected):
    """There is no dead letter with this id."""

    def __init__(self, letter_id: UUID) -> None:
        super().__init__(f"there is no dead letter {letter_id}")


class Redriven(NamedTuple):
    """What came of a letter that was given in again."""

    id: UUID
    outcome: str
    """`started` | `signalled` | `duplicate` | `collected` | `skipped` | `filtered`; or, when it goes on waiting,
    `refused` | `later`; `would be redriven` of a dry run."""
    execution_id: UUID | None = None
    reason: str = ""
    """Why it goes on waiting."""


class Letters:
    """The dead letters of one log."""

    def __init__(self, store: DeadLetters, sink: Sink, clock: Clock, *, keep_s: float, most: int) -> None:
        """`sink` is the intake. Letters are kept for `keep_s`, and `most` of them."""
        self.store = store
        self._sink = sink
        self._clock = clock
        self._keep = timedelta(seconds=keep_s)
        self._most = most
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._stopping = asyncio.Event()

    async def keep(self, inbound: Inbound, verdict: DeadLetter, place: str) -> None:
        """Keep a message that cannot be processed; see `triggers.message.Aside`. Headers that are private are not."""
        now = self._clock.now()
        letter = Letter(
            id=letter_id(inbound),
            trigger=inbound.trigger,
            source=inbound.source,
            place=place,
            code=verdict.code,
            reason=verdict.reason,
            first_at=now,
            last_at=now,
            content=Content(
                body=inbound.body,
                headers={name: value for name, value in inbound.headers.items() if not is_private(name)},
                key=inbound.key,
                identity=inbound.identity,
                content_type=inbound.content_type,
                received_at=inbound.received_at,
            ),
        )
        try:
            await self.store.put(letter)
        except Unavailable as error:
            raise BrokerUnavailable(str(error)) from error
        self._wanted.set()

    async def get(self, wanted: UUID) -> Letter:
        """Return one. Raises UnknownLetter."""
        letter = await self.store.get(wanted)
        if letter is None:
            raise UnknownLetter(wanted)
        return letter

    async def redrive(self, wanted: UUID, *, by: str, edit: Edit | None = None, dry_run: bool = False) -> Redriven:
        """Give it in again: as it came, or as it was edited before, or with this edit.

        1. edit  2. intake, as any message  3. note what came of it. What stops in between is done again harmlessly.
        Raises UnknownLetter, Rejected for one that does not wait, InvalidInput for an edit that does not fit.
        """
        letter = await self.get(wanted)
        if letter.state != "waiting":
            raise Rejected(f"the dead letter {wanted} does not wait: it is {letter.state}")
        body = letter.edited if edit is None else edit.of(letter)
        inbound = _inbound(letter, body)
        if dry_run:
            return Redriven(wanted, "would be redriven")
        if edit is not None:
            await self.store.edit(wanted, body)
        [verdict] = await self._sink([inbound])
        found, state = _told(wanted, verdict)
        settled = Settled(
            state=state, at=self._clock.now(), by=by, outcome=found.outcome, execution_id=found.execution_id
        )
        await self.store.settle(wanted, settled)
        return found

    async def discard(self, wanted: UUID, *, by: str) -> Letter:
        """Let it wait no longer; it stays to be looked at. Raises UnknownLetter, Rejected for one that was redriven."""
        await self.store.settle(wanted, Settled(state="discarded", at=self._clock.now(), by=by))
        letter = await self.get(wanted)
        if letter.state != "discarded":
            raise Rejected(f"the dead letter {wanted} does not wait: it is {letter.state}")
        return letter

    async def run(self) -> None:
        """Drop what is kept for long enough, until stopped: now and then, while there is any."""
        while not self._stopping.is_set():
            await first_of(self._wanted.wait(), self._stopping.wait())
            self._wanted.clear()
            try:
                dropped = await self.store.prune(before=self._clock.now() - self._keep, keep=self._most)
                if await self.store.oldest() is not None:
                    self._wanted.set()
            except StoreError as error:
                _logger.warning("no_letters_dropped", error=str(error))
                self._wanted.set()
            else:
                if dropped:
                    _logger.info("letters_dropped", count=dropped)
            await first_of(self._clock.sleep(PRUNE_EVERY_S), self._stopping.wait())

    async def stop(self) -> None:
        """Come to an end soon."""
        self._stopping.set()


class Edit(NamedTuple):
    """Another body, or a JSON Patch of the one that came."""

    body: bytes | None = None
    patch: Sequence[Mapping[str, Any]] = ()

    def of(self, letter: Letter) -> bytes:
        """Return the body that is given in. Raises InvalidInput for a patch that does not fit."""
        if self.body is not None:
            return self.body
        try:
            value = json.loads(letter.content.body)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"the body of {letter.id} is not JSON, so it takes no patch: {error}") from None
        try:
            return json.dumps(jsonpatch.apply_patch(value, list(self.patch)), ensure_ascii=False).encode()
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
            raise InvalidInput(f"the patch does not fit the body of {letter.id}: {error}") from None


def letter_id(inbound: Inbound) -> UUID:
    """Return the id of the message's letter: the same whenever it is delivered to the trigger again.

    What has no id of its own is known by its body.
    """
    known = inbound.identity or sha256(inbound.body).hexdigest()
    return uuid5(SAGAD_NAMESPACE, f"dead-letter\0{inbound.trigger}\0{inbound.source}\0{known}")


def where_of(text: str) -> Expression:
    """Read a `where`. Raises InvalidInput for an expression that cannot be."""
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        raise InvalidInput(f"where: {error}") from None
    for unknown in sorted(expression.names - set(NAMES)):
        raise InvalidInput(f"where: there is no {unknown!r}; {did_you_mean(unknown, NAMES)}")
    return expression


def holds(where: Expression, letter: Letter) -> bool:
    """Tell whether it is true of the letter; one for which it has no value is none of those meant."""
    shown = letter_view(letter)
    try:
        return where.evaluate({name: shown[name] for name in NAMES}) is True
    except EvaluationError:
        return False


def letter_view(letter: Letter) -> View:
    """Return a letter as the API shows it."""
    content = letter.content
    return {
        "id": str(letter.id),
        "trigger": letter.trigger,
        "state": letter.state,
        "code": letter.code,
        "reason": letter.reason,
        "times": letter.times,
        "source": letter.source,
        "place": letter.place,
        "first_at": letter.first_at,
        "last_at": letter.last_at,
        "settled_at": letter.settled_at,
        "settled_by": letter.settled_by,
        "outcome": letter.outcome,
        "execution_id": letter.execution_id,
        "key": content.key,
        "identity": content.identity,
        "headers": dict(content.headers),
        "traceparent": content.headers.get("traceparent"),
        "received_at": content.received_at,
        "bytes": len(content.body),
        "value": _value(content.body, content.content_type),
        "text": content.body.decode(errors="replace"),
        "edited": None if letter.edited is None else letter.edited.decode(errors="replace"),
    }


def _value(body: bytes, content_type: str | None) -> Any:
    try:
        return decode(body, content_type).value
    except ValueError:
        return None


def _inbound(letter: Letter, body: bytes | None) -> Inbound:
    content = letter.content
    return Inbound(
        trigger=letter.trigger,
        source=letter.source,
        identity=content.identity or f"dead-letter/{letter.id}",
        body=content.body if body is None else body,
        key=content.key,
        headers=content.headers,
        content_type=content.content_type,
        received_at=content.received_at,
    )


def _told(wanted: UUID, verdict: Ack | Retry | DeadLetter) -> tuple[Redriven, str]:
    """Return what to tell, and what the letter's state is then."""
    match verdict:
        case Ack(outcome=outcome, execution_id=execution_id):
            return Redriven(wanted, outcome, execution_id), "redriven"
        case DeadLetter(reason=reason):
            return Redriven(wanted, "refused", reason=reason), "waiting"
        case Retry(reason=reason):
            return Redriven(wanted, "later", reason=reason), "waiting"
