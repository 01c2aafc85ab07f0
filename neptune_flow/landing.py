"""Drives one commit to one table to its end, as `protocol.decide` says.

    look ──► decide ──► attempt ──► decide ──► …      until it has landed, or the process must stop

It acts and has no opinion: whether to append, look again or stop is the protocol's. Between two attempts it raises Unavailable, which
`patience` waits out. Nothing here knows Kafka, Bytewax or Iceberg; a table is whatever is TableLike.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from neptune_flow.errors import LedgerConflict, LostRace, NeptuneError, Superseded, Unavailable
from neptune_flow.ledger import Ledger
from neptune_flow.patience import Patience
from neptune_flow.protocol import AlreadyThere, Append, Look, LookAgain, Offer, Outcome, Stop, StopReason, decide
from neptune_flow.records import DataFile
from neptune_flow.vitals import CATALOG


def new_commit_id() -> str:
    """What names a commit in every ledger entry that it writes; no other has it."""
    return secrets.token_hex(8)


class AttemptLike(Protocol):
    """What a table says of one attempt."""

    @property
    def outcome(self) -> Outcome: ...
    @property
    def snapshot_id(self) -> int | None: ...
    @property
    def error(self) -> str: ...
    @property
    def after(self) -> Look | None: ...


class TableLike(Protocol):
    """A table, as the committer sees it; `iceberg.LakeTable` is one."""

    @property
    def name(self) -> str: ...
    def look(self) -> Look: ...
    def attempt(
        self, look: Any, files: Sequence[DataFile], ledger: Ledger, commit_id: str, summary: Mapping[str, str]
    ) -> AttemptLike: ...


@dataclass(frozen=True, slots=True)
class Landed:
    """How one commit to one table went."""

    ledger: Ledger
    snapshot_id: int | None
    attempts: int
    lost_races: int
    unknown: int
    after: Look | None
    """The table as it was when this had landed; the next commit may build on it, since a stale look is only refused."""


def land(
    table: TableLike,
    offer: Offer,
    files: Sequence[DataFile],
    advance: Callable[[Ledger], Ledger],
    summary: Callable[[Ledger], Mapping[str, str]],
    patience: Patience,
    look: Look | None = None,
) -> Landed:
    """Drive one commit to its end: it has landed when this returns.

    Args:
        table: to which the files belong.
        offer: what the protocol decides upon.
        files: data files that no snapshot names yet.
        advance: makes the ledger after the commit from the one before.
        summary: what else the snapshot's summary says.
        patience: how long storage and catalog may be away, and races be lost.
        look: what is known of the table already; saves a question.

    Raises:
        Superseded: another writer has moved the ledger of one of the partitions.
        LedgerConflict: the ledger is of another topic.
        LostRace: other writers were quicker at every try within the limit.
        Unavailable: no attempt was answered within the limit; it may still have landed, and a restart finds out.
    """
    drive = _Drive(table, offer, files, advance, summary, look)
    patience.call(CATALOG, drive.step)
    return drive.landed()


class _Drive:
    """One commit's state between decisions."""

    def __init__(
        self,
        table: TableLike,
        offer: Offer,
        files: Sequence[DataFile],
        advance: Callable[[Ledger], Ledger],
        summary: Callable[[Ledger], Mapping[str, str]],
        look: Look | None,
    ) -> None:
        self._table, self._offer, self._files = table, offer, files
        self._advance, self._summary = advance, summary
        self._last = Outcome.NONE
        self._may_be_stale = look is not None
        self._see(look)
        self._snapshot_id: int | None = None
        self._outcomes: list[Outcome] = []

    def step(self) -> None:
        """Follow the decisions until the commit has landed.

        Raises:
            Unavailable: not yet; to be called again after a pause.
            Superseded, LedgerConflict: never.
        """
        while True:
            match decide(self._offer, self._last, self._look):
                case AlreadyThere():
                    return
                case LookAgain():
                    self._see(self._table.look())
                case Append():
                    self._attempt()
                case Stop() as stop:
                    raise _stopped(self._table, stop)

    def landed(self) -> Landed:
        return Landed(
            self._ledger,
            self._snapshot_id,
            attempts=len(self._outcomes),
            lost_races=self._outcomes.count(Outcome.REFUSED),
            unknown=self._outcomes.count(Outcome.UNKNOWN),
            after=self._look,
        )

    def _see(self, look: Look | None) -> None:
        self._look = look
        ledger = (look.ledger if look else None) or Ledger(self._offer.topic, self._offer.topic_id)
        self._ledger = replace(ledger, topic_id=ledger.topic_id or self._offer.topic_id)

    def _attempt(self) -> None:
        ledger = self._advance(self._ledger)
        attempt = self._table.attempt(self._look, self._files, ledger, self._offer.commit, self._summary(ledger))
        self._last, self._look = attempt.outcome, attempt.after
        self._outcomes.append(attempt.outcome)
        if attempt.outcome is Outcome.LANDED:
            self._ledger, self._snapshot_id = ledger, attempt.snapshot_id
            return
        if attempt.outcome is Outcome.REFUSED and self._may_be_stale:
            # Another writer has committed since; a fresh look is all it takes.
            self._may_be_stale = False
            return
        what = f"{self._table.name}: attempt {len(self._outcomes)} of commit {self._offer.commit} is {self._last.value}"
        if attempt.outcome is Outcome.REFUSED:
            raise LostRace(what, detail=attempt.error, hint="many write to this table at once; nothing is lost")
        raise Unavailable(
            what,
            detail=attempt.error,
            hint="start again when storage and catalog are back: nothing is lost (limit: NEPTUNE_RETRY_S_MAX)",
        )


def _stopped(table: TableLike, stop: Stop) -> NeptuneError:
    if stop.reason in (StopReason.OTHER_TOPIC, StopReason.TOPIC_RECREATED):
        return LedgerConflict(
            f"{table.name}: {stop.reason.value}",
            hint="land each topic in a table of its own (ICEBERG_TABLE)",
        )
    return Superseded(
        f"{table.name}: {stop.reason.value}",
        detail=_superseded(stop),
        hint="stop the other process, or let one of them own the partition; a restart resumes from the ledger",
    )


def _superseded(stop: Stop) -> str:
    ours = f"partition {stop.partition}: this process builds on offset {stop.expected}"
    if stop.expected == stop.found:
        return f"{ours}, which another process has claimed since"
    return f"{ours}, the ledger is at {stop.found}"
