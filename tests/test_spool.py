"""Rows on their way to a commit: one day a file, a budget for all, and values that later changes do not touch."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune_flow import spool as spool_module
from neptune_flow.records import Pile
from neptune_flow.spool import (
    GIVE_BACK_INTERVAL_BYTES,
    PART_BYTES_MIN,
    SMALL_PARTS_MAX,
    Spool,
    SpoolBudget,
    split_by_day,
)
from neptune_flow.vitals import memory_bytes
from tests.storage import DAY, MemoryStorage, columns, offsets_of

PLENTY = 1 << 30


@pytest.fixture(autouse=True)
def _frames_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets of a few thousand bytes say more of the rows."""
    monkeypatch.setattr(spool_module, "FRAME_BYTES", 0)


def _spool(bytes_max: int = PLENTY) -> tuple[Spool, MemoryStorage, SpoolBudget]:
    storage, budget = MemoryStorage(), SpoolBudget(bytes_max)
    return Spool(storage, DAY, budget), storage, budget


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=30))
def test_a_batch_is_split_into_whole_days_with_rows_in_their_order(days: list[int]) -> None:
    parts = split_by_day(columns(range(len(days)), days), DAY)
    assert [p.day for p in parts] == sorted(set(days))
    for part in parts:
        assert offsets_of([part]) == [offset for offset, day in enumerate(days) if day == part.day]


def test_a_batch_of_a_single_day_is_not_copied() -> None:
    batch = columns([1, 2, 3], 7)
    assert split_by_day(batch, DAY)[0].batch is batch


def test_rows_wait_in_memory_until_there_is_a_reason_to_write_them() -> None:
    spool, storage, _ = _spool()
    spool.add(columns([1, 2]))
    spool.add(columns([3], 1))
    assert storage.files == {}
    assert (spool.pile().rows, offsets_of(spool.pile().tail)) == (3, [1, 2, 3])


def test_flush_turns_the_tail_into_one_file_for_each_day() -> None:
    spool, storage, _ = _spool()
    spool.add(columns([1, 2, 3], [5, 6, 5]))
    spool.add(columns([4], 6))
    spool.flush()
    assert list(storage.files.values()) == [[1, 3], [2, 4]]
    assert (spool.tail_bytes, spool.pile().tail) == (0, ())
    assert [f.day for f in spool.pile().files] == [5, 6]


def test_days_that_are_long_become_files_and_short_ones_wait_to_be_put_together_with_others() -> None:
    spool, storage, budget = _spool()
    spool.add(columns([1, 2, 3, 4], [5, 6, 6, 7]))
    spool.flush_days_over(spool.largest_day_bytes - 1)
    assert list(storage.files.values()) == [[2, 3]]
    assert [(part.day, offsets_of([part])) for part in spool.pile().tail] == [(5, [1]), (7, [4])]
    assert budget.held_bytes == spool.tail_bytes


def test_take_hands_over_everything_once() -> None:
    spool, _, budget = _spool()
    spool.add(columns([1], 1))
    spool.flush()
    spool.add(columns([2], 2))
    taken = spool.take()
    assert (taken.rows, len(taken.files), offsets_of(taken.tail)) == (2, 1, [2])
    assert spool.take() == Pile()
    assert (spool.tail_bytes, budget.held_bytes) == (0, 0)


def test_a_pile_is_immune_to_what_comes_later() -> None:
    spool, _, _ = _spool()
    spool.add(columns([1]))
    pile = spool.pile()
    spool.add(columns([2]))
    spool.flush()
    spool.take()
    assert (pile.files, offsets_of(pile.tail)) == ((), [1])


def test_what_another_spool_has_gathered_is_taken_over_with_its_files() -> None:
    spool, storage, _ = _spool()
    spool.add(columns([1, 2]))
    spool.flush()
    spool.add(columns([3], 1))
    other = Spool(storage, DAY, SpoolBudget(PLENTY))
    other.add_pile(spool.take())
    assert (other.pile().rows, len(other.pile().files), offsets_of(other.pile().tail)) == (3, 1, [3])


def test_many_small_batches_of_a_day_become_few_and_keep_their_rows_in_order() -> None:
    spool, storage, budget = _spool()
    for offset in range(1000):
        spool.add(columns([offset], offset % 2))
    tail = spool.pile().tail
    assert len(tail) < 2 * 2 * SMALL_PARTS_MAX
    assert [offsets_of([part for part in tail if part.day == day]) for day in (0, 1)] == [
        list(range(0, 1000, 2)),
        list(range(1, 1000, 2)),
    ]
    assert budget.held_bytes == spool.tail_bytes
    spool.flush()
    assert (budget.held_bytes, sum(map(len, storage.files.values()))) == (0, 1000)


def test_large_batches_are_not_copied() -> None:
    spool, _, _ = _spool()
    batches = [columns([offset], 1, "x" * PART_BYTES_MIN) for offset in range(SMALL_PARTS_MAX + 1)]
    for batch in batches:
        spool.add(batch)
    assert all(part.batch is batch for part, batch in zip(spool.pile().tail, batches, strict=True))


def test_the_frame_of_a_batch_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    spool, _, budget = _spool()
    monkeypatch.setattr(spool_module, "FRAME_BYTES", 1000)
    batch = columns([1])
    spool.add(batch)
    assert budget.held_bytes == batch.get_total_buffer_size() + 1000


def test_past_the_budget_the_largest_day_becomes_a_file() -> None:
    spool, storage, budget = _spool(bytes_max=2_000)
    spool.add(columns([1], 1, "small"))
    spool.add(columns([2], 2, "x" * 1_500))
    assert storage.files == {}
    spool.add(columns([3], 3, "y" * 600))
    assert list(storage.files.values()) == [[2]]
    assert offsets_of(spool.pile().tail) == [1, 3]
    assert budget.held_bytes <= budget.bytes_max


def test_the_budget_is_one_for_all_spools_and_the_largest_pays() -> None:
    large, storage, budget = _spool(bytes_max=2_000)
    small = Spool(storage, DAY, budget)
    large.add(columns([1], 1, "x" * 1_500))
    small.add(columns([2], 1, "y" * 700))
    assert list(storage.files.values()) == [[1]]
    assert (large.tail_bytes, offsets_of(small.pile().tail)) == (0, [2])


def test_a_batch_larger_than_the_budget_is_written_at_once() -> None:
    spool, storage, budget = _spool(bytes_max=100)
    spool.add(columns(range(1_000)))
    assert len(storage.files) == 1
    assert (spool.tail_bytes, budget.held_bytes) == (0, 0)


def test_whatever_is_done_no_row_is_lost_doubled_or_reordered_within_its_day_and_the_budget_holds() -> None:
    seed = random.SystemRandom().randrange(1 << 40)
    print(f"seed {seed}")
    dice = random.Random(seed)
    storage, budget = MemoryStorage(), SpoolBudget(3_000)
    spools, taken, offset = [Spool(storage, DAY, budget) for _ in range(3)], [], 0
    for _ in range(400):
        spool = dice.choice(spools)
        match dice.randrange(10):
            case 0:
                taken.append(spool.take())
            case 1:
                spool.flush()
            case _:
                days = [dice.randrange(3) for _ in range(dice.randrange(8))]
                spool.add(columns(range(offset, offset + len(days)), days, "v" * dice.randrange(200)))
                offset += len(days)
        assert budget.held_bytes == sum(s.tail_bytes for s in spools) <= budget.bytes_max
    taken.extend(spool.take() for spool in spools)
    landed = [o for pile in taken for f in pile.files for o in storage.files[f.path]]
    landed += [o for pile in taken for o in offsets_of(pile.tail)]
    assert sorted(landed) == list(range(offset))
    assert all(offsets == sorted(offsets) for offsets in storage.files.values())


def test_a_write_that_fails_leaves_the_rows_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    spool, storage, budget = _spool()
    spool.add(columns([1, 2]))
    held = budget.held_bytes

    def fails(*_: object) -> None:
        raise OSError("storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_file", fails)
        with pytest.raises(OSError, match="away"):
            spool.flush()
    assert (offsets_of(spool.pile().tail), budget.held_bytes) == ([1, 2], held)
    spool.flush()
    assert list(storage.files.values()) == [[1, 2]]


@pytest.mark.skipif(spool_module._malloc_trim is None, reason="this C library gives back by itself")
@pytest.mark.parametrize("has_room", [False, True])
def test_where_a_file_has_no_room_memory_that_is_held_free_goes_back_to_the_system_first(has_room: bool) -> None:
    """In a process of its own: what others hold free in this one is not known."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
        given_back = alone.submit(_given_back, has_room).result()
    assert given_back < 8 << 20 if has_room else given_back > 40 << 20


def _given_back(has_room: bool) -> int:
    """How many bytes less the process has when a file is written than when rows have come for it."""
    spool, storage, budget = _spool()
    messages = [bytes(5_000) for _ in range(16_000)]
    kept = messages[::40]
    del messages
    budget.memory_bytes_max = PLENTY
    spool.add(columns([1], 1, "x" * GIVE_BACK_INTERVAL_BYTES))
    held_bytes = [memory_bytes() or 0]
    budget.memory_bytes_max = held_bytes[0] + (2 * spool.tail_bytes if has_room else 0)
    storage.write_file = lambda *_: held_bytes.append(memory_bytes() or 0)  # type: ignore[method-assign,assignment]
    spool.flush()
    assert len(kept) == 400
    return held_bytes[0] - held_bytes[1]
