"""What new ledgers build on: the ledgers that there are, and what has become of the log that they are about. Pure.

**A new topic.** Where the topic was created anew, the same offsets are other messages now. Both ledgers then begin anew: no totals, no verdicts,
and all data files so far are of the earlier topic (`Ledger.began_after`).

**A log that was cut.** Where the same topic ends below what a table has taken, only what lies from its end on is other messages (`Ledger.cuts`). All
else stays as it is: the other partitions, and the totals and verdicts below the cut. A broker that tells no topic ids cannot say which of the two
it is: then who wants to go on from the earliest message is taken to mean a new topic.

**Marks agree.** A mark that one table's ledger has and the other's has not comes of a table that was dropped or restored, or of a command that was
cut off. Whichever lacks it gets it, for all that it holds so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from neptune_flow.errors import LedgerConflict
from neptune_flow.ledger import Cut, Ledger
from neptune_flow.mend.scene import Log


class Source(Enum):
    """From where the new numbers come."""

    EARLIEST = "earliest"
    """The first messages that Kafka still holds."""
    LATEST = "latest"
    """The log's end."""
    ROWS = "rows"
    """After the last offset that the rows hold; where they hold none, where the partition began."""
    LEDGER = "ledger"
    """The newest ledger on `main`'s line; where the log was cut below its numbers, the log's end."""
    OFFSETS = "offsets"
    """As given."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    source: Source
    offsets: Mapping[int, int]
    """The numbers, for Source.OFFSETS."""
    partitions: frozenset[int]
    """Only these; all where it is empty."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one table says."""

    ledger: Ledger | None
    is_broken: bool
    """Its history makes no sense; the ledger is the newest that could be read."""
    sequence_number: int
    """The newest; no data file has a greater one."""


@dataclass(frozen=True, slots=True)
class Side:
    """One table's part of the basis."""

    ledger: Ledger
    """What can be gone on with, with the marks that it gets; without entries where there is nothing."""
    reading: Ledger
    """The same with the marks that it has: as the table is to be read."""
    sequence_number: int

    @property
    def cuts(self) -> Mapping[int, int]:
        """Per partition, the least offset at which the ledger gets a mark that it has not."""
        fresh = set(self.ledger.cuts) - set(self.reading.cuts)
        return {c.partition: c.offset for c in sorted(fresh, reverse=True)}


@dataclass(frozen=True, slots=True)
class Basis:
    """What the new ledgers build on."""

    log: Log
    rows: Side
    rejects: Side
    is_quarantine_sound: bool
    """Its ledger can stay as it is."""
    before: Mapping[int, int]
    """The numbers of the rows' ledger as it is."""
    new_log: str
    """Why the log is another than the one that the rows came from; empty where it is the same, cut or not."""
    has_given_up_verdicts: bool = False
    """The rejects of this log cannot be told from those of the log before it was cut, or of the topic before."""

    def reached(self, partition: int) -> int | None:
        """How far this log has been taken: to the ledger's number, or to where it was cut; None where it is not known."""
        number = None if self.new_log else self.before.get(partition)
        return None if number is None else min(number, self.rows.cuts.get(partition, number))

    def began(self, partition: int) -> int | None:
        """The first offset that was ever taken, which the quarantine remembers too; None where none was."""
        entry = self.rows.ledger.entries.get(partition) or self.rejects.ledger.entries.get(partition)
        return entry.first if entry else None


def basis(source: Source, log: Log, rows: Known, rejects: Known) -> Basis:
    """What can be gone on with.

    Raises:
        LedgerConflict: a table holds another topic.
    """
    for known in (rows, rejects):
        if known.ledger and known.ledger.topic != log.topic.name:
            raise LedgerConflict(
                f"the tables hold topic {known.ledger.topic}, not {log.topic.name}",
                hint="land each topic in a table of its own (ICEBERG_TABLE), or correct KAFKA_TOPIC",
            )
    new_log, is_guess = _new_log(source, log, rows.ledger, rejects.ledger)
    ours = rows.ledger or Ledger(log.topic.name, log.topic.id)
    before = {p: entry.next for p, entry in ours.entries.items()}
    if new_log:
        ours = Ledger(log.topic.name, log.topic.id, began_after=rows.sequence_number)
    theirs = rejects.ledger
    is_of_this_log = theirs is not None and not is_guess and _is_named(log, theirs)
    if theirs is None or not is_of_this_log or (theirs.began_after is None) != (ours.began_after is None):
        is_of_this_log = False
        began_after = rejects.sequence_number if ours.began_after is not None else None
        theirs = Ledger(log.topic.name, log.topic.id, began_after=began_after)
    cut = _cut(log, (ours, theirs))
    our_side = _side(log, ours, cut, theirs.cuts, rows.sequence_number)
    their_side = _side(log, theirs, cut, ours.cuts, rejects.sequence_number)
    is_sound = is_of_this_log and not rejects.is_broken and not their_side.cuts
    return Basis(log, our_side, their_side, is_sound, before, new_log)


def _new_log(source: Source, log: Log, rows: Ledger | None, rejects: Ledger | None) -> tuple[str, bool]:
    """Why the log is another topic's, and whether that is a guess."""
    oldest = rows or rejects
    if oldest and not _is_named(log, oldest):
        return f"topic {log.topic.name} was created anew: its id was {oldest.topic_id} and is {log.topic.id}", False
    if rejects and rejects.began_after is not None and (rows is None or rows.began_after is None):
        return "the quarantine's ledger began anew on a later log than the rows'", False
    nameless = [ledger for ledger in (rows, rejects) if ledger and not (ledger.topic_id and log.topic.id)]
    if source is Source.EARLIEST and (cut := _cut(log, nameless)):
        partition, end = min(cut.items())
        return (
            f"topic {log.topic.name} is taken to be a new one: partition {partition} ends at offset {end} already",
            True,
        )
    return "", False


def _is_named(log: Log, ledger: Ledger) -> bool:
    return not ledger.topic_id or not log.topic.id or ledger.topic_id == log.topic.id


def _cut(log: Log, ledgers: Iterable[Ledger]) -> dict[int, int]:
    """The partitions whose log ends below what has been taken of them, and where."""
    taken = [(p, entry.next) for ledger in ledgers for p, entry in ledger.entries.items() if p in log.ranges]
    return {p: log.ranges[p][1] for p, next in taken if next > log.ranges[p][1]}


def _side(log: Log, ledger: Ledger, cut: Mapping[int, int], others: Iterable[Cut], sequence_number: int) -> Side:
    marks = {(c.partition, c.offset): c.sequence_number for c in ledger.cuts}
    lacking = {(c.partition, c.offset) for c in others} - marks.keys()
    marks |= dict.fromkeys([*lacking, *cut.items()], sequence_number)
    cuts = tuple(Cut(partition, offset, number) for (partition, offset), number in sorted(marks.items()))
    topic_id = log.topic.id or ledger.topic_id
    return Side(replace(ledger, topic_id=topic_id, cuts=cuts), ledger, sequence_number)
