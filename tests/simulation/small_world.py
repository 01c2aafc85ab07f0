"""A world so small that every order of events can be tried: what `test_protocol` explores.

Writers of a few Kafka partitions land a few messages in a table and its quarantine. Each drives the real `protocol.decide` and the real
ledger as `sink` does; everything around them is a value, so that a state can be kept, compared and continued in every way:

    writer    down ─► has read the rows' ledger ─► has read the quarantine, offers a stretch ─► look │ attempt … ─► offers the next
    attempt   applied and answered · applied, answer lost · refused · not applied, answer lost · in flight, applied at any later step
    crash     of any writer at any step; it begins anew from the two ledgers

Three things keep the states few without losing a behaviour. A pin is one bit, "the table is still as it was looked at"; an attempt whose
pin no longer holds can never be applied, so only the others stay in flight. Commit ids are not kept but what is asked of them:
"does the table's entry still come from the commit that I know?" and "does it come from the commit that I drive?". Of two states that
differ only in which of two zombies is which, one is kept.

Deliberately not here: invariants and mutants (the test's), and anything random (`world`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple, TypeVar

from neptune_flow.ledger import Entry, Ledger
from neptune_flow.protocol import AlreadyThere, Append, Claim, Decision, Look, LookAgain, Offer, Outcome, Stop, decide
from neptune_flow.records import Stretch

TOPIC = "topic"
MINE, KNOWN, OTHER = "mine", "known", "other"
"""Commit ids, as one writer tells them apart: of the commit that it drives, of the one that it builds on, of any other."""
NOBODY = -1

T = TypeVar("T")
Decide = Callable[[Offer, Outcome, Look | None], Decision]


class Kind(IntEnum):
    """The two tables."""

    ROWS = 0
    QUARANTINE = 1


class Phase(IntEnum):
    """Where a writer is."""

    DOWN = 0
    HALF = 1
    """It has read the rows' ledger, not yet the quarantine."""
    BUSY = 2
    """It drives a commit."""
    DONE = 3
    """It has landed all there is."""


class Part(NamedTuple):
    """A ledger's entry of one Kafka partition, as far as it matters here."""

    next: int
    rows: int = 0
    rejects: int = 0


class Table(NamedTuple):
    """What one table shows; both fields are in the order of partitions."""

    parts: tuple[Part | None, ...]
    content: tuple[tuple[int, ...], ...]
    """Per partition the offsets that landed, sorted; one that landed twice is there twice."""


class Span(NamedTuple):
    """Offsets `[first, next)` that a writer offers, with its verdict."""

    first: int
    next: int
    rows: tuple[int, ...] = ()
    rejects: tuple[int, ...] = ()
    refused_before: int = 0


class Known(NamedTuple):
    """The entry that a writer builds on, and whether the table still has it."""

    next: int | None = None
    still: bool = True


class Seen(NamedTuple):
    """What a look showed of the writer's partition, and whether the table is still as it was then."""

    part: Part | None
    commit: str
    holds: bool = True


class Drive(NamedTuple):
    """One commit to one table under way; it carries the writer's span, or nothing if it is a fence."""

    kind: Kind
    full: bool
    last: Outcome = Outcome.NONE
    seen: Seen | None = None
    there: bool = False
    """The table's entry comes from this commit."""


class Writer(NamedTuple):
    """What one process holds in memory."""

    phase: Phase
    contract: int = 0
    known: tuple[Known, Known] = (Known(), Known())
    """Of the rows, of the quarantine."""
    left: tuple[Seen | None, Seen | None] = (None, None)
    """The tables as the writer's last commits have left them; the next ones build on that without a look."""
    held: tuple[int, ...] = ()
    """Offsets that the quarantine held at or above the ledger when this writer began."""
    fenced: bool = False
    span: Span | None = None
    step: int = 0
    drive: Drive | None = None


DOWN = Writer(Phase.DOWN)


class Flying(NamedTuple):
    """An attempt whose pin still holds, on its way to the catalog."""

    kind: Kind
    partition: int
    writer: int
    """Who still drives the commit, or NOBODY."""
    after: Part
    offsets: tuple[int, ...]


class State(NamedTuple):
    """Everything, as a value."""

    tables: tuple[Table, Table]
    writers: tuple[Writer, ...]
    flying: tuple[Flying, ...]
    crashes_left: int
    faults_left: int


@dataclass(frozen=True)
class World:
    """Who writes what, how much may go wrong, and (for mutants) how the protocol differs from the real one."""

    owners: tuple[int, ...]
    """The Kafka partition of each writer; two writers of one partition are each other's zombies."""
    length: tuple[int, ...]
    """Messages in each partition."""
    verdicts: tuple[frozenset[tuple[int, int]], ...]
    """The `(partition, offset)` that are refused; where there are several verdicts, a writer that begins may have any of them."""
    crashes_max: int
    faults_max: int
    decide: Decide = decide
    pinned: bool = True
    order: tuple[Kind, Kind] = (Kind.QUARANTINE, Kind.ROWS)
    fences: tuple[Kind, ...] = (Kind.ROWS, Kind.QUARANTINE)

    @property
    def partitions(self) -> int:
        return len(self.length)

    def is_done(self, state: State) -> bool:
        """Whether every message has landed."""
        parts = state.tables[Kind.ROWS].parts
        return all(part is not None and part.next == self.length[p] for p, part in enumerate(parts))

    def explore(self) -> Iterator[tuple[State | None, State]]:
        """Every state that can be reached, each once, with the one it was first reached from."""
        nothing = Table((None,) * self.partitions, ((),) * self.partitions)
        first = State((nothing, nothing), (DOWN,) * len(self.owners), (), self.crashes_max, self.faults_max)
        seen, waiting = {first}, deque([first])
        yield None, first
        while waiting:
            state = waiting.popleft()
            for following in map(self._sorted, self._steps(state)):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)
                    yield state, following

    def _steps(self, state: State) -> Iterator[State]:
        for number, writer in enumerate(state.writers):
            yield from self._writer_steps(state, number, writer)
            if state.crashes_left and writer.phase is not Phase.DOWN:
                yield _down(state._replace(crashes_left=state.crashes_left - 1), number)
        for flying in set(state.flying):
            landed = self._apply(state, flying)
            yield landed._replace(flying=tuple(f for f in landed.flying if f != flying))

    def _sorted(self, state: State) -> State:
        """The same state with zombies in one order; any order will do that is the same throughout a run."""
        for one in range(len(self.owners) - 1):
            other, writers = one + 1, state.writers
            if self.owners[one] == self.owners[other] and hash(writers[one]) > hash(writers[other]):
                swapped = {one: other, other: one}
                flying = tuple(sorted(f._replace(writer=swapped.get(f.writer, f.writer)) for f in state.flying))
                writers = _put(_put(writers, one, writers[other]), other, writers[one])
                state = state._replace(writers=writers, flying=flying)
        return state

    # One writer

    def _writer_steps(self, state: State, number: int, writer: Writer) -> Iterator[State]:
        partition = self.owners[number]
        match writer.phase:
            case Phase.DOWN:
                rows = _known(state.tables[Kind.ROWS].parts[partition])
                for contract in range(len(self.verdicts)):
                    yield _with(state, number, Writer(Phase.HALF, contract, (rows, Known())))
            case Phase.HALF:
                yield from self._offers(state, number, _read_quarantine(writer, state.tables, partition))
            case Phase.BUSY:
                yield from self._drive(state, number, writer)

    def _offers(self, state: State, number: int, writer: Writer) -> Iterator[State]:
        """One state for each stretch that the writer may offer next."""
        partition, first = self.owners[number], writer.known[Kind.ROWS].next or 0
        if first == self.length[partition]:
            yield _with(state, number, writer._replace(phase=Phase.DONE))
        for end in range(first + 1, self.length[partition] + 1):
            offering = writer._replace(phase=Phase.BUSY, span=self._judge(writer, partition, first, end))
            yield _with(state, number, offering._replace(drive=self._plan(offering)[0]))

    def _judge(self, writer: Writer, partition: int, first: int, end: int) -> Span:
        fresh = [o for o in range(first, end) if o not in writer.held]
        rejects = tuple(o for o in fresh if (partition, o) in self.verdicts[writer.contract])
        rows = tuple(o for o in fresh if o not in rejects)
        return Span(first, end, rows, rejects, end - first - len(fresh))

    def _plan(self, writer: Writer) -> list[Drive]:
        assert writer.span is not None
        fences = () if writer.fenced else self.fences
        plan = [Drive(Kind.ROWS, full=False)] if Kind.ROWS in fences else []
        for kind in self.order:
            if kind is Kind.ROWS or writer.span.rejects or Kind.QUARANTINE in fences:
                plan.append(Drive(kind, full=True))
        return [drive._replace(seen=writer.left[drive.kind]) for drive in plan]

    def _drive(self, state: State, number: int, writer: Writer) -> Iterator[State]:
        drive, partition = writer.drive, self.owners[number]
        assert drive is not None
        known = writer.known[drive.kind]
        match _decision(self.decide, partition, known.next, drive.last, drive.seen):
            case AlreadyThere():
                part = drive.seen.part if drive.seen else state.tables[drive.kind].parts[partition]
                left = drive.seen and drive.seen._replace(commit=KNOWN)
                yield from self._landed(state, number, _known(part)._replace(still=drive.there), left)
            case LookAgain():
                commit = MINE if drive.there else KNOWN if known.still else OTHER
                seen = Seen(state.tables[drive.kind].parts[partition], commit)
                yield _with(state, number, writer._replace(drive=drive._replace(seen=seen)))
            case Append():
                yield from self._attempt(state, number, writer, drive)
            case Stop():
                yield _down(state, number)

    def _landed(self, state: State, number: int, known: Known, left: Seen | None) -> Iterator[State]:
        writer = state.writers[number]
        assert writer.drive is not None
        kind = writer.drive.kind
        writer = writer._replace(known=_put(writer.known, kind, known), left=_put(writer.left, kind, left))
        writer, state = writer._replace(step=writer.step + 1), _forgotten(state, number)
        plan = self._plan(writer)
        if writer.step < len(plan):
            yield _with(state, number, writer._replace(drive=plan[writer.step]))
        else:
            yield from self._offers(state, number, writer._replace(fenced=True, span=None, step=0, drive=None))

    # One attempt

    def _attempt(self, state: State, number: int, writer: Writer, drive: Drive) -> Iterator[State]:
        assert writer.span is not None
        assert drive.seen is not None
        partition = self.owners[number]
        span = writer.span if drive.full else Span(writer.span.first, writer.span.first)
        after = _advanced(drive.kind, drive.seen.part, partition, span)
        if after is None:
            # The real ledger refuses a stretch that does not join: the process ends.
            yield _down(state, number)
            return
        flying = Flying(drive.kind, partition, number, after, span.rows if drive.kind is Kind.ROWS else span.rejects)
        refused = _with(state, number, writer._replace(drive=drive._replace(last=Outcome.REFUSED, seen=None)))
        unknown = _with(state, number, writer._replace(drive=drive._replace(last=Outcome.UNKNOWN, seen=None)))
        unknown = unknown._replace(faults_left=state.faults_left - 1)
        may_land = drive.seen.holds or not self.pinned
        if may_land:
            left = Seen(after, KNOWN)
            yield from self._landed(self._apply(state, flying), number, _known(after), left)
        else:
            yield refused
        if state.faults_left:
            yield refused._replace(faults_left=state.faults_left - 1)
            yield unknown
            if may_land:
                yield self._apply(unknown, flying)
                yield unknown._replace(flying=tuple(sorted((*unknown.flying, flying))))

    def _apply(self, state: State, flying: Flying) -> State:
        kind, p = flying.kind, flying.partition
        table = state.tables[kind]
        content = tuple(sorted((*table.content[p], *flying.offsets)))
        table = Table(_put(table.parts, p, flying.after), _put(table.content, p, content))
        writers = tuple([self._noticing(n, w, flying) for n, w in enumerate(state.writers)])
        in_flight = tuple(f for f in state.flying if f.kind is not kind) if self.pinned else state.flying
        return state._replace(tables=_put(state.tables, kind, table), writers=writers, flying=in_flight)

    def _noticing(self, number: int, writer: Writer, flying: Flying) -> Writer:
        """The writer once an attempt was applied: what it believed of that table may hold no longer."""
        kind, drive = flying.kind, writer.drive
        drives_it = drive is not None and drive.kind is kind
        left = writer.left[kind]
        if left is not None and left.holds and self.pinned:
            writer = writer._replace(left=_put(writer.left, kind, left._replace(holds=False)))
        if drive is not None and drives_it and drive.seen is not None and drive.seen.holds and self.pinned:
            drive = drive._replace(seen=drive.seen._replace(holds=False))
        if self.owners[number] != flying.partition:
            return writer._replace(drive=drive)
        if drive is not None and drives_it:
            drive = drive._replace(there=flying.writer == number)
        known = _put(writer.known, kind, writer.known[kind]._replace(still=False))
        return writer._replace(known=known, drive=drive)


def _put(values: T, index: int, value: object) -> T:
    changed = list(values)  # type: ignore[call-overload]
    changed[index] = value
    return tuple(changed)  # type: ignore[return-value]


def _with(state: State, number: int, writer: Writer) -> State:
    return state._replace(writers=_put(state.writers, number, writer))


def _down(state: State, number: int) -> State:
    return _forgotten(_with(state, number, DOWN), number)


def _forgotten(state: State, number: int) -> State:
    """The state once a writer asks no more for the commit that it drove."""
    if all(f.writer != number for f in state.flying):
        return state
    return state._replace(
        flying=tuple(sorted(f._replace(writer=NOBODY) if f.writer == number else f for f in state.flying))
    )


def _known(part: Part | None) -> Known:
    return Known(None if part is None else part.next)


def _read_quarantine(writer: Writer, tables: tuple[Table, Table], partition: int) -> Writer:
    rows, quarantine = writer.known[Kind.ROWS], tables[Kind.QUARANTINE]
    held = tuple(o for o in quarantine.content[partition] if o >= (rows.next or 0))
    return writer._replace(known=(rows, _known(quarantine.parts[partition])), held=held)


@cache
def _decision(judge: Decide, partition: int, begins: int | None, last: Outcome, seen: Seen | None) -> Decision:
    claim = Claim(partition, begins, None if begins is None else KNOWN)
    look = None if seen is None else Look(_ledger(seen.part, partition, seen.commit))
    return judge(Offer(MINE, TOPIC, None, (claim,)), last, look)


@cache
def _advanced(kind: Kind, part: Part | None, partition: int, span: Span) -> Part | None:
    """The partition's entry after the span, by the real ledger; None where it refuses."""
    before = _ledger(part, partition, KNOWN) or Ledger(TOPIC, None)
    stretch = Stretch(
        partition,
        span.first,
        span.next,
        row_count=len(span.rows),
        reject_count=len(span.rejects),
        refused_before=span.refused_before,
    )
    try:
        after = (before.advance if kind is Kind.ROWS else before.advance_rejects)([stretch], MINE)
    except ValueError:
        return None
    entry = after.entries[partition]
    return Part(entry.next, entry.rows, entry.rejects)


def _ledger(part: Part | None, partition: int, commit: str) -> Ledger | None:
    if part is None:
        return None
    entry = Entry(first=0, next=part.next, commit=commit, rows=part.rows, rejects=part.rejects)
    return Ledger(TOPIC, None, {partition: entry})
