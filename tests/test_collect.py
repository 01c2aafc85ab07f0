"""The collector: when a stretch is due, what is in it, and which restored states it believes."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from neptune_flow import collect
from neptune_flow.collect import CollectLimits, Collector, CollectorState, Resume
from neptune_flow.errors import HoleInLog, StateDoesNotJoin, Superseded
from neptune_flow.ledger import Entry, reading_of
from neptune_flow.records import Judged, Stretch
from neptune_flow.spool import FRAME_BYTES, Spool, SpoolBudget
from tests.storage import DAY, MemoryStorage, columns, offsets_of

US = 1_000_000
LIMITS = CollectLimits(window_s=60, allowed_lateness_s=10, commit_age_s_max=120, commit_rows_max=100)
PARTITION = 3
TABLE = "table-1"


@dataclass
class World:
    """What surrounds a collector: a clock, the tables' word, storage."""

    entry: Entry | None = None
    quarantine_ahead: bool = False
    now_s: float = 1_000.0
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    collected: list[tuple[int, int]] = field(default_factory=list)

    def collector(
        self, state: CollectorState | tuple[str, bytes] | None = None, limits: CollectLimits = LIMITS
    ) -> Collector:
        budget = SpoolBudget(1 << 30)
        return Collector(
            limits,
            lambda _partition: Resume(TABLE, self.entry, self.quarantine_ahead, reading_of("id", self.entry, None)),
            lambda: (Spool(self.storage, DAY, budget), Spool(self.storage, DAY, budget)),
            state,
            collected=lambda partition, end: self.collected.append((partition, end)),
            clock_s=lambda: self.now_s,
        )

    def begun(self, limits: CollectLimits = LIMITS) -> Collector:
        """A collector that has emitted where its partition begins, a while ago."""
        collector = self.collector(limits=limits)
        feed(collector, judged(0, [], start=self.entry is None))
        self.now_s += 2
        return collector


def judged(
    first: int,
    times_s: Iterable[float],
    *,
    rejects: int = 0,
    left_out: int = 0,
    refused_before: int = 0,
    lost: int = 0,
    start: bool = False,
    idle: bool = False,
    value: str = "",
) -> Judged:
    """A batch from `first` on: accepted rows at these event times, then rejects, then the rest."""
    times = np.array([round(t * US) for t in times_s], np.int64)
    refused_from = first + len(times)
    end = refused_from + rejects + left_out + refused_before + lost
    return Judged(
        PARTITION,
        first,
        end,
        columns(range(first, refused_from), value=value),
        times,
        columns(range(refused_from, refused_from + rejects)),
        left_out=left_out,
        refused_before=refused_before,
        lost=lost,
        start=start,
        idle=idle,
    )


def feed(collector: Collector, *batches: Judged) -> list[Stretch]:
    return list(collector.on_batch(list(batches))[0])


def notify(collector: Collector) -> list[Stretch]:
    return list(collector.on_notify()[0])


def kept(collector: Collector) -> tuple[str, bytes] | None:
    """The state as the recovery store gives it back."""
    state: tuple[str, bytes] | None = pickle.loads(pickle.dumps(collector.snapshot()))  # noqa: S301 - our own
    return state


def entry(next_offset: int, **facts: int | bool) -> Entry:
    return Entry(first=0, next=next_offset, commit="c", rows=next_offset, **facts)  # type: ignore[arg-type]


# What the tables said to whom


def test_a_batch_of_a_process_that_was_told_something_else_by_the_tables_stops_everything() -> None:
    world = World(entry(5))
    with pytest.raises(Superseded, match="while the processes of this cluster started"):
        feed(world.collector(), replace(judged(5, []), reading="id/c/arrived late"))
    collector = world.collector()
    stretches = feed(collector, replace(judged(5, []), reading="id/c/"), judged(5, [10.0], lost=1))
    assert [s.reading for s in stretches] == ["id/c/"]


# When a stretch is due


def test_the_first_batch_of_a_partition_that_the_ledger_does_not_know_is_emitted_at_once() -> None:
    stretches = feed(World().collector(), judged(7, [], start=True))
    assert [(s.partition, s.first, s.next) for s in stretches] == [(PARTITION, 7, 7)]


def test_nothing_is_due_while_a_window_is_open() -> None:
    collector = World().begun()
    assert feed(collector, judged(0, [0, 30, 69])) == []


def test_a_window_that_closes_takes_everything_read_so_far_along_with_it() -> None:
    world = World()
    collector = world.begun()
    assert feed(collector, judged(0, [0, 59], rejects=1)) == []
    (stretch,) = feed(collector, judged(3, [65, 70], left_out=2), judged(7, [71], refused_before=1, rejects=1))
    assert (stretch.first, stretch.next) == (0, 10)
    assert (stretch.row_count, stretch.reject_count, stretch.refused_before, stretch.left_out) == (5, 2, 1, 2)
    assert (stretch.watermark, stretch.event_time_max, stretch.idle) == (61 * US, 71 * US, False)
    assert offsets_of(stretch.rows.tail) == [0, 1, 3, 4, 7]
    assert offsets_of(stretch.rejects.tail) == [2, 8]


def test_a_stretch_begins_where_the_last_one_ended() -> None:
    world = World()
    collector = world.begun()
    (one,) = feed(collector, judged(0, [0, 70]))
    world.now_s += 2
    (two,) = feed(collector, judged(2, [130]))
    assert (one.next, two.first, two.next, two.row_count) == (2, 2, 3, 1)
    assert offsets_of(two.rows.tail) == [2]


def test_the_row_limit_makes_a_stretch_due_and_counts_rejects_too() -> None:
    collector = World().begun()
    assert feed(collector, judged(0, [1] * 60, rejects=39)) == []
    (stretch,) = feed(collector, judged(99, [], rejects=1))
    assert stretch.next == 100


def test_the_age_limit_makes_a_stretch_due_though_messages_keep_coming() -> None:
    world = World()
    collector = world.begun()
    for number in range(12):
        assert feed(collector, judged(number, [1])) == []
        world.now_s += 10
    (stretch,) = feed(collector, judged(12, [1]))
    assert stretch.row_count == 13


def test_an_idle_partition_closes_its_window_and_says_that_it_is_idle() -> None:
    world = World()
    collector = world.begun()
    feed(collector, judged(0, [5]))
    (stretch,) = feed(collector, judged(1, [], idle=True))
    assert (stretch.next, stretch.idle, stretch.watermark) == (1, True, 60 * US)
    assert notify(collector) == []
    assert collector.notify_at() is None


def test_time_alone_makes_no_partition_idle() -> None:
    """Only the source can tell silence from a flow that stood still."""
    world = World()
    collector = world.begun()
    feed(collector, judged(0, [5]))
    world.now_s += 110
    assert notify(collector) == []
    (stretch,) = feed(collector, judged(1, [6, 130]))
    assert (stretch.late, stretch.idle) == (0, False)


def test_a_message_ends_idleness() -> None:
    world = World()
    collector = world.begun()
    feed(collector, judged(0, [5]), judged(1, [], idle=True))
    world.now_s += 2
    (stretch,) = feed(collector, judged(1, [61, 200]))
    assert not stretch.idle


def test_a_batch_of_no_message_does_not_end_idleness() -> None:
    """Every start begins with one: a downtime must not make an idle partition hold the others back."""
    world = World(entry(5, watermark=60 * US, event_time_max=5 * US, idle=True))
    collector = world.collector()
    assert feed(collector, judged(5, [])) == []
    state = collector.snapshot()
    assert state is not None
    assert state.pending.idle
    assert collector.notify_at() is None


def test_a_window_that_the_ledger_left_open_closes_when_the_partition_is_idle() -> None:
    world = World(entry(5, watermark=0, event_time_max=10 * US))
    collector = world.collector()
    feed(collector, judged(5, []))
    (stretch,) = feed(collector, judged(5, [], idle=True))
    assert (stretch.first, stretch.next, stretch.idle, stretch.watermark) == (5, 5, True, 60 * US)


def test_a_partition_that_goes_idle_again_after_a_late_row_tells_the_ledger_so() -> None:
    world = World()
    collector = world.begun(CollectLimits(60, 10, commit_age_s_max=5, commit_rows_max=100))
    feed(collector, judged(0, [5]), judged(1, [], idle=True))
    feed(collector, judged(1, [6]))
    world.now_s += 5
    (late,) = notify(collector)
    assert (late.late, late.idle) == (1, False)
    world.now_s += 25
    (stretch,) = feed(collector, judged(2, [], idle=True))
    assert (stretch.first, stretch.next, stretch.idle) == (2, 2, True)


def test_lost_offsets_are_reported_without_waiting_for_a_window() -> None:
    collector = World().begun()
    (stretch,) = feed(collector, judged(0, [], lost=40))
    assert (stretch.next, stretch.lost) == (40, 40)


def test_late_rows_are_appended_like_any_other_and_counted() -> None:
    collector = World().begun()
    (stretch,) = feed(collector, judged(0, [0, 70, 1, 2]))
    assert (stretch.row_count, stretch.late) == (4, 2)


def test_while_a_backlog_is_read_stretches_come_at_most_once_in_the_interval() -> None:
    world = World()
    collector = world.begun()
    assert len(feed(collector, judged(0, [0, 70]))) == 1
    world.now_s += collect.EMIT_INTERVAL_S_MIN / 2
    assert feed(collector, judged(2, [140])) == []
    assert feed(collector, judged(3, [210])) == []
    world.now_s += collect.EMIT_INTERVAL_S_MIN / 2
    (stretch,) = notify(collector)
    assert (stretch.first, stretch.next) == (2, 4)


def test_bytewax_is_asked_to_wake_the_collector_when_the_next_thing_can_be_due() -> None:
    world = World()
    collector = world.begun()

    def wait_s() -> float:
        wakes = collector.notify_at()
        assert wakes is not None
        return (wakes - datetime.now(UTC)).total_seconds()

    assert collector.notify_at() is None
    feed(collector, judged(0, [0]))
    assert wait_s() == pytest.approx(120, abs=1)
    feed(collector, judged(1, [70]))
    feed(collector, judged(2, [140]))
    assert wait_s() == pytest.approx(collect.EMIT_INTERVAL_S_MIN, abs=0.5)
    world.now_s += 500
    assert wait_s() == pytest.approx(0, abs=0.5)


def test_at_the_end_everything_held_is_emitted_whatever_is_open_or_throttled() -> None:
    world = World()
    collector = world.begun()
    feed(collector, judged(0, [0, 70]))
    feed(collector, judged(2, [140]))
    (stretch,) = collector.on_eof()[0]
    assert (stretch.first, stretch.next) == (2, 3)
    assert list(collector.on_eof()[0]) == []


def test_the_end_of_a_partition_that_never_began_emits_nothing() -> None:
    collector = World().collector()
    assert list(collector.on_eof()[0]) == []
    assert collector.notify_at() is None
    assert collector.snapshot() is None


def test_the_collector_is_never_discarded() -> None:
    collector = World().begun()
    feed(collector, judged(0, [0]))
    assert [collector.on_batch([])[1], collector.on_notify()[1], collector.on_eof()[1]] == [Collector.RETAIN] * 3


# What travels


def test_a_short_day_travels_as_columns_and_a_long_one_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "DAY_BYTES_MAX", FRAME_BYTES + 1_000)
    world = World()
    collector = world.begun()
    (short,) = feed(collector, judged(0, [0, 70]))
    assert (len(short.rows.files), offsets_of(short.rows.tail)) == (0, [0, 1])
    world.now_s += 2
    (long,) = feed(collector, judged(2, [71, 140], value="x" * 2_000))
    assert (len(long.rows.files), long.rows.tail, list(world.storage.files.values())) == (1, (), [[2, 3]])


def test_the_source_is_told_how_far_a_partition_has_come() -> None:
    world = World()
    feed(world.collector(), judged(5, [], start=True), judged(5, [1, 2]), judged(7, [], left_out=3))
    assert world.collected == [(PARTITION, 5), (PARTITION, 7), (PARTITION, 10)]


# Holes


@pytest.mark.parametrize("first", [1, 3, 0])
def test_a_batch_that_does_not_begin_where_the_last_one_ended_stops_the_process(first: int) -> None:
    collector = World().begun()
    feed(collector, judged(0, [0, 1]))
    with pytest.raises(HoleInLog, match=f"partition {PARTITION}: expected offset 2, got {first}"):
        feed(collector, judged(first, [2]))


def test_a_first_batch_that_does_not_begin_at_the_ledgers_number_does_not_join() -> None:
    with pytest.raises(StateDoesNotJoin, match="resumes at offset 9, the table's ledger is at 5"):
        feed(World(entry(5)).collector(), judged(9, [1]))


# Restored states


def test_a_state_that_joins_the_ledger_is_continued_as_if_nothing_had_happened() -> None:
    world = World(entry(0))
    before = world.begun()
    batch = judged(0, [0, 30], rejects=1, left_out=1, refused_before=1)
    feed(before, batch)
    restored = world.collector(kept(before))
    expected = feed(before, judged(5, [70, 1]))
    actual = feed(restored, judged(5, []), judged(5, [70, 1]))
    assert [_facts(s) for s in actual] == [_facts(s) for s in expected]
    assert (actual[0].first, actual[0].next, actual[0].late) == (0, 7, 1)


def test_a_restored_state_waits_no_longer_for_its_age_limit_than_a_new_one() -> None:
    world = World(entry(0))
    before = world.begun()
    feed(before, judged(0, [0]))
    restored = world.collector(kept(before), CollectLimits(60, 10, 120, 100))
    world.now_s += 120
    assert len(notify(restored)) == 1


def test_files_that_a_restored_state_names_are_in_its_stretch() -> None:
    world = World(entry(0))
    before = world.begun()
    feed(before, judged(0, [0, 1]))
    before._rows.flush()
    restored = world.collector(kept(before))
    (stretch,) = feed(restored, judged(2, [70]))
    assert (len(stretch.rows.files), stretch.rows.rows, stretch.row_count) == (1, 3, 3)


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (World(entry(2)), "the ledger has gone on"),
        (World(None), "the table has no ledger any more"),
        (World(entry(0), quarantine_ahead=True), "the quarantine is ahead"),
    ],
)
def test_a_state_that_does_not_join_the_tables_is_dropped_and_the_ledger_is_resumed_from(
    world: World, why: str
) -> None:
    before = World(entry(0)).begun()
    feed(before, judged(0, [0, 1]))
    restored = world.collector(kept(before))
    first = world.entry.next if world.entry else 0
    (stretch,) = feed(restored, judged(first, [0, 70], start=world.entry is None))
    assert (stretch.first, stretch.next, stretch.row_count) == (first, first + 2, 2), why


def test_a_state_of_another_table_is_dropped() -> None:
    world = World(entry(0))
    before = world.begun()
    feed(before, judged(0, [0, 1]))
    state = kept(before)
    assert state is not None
    other = ("table-0", b"of a version that this one cannot read")
    (stretch,) = feed(world.collector(other), judged(0, [70, 140]))
    assert (stretch.first, stretch.row_count) == (0, 2)


def test_a_restored_state_that_the_source_does_not_continue_stops_with_what_to_do() -> None:
    world = World(entry(0))
    before = world.begun()
    feed(before, judged(0, [0, 1]))
    with pytest.raises(StateDoesNotJoin, match="holds offsets up to 2, the source resumes at 0") as caught:
        feed(world.collector(kept(before)), judged(0, [0]))
    assert "recovery directory" in caught.value.hint


def test_a_hole_after_a_restored_state_has_joined_is_a_hole() -> None:
    world = World(entry(0))
    before = world.begun()
    feed(before, judged(0, [0]))
    restored = world.collector(kept(before))
    feed(restored, judged(1, [1]))
    with pytest.raises(HoleInLog):
        feed(restored, judged(5, [1]))


def test_a_state_is_small_since_what_is_in_files_is_only_named() -> None:
    world = World(entry(0))
    collector = world.begun()
    feed(collector, judged(0, [1] * 50, value="x" * 10_000))
    assert len(pickle.dumps(collector.snapshot())) > 500_000
    collector._rows.flush()
    assert len(pickle.dumps(collector.snapshot())) < 2_000


def test_a_state_does_not_change_when_the_collector_goes_on() -> None:
    collector = World(entry(0)).begun()
    feed(collector, judged(0, [0, 1]))
    state = collector.snapshot()
    feed(collector, judged(2, [2, 70]))
    assert state is not None
    assert (state.pending.next, state.pending.row_count, offsets_of(state.pending.rows.tail)) == (2, 2, [0, 1])


def _facts(stretch: Stretch) -> tuple[object, ...]:
    return (
        *(getattr(stretch, name) for name in ("partition", "first", "next", "row_count", "reject_count")),
        *(getattr(stretch, name) for name in ("refused_before", "left_out", "lost", "late", "watermark", "idle")),
        offsets_of(stretch.rows.tail),
        offsets_of(stretch.rejects.tail),
    )
