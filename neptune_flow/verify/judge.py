"""From what the tables hold and what their ledgers say to what is wrong. Pure.

Of each Kafka partition the ledger of the rows says: the offsets `[first, next)` are taken, each as a row, a reject, one that Kafka left out or
one that retention deleted. So

- every offset of a row lies there, and is there once, in rows and quarantine together;
- rejects lie there too, or above, as far as the quarantine's own ledger goes: they land first. Above, there may be fewer than it has landed,
  not more: one that somebody deleted is no loss, since its message is read again, and lands again as what it is then;
- the offsets that no table holds number left_out + lost. How many more there are, so many messages are lost. Which of them, the tables
  cannot tell; Kafka can, as long as it holds them (`against_kafka`): what it delivers was not left out.

A lost row lowers the count of rows below the ledger's as well; that is the same fault and is told once. A count above the ledger's is a skip:
messages went in past the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyroaring import BitMap64

from neptune_flow.ledger import Entry, Ledger
from neptune_flow.verify.offsets import OffsetSet, Ranges, between, span
from neptune_flow.verify.report import Fault, Kind, PartitionReport
from neptune_flow.verify.tables import Tally

FILES_MAX = 20
"""So many files of a kind of fault are named one by one."""


@dataclass(frozen=True, slots=True)
class Held:
    """One table: its name, what its ledger says and what it holds."""

    name: str
    ledger: Ledger | None
    """None: it never had one, or which one holds cannot be told."""
    tally: Tally

    def entry(self, partition: int) -> Entry | None:
        return self.ledger.entries.get(partition) if self.ledger else None


@dataclass(frozen=True, slots=True)
class Scope:
    """What can be judged."""

    is_part: bool
    """Only some days were read: what is missing cannot be told."""
    has_offsets: bool
    """Rows carry their offsets; else they can only be counted."""
    deletions: str = ""
    """In words, who else has removed rows."""


def judge_files(held: Held) -> Iterator[Fault]:
    """What is wrong with data files, and with rows that belong to no partition."""
    tally = held.tally
    for broken in tally.broken[:FILES_MAX]:
        yield Fault(Kind.LOST, held.name, f"{broken.path} {broken.trouble}")
    for file, stored in tally.unequal[:FILES_MAX]:
        kind = Kind.LOST if stored < file.record_count else Kind.STRANGE
        yield Fault(kind, held.name, f"{file.path} holds {stored:,} rows, its manifest claims {file.record_count:,}")
    for kind, found in ((Kind.LOST, len(tally.broken)), (Kind.STRANGE, len(tally.unequal))):
        if found > FILES_MAX:
            yield Fault(kind, held.name, f"{found - FILES_MAX:,} more such files")
    if tally.rows_without_offset:
        yield Fault(Kind.STRANGE, held.name, f"{tally.rows_without_offset:,} rows do not say which message they are")
    for topic, count in tally.foreign_topics.items():
        yield Fault(Kind.STRANGE, held.name, f"{count:,} rows are of another topic: {topic}")


def judge_partition(
    partition: int, rows: Held, rejects: Held, scope: Scope, delivered: BitMap64 | None = None
) -> Iterator[Fault]:
    """What is wrong with one Kafka partition.

    Args:
        delivered: offsets that no table holds and that Kafka delivers; None where it was not asked.
    """
    yield from _twins(partition, rows, rejects)
    entry = rows.entry(partition)
    if entry is None:
        yield from _unknown(partition, rows, rejects)
        return
    if not 0 <= entry.first <= entry.next:
        what = f"the ledger took [{entry.first}, {entry.next}), which no offsets are"
        yield Fault(Kind.SKIP, rows.name, what, partition)
        return
    if not entry.is_balanced:
        totals = entry.rows + entry.rejects + entry.left_out + entry.lost
        what = f"the ledger took {entry.next - entry.first:,} offsets, its totals make {totals:,}"
        yield Fault(Kind.SKIP, rows.name, what, partition)
    yield from _outside(partition, entry, rows, rejects)
    if not scope.is_part:
        yield from _counts(partition, entry, rows, rejects, scope)
        if scope.has_offsets:
            missing = missing_of(partition, entry, rows, rejects)
            short_rejects = max(entry.rejects - inside(rejects.tally.of(partition), entry), 0)
            yield from _lost(partition, entry, rows, missing, delivered or BitMap64(), short_rejects, scope)


def judge_totals(rows: Held) -> Iterator[Fault]:
    """Where rows do not carry their offsets: whether there are as many as the ledger counts."""
    counted = sum(e.rows for e in rows.ledger.entries.values()) if rows.ledger else 0
    if rows.tally.rows != counted:
        kind = Kind.LOST if rows.tally.rows < counted else Kind.SKIP
        yield Fault(kind, rows.name, f"the table holds {rows.tally.rows:,} rows, the ledger counts {counted:,}")


def partition_report(partition: int, rows: Held, rejects: Held, scope: Scope, faults: int) -> PartitionReport:
    """The partition as the report shows it."""
    entry = rows.entry(partition)
    is_told = scope.has_offsets and not scope.is_part
    return PartitionReport(
        partition=partition,
        entry=entry,
        rows=rows.tally.of(partition).count if scope.has_offsets else None,
        rejects=rejects.tally.of(partition).count,
        missing=len(missing_of(partition, entry, rows, rejects)) if entry and is_told else None,
        faults=faults,
    )


def missing_of(partition: int, entry: Entry, rows: Held, rejects: Held) -> BitMap64:
    """The offsets that the ledger has taken and no table holds."""
    missing = span(entry.first, entry.next)
    missing -= rows.tally.of(partition).held
    missing -= rejects.tally.of(partition).held
    return missing


def inside(offsets: OffsetSet, entry: Entry) -> int:
    """How many different offsets lie in `[first, next)`."""
    return offsets.held.range_cardinality(entry.first, entry.next)


def _twins(partition: int, rows: Held, rejects: Held) -> Iterator[Fault]:
    ours, theirs = rows.tally.of(partition), rejects.tally.of(partition)
    places: Mapping[str, tuple[Held, BitMap64]] = {
        "more than once in the table": (rows, ours.twins),
        "more than once in quarantine": (rejects, theirs.twins),
        "as a row and as a reject": (rows, ours.held & theirs.held),
    }
    for where, (held, twins) in places.items():
        if twins:
            yield Fault(Kind.TWIN, held.name, f"{_messages(len(twins))} {where}", partition, Ranges.of(twins))


def _unknown(partition: int, rows: Held, rejects: Held) -> Iterator[Fault]:
    """A partition without an entry. Rejects may be ahead of the first entry of the rows."""
    theirs = rejects.entry(partition)
    ahead = (theirs.first, theirs.next) if theirs else (0, 0)
    for held, allowed in ((rows, (0, 0)), (rejects, ahead)):
        offsets = held.tally.of(partition).held
        strange = offsets - between(offsets, *allowed)
        if strange and rows.ledger is not None:
            what = f"{_messages(len(strange))} of a partition that the ledger does not know"
            yield Fault(Kind.STRANGE, held.name, what, partition, Ranges.of(strange))


def _outside(partition: int, entry: Entry, rows: Held, rejects: Held) -> Iterator[Fault]:
    theirs = rejects.entry(partition)
    ends = ((rows, entry.next), (rejects, max(entry.next, theirs.next if theirs else 0)))
    for held, end in ends:
        offsets = held.tally.of(partition).held
        strange = offsets - between(offsets, entry.first, end)
        if strange:
            what = f"{_messages(len(strange))} outside of what the ledger has taken, [{entry.first}, {end})"
            yield Fault(Kind.STRANGE, held.name, what, partition, Ranges.of(strange))


def _counts(partition: int, entry: Entry, rows: Held, rejects: Held, scope: Scope) -> Iterator[Fault]:
    """Counts above the ledger's, and those that no offset that is missing can tell of."""
    ours, theirs = rows.tally.of(partition), rejects.tally.of(partition)
    both = len(ours.held & theirs.held)
    counted = [(rejects, inside(theirs, entry), entry.rejects, "rejects")]
    if scope.has_offsets:
        counted.append((rows, inside(ours, entry), entry.rows, "rows"))
    for held, found, said, what in counted:
        if found > said + both:
            yield Fault(Kind.SKIP, held.name, f"holds {found:,} {what}, the ledger counts {said:,}", partition)
        elif found < said and not scope.has_offsets:
            yield Fault(Kind.LOST, held.name, f"holds {found:,} {what}, the ledger counts {said:,}", partition)
    other = rejects.entry(partition)
    if other is None or other.rejects < entry.rejects:
        return
    ahead = theirs.held.range_cardinality(entry.next, max(other.next, entry.next))
    if ahead > other.rejects - entry.rejects:
        what = f"holds {ahead:,} rejects ahead of the rows, its ledger counts {other.rejects - entry.rejects:,}"
        yield Fault(Kind.SKIP, rejects.name, what, partition)


def _lost(
    partition: int,
    entry: Entry,
    rows: Held,
    missing: BitMap64,
    delivered: BitMap64,
    short_rejects: int,
    scope: Scope,
) -> Iterator[Fault]:
    kind = f" ({short_rejects:,} rejects)" if short_rejects else ""
    if len(missing) == entry.left_out + entry.lost and len(delivered) <= entry.lost:
        # Given up by a person (`python -m neptune_flow ledger set`) and counted so: Kafka may hold them still.
        return
    if delivered:
        what = f"{_messages(len(delivered))}{kind} in no table, which Kafka still delivers"
        yield Fault(Kind.LOST, rows.name, what, partition, Ranges.of(delivered), scope.deletions)
    rest = len(missing) - entry.left_out - entry.lost - len(delivered)
    if rest > 0:
        others = missing - delivered
        among = "" if len(others) == rest else f"; they are among {len(others):,} offsets that are in none"
        what = f"{_messages(rest)}{kind} in no table, which the ledger has taken{among}"
        yield Fault(Kind.LOST, rows.name, what, partition, Ranges.of(others), scope.deletions)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"
