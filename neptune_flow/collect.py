"""Collects what was judged of one Kafka partition until a commit is due, then emits it as one stretch.

    Judged [a,b) [b,c) [c,d) … ──► Collector ──(window closed · rows · age · idle · drain)──► Stretch [a,d)

A commit is a prefix: when a window closes, everything read from the partition so far goes, the closed window and what has
come of the next. So a stretch always begins where the last one ended, and windows decide only when.

State that describes itself. With a recovery store Bytewax may restore a state of any earlier epoch, or one of another table. A state
says which offsets `[first, next)` it holds, and for which tables and columns; it is used only if these are today's, `first` is the
ledger's number, the quarantine is not ahead, and the first batch begins at `next`. Otherwise it is dropped (its data files were never visible), and the
ledger is resumed from; where the source did not resume there too, StateDoesNotJoin stops the process.

Delivery guarantee: exactly once into the stretch. A batch that does not begin where the last ended stops the process.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from neptune_flow.errors import HoleInLog, StateDoesNotJoin
from neptune_flow.ledger import Entry, readings_differ
from neptune_flow.records import Judged, Pile, Stretch
from neptune_flow.spool import Spool
from neptune_flow.vitals import Vitals
from neptune_flow.windows import WindowClock

STATE_FORMAT = 2
"""Part of what a state is bound to: to be raised with every change of what is pickled (Stretch, Pile, DataFile)."""

EMIT_INTERVAL_S_MIN = 1.0
"""While a backlog is read, windows close many times a second; their stretches are emitted at most this often, so that a
commit is worth its price. A window that closes after a quiet second is emitted at once."""

ANY_PARTITION = 0
"""All partitions are bound to the same tables and columns."""

DAY_BYTES_MAX = 8 << 20
"""A day of more is written as a file by the worker that holds it; smaller ones travel to the committer, who writes those of all
partitions as one file a day."""


@dataclass(frozen=True, slots=True)
class CollectLimits:
    """When a partition's stretch is due; see the settings of the same names."""

    window_s: float
    allowed_lateness_s: float
    commit_age_s_max: float
    commit_rows_max: int


@dataclass(frozen=True, slots=True)
class Resume:
    """What the tables said at the start of one Kafka partition."""

    bound_to: str
    """Identity of the tables and columns that rows are made for."""
    entry: Entry | None
    """The rows' ledger entry; None where the table does not know the partition yet."""
    quarantine_ahead: bool
    """The quarantine has rejects at or above the ledger's number: only re-reading joins it."""
    reading: str | None = None
    """What Kafka and both ledgers said of the partition (`ledger.reading_of`)."""


@dataclass(frozen=True, slots=True)
class CollectorState:
    """What the recovery store keeps of one partition: offsets `[first, next)` and what came of them."""

    bound_to: str
    pending: Stretch
    open_windows: frozenset[int]

    def __reduce__(self) -> tuple[type[tuple[str, bytes]], tuple[tuple[str, bytes]]]:
        """Stored as a plain pair, so that a store of another Neptune can always be read as far as `bound_to`, and then be dropped."""
        return tuple, ((self.bound_to, pickle.dumps((self.pending, self.open_windows))),)

    @staticmethod
    def of(stored: tuple[str, bytes]) -> CollectorState:
        """The inverse; only for a pair that is bound to what this process is bound to."""
        bound_to, content = stored
        return CollectorState(bound_to, *pickle.loads(content))  # noqa: S301 - from the user's own recovery store


class Collector(StatefulBatchLogic[Judged, Stretch, CollectorState | tuple[str, bytes] | None]):
    """The open windows of one Kafka partition."""

    def __init__(
        self,
        limits: CollectLimits,
        resume: Callable[[int], Resume],
        spools: Callable[[], tuple[Spool, Spool]],
        state: CollectorState | tuple[str, bytes] | None,
        *,
        collected: Callable[[int, int], None] = lambda _partition, _next: None,
        clock_s: Callable[[], float] = time.monotonic,
        vitals: Vitals | None = None,
    ) -> None:
        """Begin empty, or with the state that the recovery store restored.

        Args:
            limits: when a stretch is due.
            resume: what the tables say of a Kafka partition.
            spools: makes the spools of accepted rows and of rejects.
            state: of an earlier execution, if there is a recovery store.
            collected: is told how far a partition has come, so that the source knows what is still under way.
            clock_s: a clock that never runs back, seconds.
        """
        self._limits = limits
        self._resume = resume
        self._rows, self._rejects = spools()
        self._collected = collected
        self._clock_s = clock_s
        self._vitals = vitals or Vitals()
        self._partition: int | None = None
        self._restored = False
        self._emitted_at_s = -EMIT_INTERVAL_S_MIN
        self._pending_since_s: float | None = None
        self._idle = self._idle_landed = False
        self._due = False
        if state is not None:
            self._restore(state)

    # Bytewax's side

    def on_batch(self, values: list[Judged]) -> tuple[Iterable[Stretch], bool]:
        for judged in values:
            self._take(judged)
        emitted = self._emit_if_due()
        self._tell_vitals()
        return emitted, self.RETAIN

    def on_notify(self) -> tuple[Iterable[Stretch], bool]:
        emitted = self._emit_if_due()
        self._tell_vitals()
        return emitted, self.RETAIN

    def on_eof(self) -> tuple[Iterable[Stretch], bool]:
        return (self._emit() if self._has_pending else ()), self.RETAIN

    def notify_at(self) -> datetime | None:
        waits_s = []
        if self._pending_since_s is not None:
            waits_s.append(self._pending_since_s + self._limits.commit_age_s_max - self._clock_s())
        if self._due:
            waits_s.append(self._emitted_at_s + EMIT_INTERVAL_S_MIN - self._clock_s())
        if not waits_s:
            return None
        return datetime.now(UTC) + timedelta(seconds=max(0.0, min(waits_s)))

    def snapshot(self) -> CollectorState | None:
        if self._partition is None:
            return None
        pending = self._stretch(self._rows.pile(), self._rejects.pile())
        return CollectorState(self._bound_to, pending, frozenset(self._clock.open))

    # What a partition is, once its first batch or its state tells

    def _begin(self, partition: int, first: int) -> None:
        resume = self._resume(partition)
        entry = resume.entry
        self._partition = partition
        self._bound_to, self._reading = resume.bound_to, resume.reading
        self._clear(first)
        self._clock = WindowClock.resume(
            round(self._limits.window_s * 1e6),
            round(self._limits.allowed_lateness_s * 1e6),
            watermark=entry.watermark if entry else None,
            event_time_max=entry.event_time_max if entry else None,
        )
        self._idle = self._idle_landed = entry.idle if entry else False

    def _restore(self, stored: CollectorState | tuple[str, bytes]) -> None:
        bound_to = stored[0] if isinstance(stored, tuple) else stored.bound_to
        if bound_to != self._resume(ANY_PARTITION).bound_to:
            return
        state = CollectorState.of(stored) if isinstance(stored, tuple) else stored
        pending = state.pending
        resume = self._resume(pending.partition)
        expected = resume.entry.next if resume.entry else None
        if pending.first != expected or resume.quarantine_ahead:
            return
        self._begin(pending.partition, pending.first)
        self._restored = True
        self._next = pending.next
        self._refused_before, self._left_out = pending.refused_before, pending.left_out
        self._lost, self._late = pending.lost, pending.late
        self._row_count, self._reject_count = pending.row_count, pending.reject_count
        self._rows.add_pile(pending.rows)
        self._rejects.add_pile(pending.rejects)
        self._clock.watermark, self._clock.event_time_max = pending.watermark, pending.event_time_max
        self._clock.open = set(state.open_windows)
        self._idle = pending.idle
        if self._next > self._first:
            self._pending_since_s = self._clock_s()

    # One batch

    def _take(self, judged: Judged) -> None:
        if self._partition is None:
            self._join_ledger(judged)
            self._begin(judged.partition, judged.first)
        if judged.reading not in (None, self._reading):
            raise readings_differ(judged.partition)
        if judged.first != self._next:
            self._refuse_to_join(judged)
        self._restored = False
        closed = self._add(judged)
        pending_rows = self._row_count + self._reject_count
        if closed or judged.start or judged.lost or pending_rows >= self._limits.commit_rows_max:
            self._due = True

    def _add(self, judged: Judged) -> int:
        seen = self._clock.observe(judged.event_times)
        self._next = judged.next
        self._collected(judged.partition, judged.next)
        self._row_count += judged.rows.num_rows
        self._reject_count += judged.rejects.num_rows
        self._refused_before += judged.refused_before
        self._left_out += judged.left_out
        self._lost += judged.lost
        self._late += seen.late
        self._rows.add(judged.rows)
        self._rejects.add(judged.rejects)
        if judged.next > judged.first:
            self._idle = False
            if self._pending_since_s is None:
                self._pending_since_s = self._clock_s()
        if judged.idle:
            self._go_idle()
        return seen.closed

    def _join_ledger(self, judged: Judged) -> None:
        entry = self._resume(judged.partition).entry
        if entry is not None and judged.first != entry.next:
            raise StateDoesNotJoin(
                f"partition {judged.partition}: the recovery store resumes at offset {judged.first}, "
                f"the table's ledger is at {entry.next}",
                hint="set the recovery directory aside and start again: the ledger is enough",
            )

    def _refuse_to_join(self, judged: Judged) -> None:
        if self._restored:
            raise StateDoesNotJoin(
                f"partition {judged.partition}: the recovery store holds offsets up to {self._next}, "
                f"the source resumes at {judged.first}",
                hint="set the recovery directory aside and start again: the ledger is enough",
            )
        raise HoleInLog(
            f"partition {judged.partition}: expected offset {self._next}, got {judged.first}",
            detail="nothing of it was committed",
            hint="start again; if it comes back, please report it with the log",
        )

    def _go_idle(self) -> None:
        self._idle = True
        ledger_should_know = self._clock.watermark is not None and not self._idle_landed
        if self._clock.close_idle() or self._has_pending or ledger_should_know:
            self._due = True

    # Emitting

    @property
    def _has_pending(self) -> bool:
        return self._partition is not None and (self._next > self._first or self._due)

    def _emit_if_due(self) -> Iterable[Stretch]:
        now_s = self._clock_s()
        if self._pending_since_s is not None and now_s - self._pending_since_s >= self._limits.commit_age_s_max:
            self._due = True
        if not self._due or now_s - self._emitted_at_s < EMIT_INTERVAL_S_MIN:
            return ()
        return self._emit()

    def _emit(self) -> Iterable[Stretch]:
        for spool in (self._rows, self._rejects):
            spool.flush_days_over(DAY_BYTES_MAX)
        stretch = self._stretch(self._rows.take(), self._rejects.take())
        self._emitted_at_s = self._clock_s()
        self._idle_landed = stretch.idle
        self._clear(stretch.next)
        return (stretch,)

    def _stretch(self, rows: Pile, rejects: Pile) -> Stretch:
        assert self._partition is not None  # noqa: S101 - callers have begun
        return Stretch(
            partition=self._partition,
            first=self._first,
            next=self._next,
            row_count=self._row_count,
            reject_count=self._reject_count,
            refused_before=self._refused_before,
            left_out=self._left_out,
            lost=self._lost,
            late=self._late,
            watermark=self._clock.watermark,
            event_time_max=self._clock.event_time_max,
            idle=self._idle,
            rows=rows,
            rejects=rejects,
            reading=self._reading,
        )

    def _clear(self, first: int) -> None:
        self._first = self._next = first
        self._row_count = self._reject_count = self._refused_before = self._left_out = self._lost = self._late = 0
        self._pending_since_s = None
        self._due = False

    def _tell_vitals(self) -> None:
        if self._partition is None:
            return
        mine = self._vitals.partition(self._partition)
        mine.watermark, mine.event_time_max = self._clock.watermark, self._clock.event_time_max
        mine.open_windows, mine.idle = len(self._clock.open), self._idle
        mine.waiting = self._next - self._first
        waits_s = None if self._pending_since_s is None else self._clock_s() - self._pending_since_s
        mine.waiting_since_s = None if waits_s is None else time.time() - waits_s
