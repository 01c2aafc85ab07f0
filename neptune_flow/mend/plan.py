"""What the new ledgers say, and what that loses or doubles. Pure: no table, no Kafka, no question is asked here.

    wish, log, the ledgers that are there ──► Basis ──┐
    the tables ─────────────────────────► Contents ───┴──► targets ──► Plan

**Totals stay true.** In each new entry `next - first == rows + rejects + left_out + lost`, with rows and rejects as the tables hold them
between the two, each offset once. What no table holds is a hole: left out by Kafka, lost before, or gone since.

**Holes.** The tables do not tell which hole is what, but how many there are of each: the old ledger counts what Kafka left out and what was
lost, so the rest is gone. A number that goes back leaves some holes above it, to be read again, and which kind these are is not known. So losses
are told as at least and at most, which are the same wherever all is known; and the new ledger counts as lost what may be, so that
`verify` never takes a loss for something that Kafka left out. Nor is it known how much Kafka has left out of what is skipped.

**Verdicts stand.** The quarantine's ledger stays as it is where it can: rejects at or above the rows' new number are not taken twice, since
the next start finds them there. It is set too, and first, where it is missing, broken or behind, or where the log was cut: from what the
quarantine holds.

**The watermark** goes on where a partition goes on at its number or beyond. Where it goes back, or the log is new, the rows that come
will be older than it, so it begins anew rather than promise that none will; and the least of all partitions with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from neptune_flow.errors import LedgerConflict, SettingsError
from neptune_flow.ledger import Entry, Ledger, contradictions
from neptune_flow.mend.basis import Basis, Source, Wish
from neptune_flow.mend.contents import Contents
from neptune_flow.verify.offsets import OffsetSet

ALL_AT_ONCE = "set all partitions at once: leave out --partition, or name every partition in --offsets"


@dataclass(frozen=True, slots=True)
class Change:
    """One partition's part of a plan."""

    partition: int
    before: int | None
    after: int
    given_up_least: int
    given_up: int
    """At most so many messages, and at least `given_up_least`, that no table will hold and that the ledger did not count as lost before."""
    deleted: int
    """At most so many that Kafka has deleted before they were taken: what is lost at the next start anyway."""
    again: int
    """Offsets that were taken and will be read again."""
    doubled: int | None
    """Rows among these that the table holds already, and that will be there twice; None where the table does not tell."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be landed; commit ids are still to come."""

    source: Source
    rows: Ledger
    rejects: Ledger
    is_quarantine_kept: bool
    """Its ledger says the same as before; only who may write changes."""
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def under(self, commit: str) -> Plan:
        """The plan with the id of the commits that land it in every entry that changes."""
        changed = {c.partition for c in self.changes}
        rows = _under(commit, self.rows, changed)
        rejects = _under(commit, self.rejects, changed if self.is_quarantine_kept else self.rejects.entries.keys())
        return replace(self, rows=rows, rejects=rejects)


def _under(commit: str, ledger: Ledger, changed: Collection[int]) -> Ledger:
    entries = {p: replace(e, commit=commit) if p in changed else e for p, e in ledger.entries.items()}
    return replace(ledger, entries=entries)


def targets(wish: Wish, base: Basis, rows: Contents | None) -> dict[int, int]:
    """The new number of each partition: none that Kafka does not hold any more.

    Raises:
        LedgerConflict: these numbers cannot be had from there.
        SettingsError: a partition or an offset does not exist.
    """
    _check_wish(wish, base, rows)
    found: dict[int, int] = {}
    for partition, (low, high) in sorted(base.log.ranges.items()):
        began, reached = base.began(partition), base.reached(partition)
        match wish.source:
            case Source.EARLIEST:
                number: int | None = low
            case Source.LATEST:
                number = high
            case Source.OFFSETS:
                number = wish.offsets.get(partition)
            case Source.LEDGER:
                number = began if reached is None else reached
            case Source.ROWS:
                end = rows.of(partition).next if rows else None
                number = end if end is not None else low if began is None else began
        if number is None or (wish.partitions and partition not in wish.partitions):
            continue
        if not 0 <= number <= high:
            raise SettingsError(
                f"partition {partition}: offset {number} lies beyond the log, which is [{low}, {high})",
                hint="choose an offset up to the log's end, or --from latest",
            )
        found[partition] = max(number, low)
    _check_none_is_forgotten(base, found)
    return found


def _check_wish(wish: Wish, base: Basis, rows: Contents | None) -> None:
    unknown = sorted((wish.partitions | wish.offsets.keys()) - base.log.ranges.keys())
    if unknown:
        raise SettingsError(f"topic {base.log.topic.name} has no partition {unknown[0]}")
    if base.new_log and wish.source in (Source.ROWS, Source.LEDGER):
        raise LedgerConflict(
            f"--from {wish.source.value} is not possible: {base.new_log}",
            detail="what the tables hold came from the earlier log, and says nothing of this one",
            hint="python -m neptune_flow ledger set --from earliest",
        )
    if wish.source is Source.LEDGER and not base.before:
        raise LedgerConflict(
            "the table of rows has no ledger to go on with", hint="python -m neptune_flow ledger set --from rows"
        )
    if wish.source is Source.ROWS and rows is None:
        raise LedgerConflict(
            "the table of rows does not tell which offsets it holds",
            detail="it has no column _kafka (NEPTUNE_KAFKA_COLUMNS)",
            hint="choose --from ledger, earliest or latest, or give the numbers with --offsets",
        )


def _check_none_is_forgotten(base: Basis, found: Mapping[int, int]) -> None:
    if base.new_log and (forgotten := sorted((base.before.keys() & base.log.ranges.keys()) - found.keys())):
        raise SettingsError(f"{base.new_log}; partition {forgotten[0]} would begin again", hint=ALL_AT_ONCE)
    if forgotten := sorted(base.rows.cuts.keys() - found.keys()):
        raise SettingsError(
            f"partition {forgotten[0]} was cut at offset {base.rows.cuts[forgotten[0]]}, and must be set too",
            hint="leave out --partition, or name it too",
        )


def settle(base: Basis, rejects: Contents) -> tuple[Basis, Contents]:
    """Base and quarantine where that holds more than its ledger has landed, so that the next start would stop.

    Another program has added to it: its ledger is then set from what it holds. Or, where a log has begun anew or was cut, rewritten the
    older files: their verdicts can no longer be told from this log's, and all that may be of the earlier one are given up.
    """
    side = base.rejects
    has_more = any(rejects.before_cut(p).count > entry.rejects for p, entry in side.reading.entries.items())
    if not base.is_quarantine_sound or not has_more:
        return base, rejects
    if side.ledger.began_after is None and not side.ledger.cuts:
        return replace(base, is_quarantine_sound=False), rejects
    cuts = tuple(c._replace(sequence_number=side.sequence_number) for c in side.ledger.cuts)
    began_after = None if side.ledger.began_after is None else side.sequence_number
    anew = replace(side, ledger=replace(side.ledger, began_after=began_after, cuts=cuts))
    kept = rejects.seen if began_after is None else {}
    base = replace(base, rejects=anew, is_quarantine_sound=False, has_given_up_verdicts=True)
    return base, Contents(kept, anew.cuts)


def plan(wish: Wish, base: Basis, rejects: Contents, numbers: Mapping[int, int], rows: Contents | None) -> Plan:
    """The new ledgers, and what they lose or double.

    Args:
        wish: what is asked for.
        base: what there is to build on, and what the quarantine holds (`rejects`): as they are settled.
        numbers: the new number of each partition (`targets`).
        rows: what the table of rows holds; None where it does not tell.

    Raises:
        LedgerConflict: Neptune would stop at the result too.
    """
    parts = [_Part(base, p, number, rows, rejects) for p, number in numbers.items()]
    old = base.rows.ledger.entries
    goes_back = bool(base.new_log) or any(p in old and number < old[p].next for p, number in numbers.items())
    least = None if goes_back else base.rows.ledger.watermark_least
    entries = {**old, **{part.partition: part.entry() for part in parts}}
    new_rows = replace(base.rows.ledger, entries=entries, watermark_least=least)
    forgotten = [p for p in base.log.ranges if p not in entries and (rows is None or rows.of(p).count)]
    if forgotten:
        raise LedgerConflict(
            f"partition {forgotten[0]} would begin again, and double what the table holds of it", hint=ALL_AT_ONCE
        )
    is_kept = base.is_quarantine_sound and not any(
        c.is_quarantine_behind for c in contradictions(new_rows, base.rejects.ledger)
    )
    new_rejects = base.rejects.ledger if is_kept else _quarantine(base, new_rows, rejects)
    still = list(contradictions(new_rows, new_rejects))
    if still:
        raise LedgerConflict(f"Neptune would stop at this ledger too: {still[0].says}", hint=ALL_AT_ONCE)
    changes = tuple(part.change() for part in parts)
    notes = tuple(_notes(base, rows, parts, is_quarantine_kept=is_kept))
    return Plan(wish.source, new_rows, new_rejects, is_kept, changes, notes)


class _Holes(NamedTuple):
    """What no table holds below a new number."""

    total: int
    lost: int
    """As many of them as may have been messages."""
    deleted: int
    """Those that nobody had taken and Kafka does not hold any more."""
    given_up_least: int
    given_up: int
    """Those of `lost` that were not counted so before, nor are `deleted`: at least and at most."""


class _Part:
    """One partition of a plan."""

    def __init__(self, base: Basis, partition: int, target: int, rows: Contents | None, rejects: Contents) -> None:
        self.partition = partition
        self._base, self._target = base, target
        self._low, self._high = base.log.ranges[partition]
        self._old = base.rows.ledger.entries.get(partition)
        self._has_offsets = rows is not None
        self._rows, self._rejects = rows or Contents(), rejects
        self._refused = rejects.of(partition)
        self._held = self._rows.of(partition).joined(self._refused)
        reached = base.reached(partition)
        self._reached = (base.began(partition) or 0) if reached is None else reached
        self._first = self._first_offset()
        self._holes = self._find_holes()

    @property
    def holds_twins(self) -> bool:
        """Whether a message is held more than once, in the rows or in both tables."""
        return bool(self._held.twins)

    def entry(self) -> Entry:
        """What the ledger says of it."""
        old, holes = self._old, self._holes
        refused = self._refused.between(self._first, self._target)
        goes_on = old if old and self._target >= old.next else Entry(self._first, self._target, "")
        return replace(
            goes_on,
            first=self._first,
            next=self._target,
            rows=self._target - self._first - refused - holes.total,
            rejects=refused,
            left_out=holes.total - holes.lost,
            lost=holes.lost,
        )

    def change(self) -> Change:
        """What it loses and doubles."""
        holes, verdicts = self._holes, self._base.rejects.ledger.entries.get(self.partition)
        taken = max(self._reached, self._rows.of(self.partition).next or 0, verdicts.next if verdicts else 0)
        return Change(
            self.partition,
            before=self._base.before.get(self.partition),
            after=self._target,
            given_up_least=holes.given_up_least,
            given_up=holes.given_up,
            deleted=holes.deleted,
            again=max(0, min(taken, self._high) - self._target),
            doubled=self._doubled(),
        )

    def _first_offset(self) -> int:
        """Where its totals begin."""
        known = (self._base.began(self.partition), self._rows.of(self.partition).least)
        return min([self._target, *(offset for offset in known if offset is not None)])

    def _find_holes(self) -> _Holes:
        """See the module's head."""
        first, target, old = self._first, self._target, self._old
        count = target - first - self._count(self._held, target)
        skipped_from = min(max(self._reached, first), target)
        gone_at = min(max(self._low, skipped_from), target)
        skipped = target - skipped_from - self._held.between(skipped_from, target)
        deleted = gone_at - skipped_from - self._held.between(skipped_from, gone_at)
        if old is None:
            before_first = max(0, first - max(self._reached, self._low))
            return _Holes(count, count, deleted, 0, count - deleted + before_first)
        everything = self._rows.before_cut(self.partition).joined(self._rejects.before_cut(self.partition))
        all_holes = old.next - first - self._count(everything, old.next)
        gone = max(0, all_holes - old.left_out - old.lost)
        taken = count - skipped
        elsewhere = all_holes - taken + old.first - first
        lost = min(taken, max(0, all_holes - old.left_out))
        given_up = min(taken, gone) + skipped - deleted
        return _Holes(count, lost + skipped, deleted, max(0, gone - elsewhere), given_up)

    def _count(self, held: OffsetSet, next: int) -> int:
        """Offsets that are held from the first on; where rows do not tell theirs, as many as the ledger counts."""
        untold = self._old.rows if self._old and self._first < self._target and not self._has_offsets else 0
        return min(held.between(self._first, next) + untold, next - self._first)

    def _doubled(self) -> int | None:
        cut = self._base.rows.cuts.get(self.partition, self._high)
        of_either_log = self._rows.before_cut(self.partition).between(max(cut, self._target), self._high)
        if of_either_log or not self._has_offsets:
            return None
        return self._held.between(self._target, self._high) - self._refused.between(self._target, self._high)


def _quarantine(base: Basis, rows: Ledger, rejects: Contents) -> Ledger:
    """The quarantine's new ledger, from what it holds."""
    known = {p: Entry(0, 0, "") for p in rejects.seen} | dict(rows.entries)
    entries = {p: _verdicts(e, rejects.of(p), base.log.ranges.get(p)) for p, e in sorted(known.items())}
    return replace(base.rejects.ledger, entries=entries)


def _verdicts(entry: Entry, held: OffsetSet, log: tuple[int, int] | None) -> Entry:
    held = held.below(log[1]) if log else held  # what lies beyond the log is no message's verdict
    if held.least is None or held.next is None:
        return Entry(entry.first, entry.next, "")
    return Entry(min(held.least, entry.first), max(held.next, entry.next), "", rejects=held.count)


def _notes(base: Basis, rows: Contents | None, parts: Sequence[_Part], *, is_quarantine_kept: bool) -> Iterator[str]:
    """What else whoever is asked must know."""
    if base.new_log:
        yield f"{base.new_log}: all that the tables hold stays, and is of the earlier log"
    for partition, offset in sorted(base.rows.cuts.items()):
        yield f"partition {partition} was cut at offset {offset}: what the table holds from there on stays, and is of the log before"
    if is_quarantine_kept:
        yield "the quarantine's ledger stays: what it holds at or above the new offsets is not taken again"
    elif base.has_given_up_verdicts:
        yield "rejects of this log cannot be told from those of the log before: they are given up, and may come again"
    elif not base.new_log:
        yield "the quarantine's ledger is set from what it holds; rejects that it lacks count as lost"
    if rows is None:
        yield "the rows do not tell their offsets (no column _kafka): what would be doubled is not known, nor whether rows are gone"
        return
    if rows.without_offset:
        yield f"{rows.without_offset} rows do not say which message they are: fewer may be lost, and more doubled"
    if twins := [part.partition for part in parts if part.holds_twins]:
        yield f"partitions {twins}: messages are there more than once already; `python -m neptune_flow verify` names them"
