"""The ledger: what a table remembers, its identity and its form as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune_flow.errors import LedgerConflict
from neptune_flow.ledger import FORMAT_VERSION, Cut, Entry, Ledger, contradictions, is_newer_format
from neptune_flow.records import Stretch

OFFSETS = st.integers(0, 2**63 - 1)
TIMES = st.none() | st.integers(-(2**62), 2**62)
ENTRIES = st.builds(
    Entry,
    first=OFFSETS,
    next=OFFSETS,
    commit=st.text(),
    rows=OFFSETS,
    rejects=OFFSETS,
    left_out=OFFSETS,
    lost=OFFSETS,
    late=OFFSETS,
    watermark=TIMES,
    event_time_max=TIMES,
    idle=st.booleans(),
)
LEDGERS = st.builds(
    Ledger,
    topic=st.text(),
    topic_id=st.none() | st.text(),
    entries=st.dictionaries(st.integers(0, 10_000), ENTRIES, max_size=4),
    watermark_least=TIMES,
    began_after=st.none() | st.integers(0, 2**62),
    cuts=st.lists(st.builds(Cut, st.integers(0, 9), OFFSETS, OFFSETS), max_size=3).map(tuple),
)
COUNTS = st.tuples(*[st.integers(0, 50)] * 5)

EMPTY = Ledger("topic", "id")


def _stretch(partition: int, first: int, counts: tuple[int, ...], watermark: int | None = None) -> Stretch:
    rows, rejects, refused_before, left_out, lost = counts
    return Stretch(
        partition,
        first,
        first + sum(counts),
        row_count=rows,
        reject_count=rejects,
        refused_before=refused_before,
        left_out=left_out,
        lost=lost,
        watermark=watermark,
    )


def _rows(partition: int, first: int, end: int, watermark: int | None = None, *, idle: bool = False) -> Stretch:
    return Stretch(partition, first, end, row_count=end - first, watermark=watermark, idle=idle)


def _has_not_run_back(old: int | None, new: int | None) -> bool:
    return old is None or (new is not None and new >= old)


@settings(deadline=None)
@given(LEDGERS)
def test_a_ledger_comes_back_from_its_json_unchanged(ledger: Ledger) -> None:
    assert Ledger.from_json(ledger.to_json()) == ledger


def test_the_json_is_compact_and_has_the_partitions_in_order_of_their_number() -> None:
    ledger = EMPTY.advance([_rows(10, 0, 1), _rows(9, 0, 1), _rows(2, 0, 1)], "c")
    text = ledger.to_json()
    assert list(json.loads(text)["partitions"]) == ["2", "9", "10"]
    assert " " not in text


def test_a_ledger_of_a_newer_format_is_refused_with_both_versions() -> None:
    document = json.loads(EMPTY.to_json())
    document["version"] = FORMAT_VERSION + 1
    with pytest.raises(LedgerConflict, match=f"format {FORMAT_VERSION + 1}, this Neptune knows {FORMAT_VERSION}"):
        Ledger.from_json(json.dumps(document))


def test_only_a_ledger_that_began_anew_on_a_log_asks_for_the_newer_format() -> None:
    """An earlier Neptune would take the earlier log's rejects for this one's, so it must not read it."""
    plain, anew = (json.loads(replace(EMPTY, began_after=n).to_json()) for n in (None, 0))
    assert plain["version"] == 1
    assert "began_after" not in plain
    assert (anew["version"], anew["began_after"]) == (FORMAT_VERSION, 0)
    assert json.loads(replace(EMPTY, cuts=(Cut(0, 5, 7),)).to_json())["version"] == FORMAT_VERSION


def test_of_several_cuts_the_lowest_that_is_younger_than_a_file_ends_what_it_holds_of_this_log() -> None:
    ledger = replace(EMPTY, cuts=(Cut(0, 9, 4), Cut(0, 12, 8), Cut(1, 5, 8)))
    assert [ledger.ends_of_earlier_log(n) for n in (4, 5, 9)] == [{0: 9, 1: 5}, {0: 12, 1: 5}, {}]


@pytest.mark.parametrize(
    ("text", "newer"), [('{"version":99}', True), (EMPTY.to_json(), False), ("{", False), ("[]", False), ("", False)]
)
def test_a_newer_format_is_told_from_what_is_no_ledger(text: str, newer: bool) -> None:
    assert is_newer_format(text) is newer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"text"',
        '{"version":"1"}',
        '{"version":1,"topic":"t"}',
        '{"version":1,"topic":"t","topic_id":null,"watermark_least":null,"partitions":{"x":{}}}',
        '{"version":1,"topic":"t","topic_id":null,"watermark_least":null,"partitions":{"0":{"first":1}}}',
        '{"version":1,"topic":"t","topic_id":null,"watermark_least":null,"partitions":[]}',
    ],
)
def test_what_is_no_ledger_is_refused_and_not_taken_for_an_empty_one(text: str) -> None:
    with pytest.raises(LedgerConflict, match="cannot be read"):
        Ledger.from_json(text)


@settings(deadline=None)
@given(st.integers(0, 1000), st.lists(COUNTS, min_size=1, max_size=6))
def test_the_identity_of_the_totals_holds_after_every_stretch(first: int, counts: list[tuple[int, ...]]) -> None:
    ledger, begins = EMPTY, first
    for number, stretch_counts in enumerate(counts):
        stretch = _stretch(0, begins, stretch_counts)
        ledger, begins = ledger.advance([stretch], f"commit {number}"), stretch.next
        entry = ledger.entries[0]
        assert entry.is_balanced
        assert (entry.first, entry.next) == (first, begins)
    assert entry.rejects == sum(c[1] + c[2] for c in counts)
    assert entry.lost == sum(c[4] for c in counts)


def test_several_stretches_of_a_partition_land_in_one_commit_if_they_join() -> None:
    ledger = EMPTY.advance([_rows(0, 5, 7), _rows(1, 0, 3), _rows(0, 7, 9)], "c")
    assert {p: (e.first, e.next, e.rows, e.commit) for p, e in ledger.entries.items()} == {
        0: (5, 9, 4, "c"),
        1: (0, 3, 3, "c"),
    }


@pytest.mark.parametrize("first", [4, 6, 0])
def test_a_stretch_that_leaves_a_hole_or_overlaps_is_refused(first: int) -> None:
    ledger = EMPTY.advance([_rows(0, 0, 5)], "a")
    with pytest.raises(ValueError, match="does not join"):
        ledger.advance([_rows(0, first, 9)], "b")


def test_a_commit_changes_only_the_entries_of_its_partitions() -> None:
    before = EMPTY.advance([_rows(0, 0, 5), _rows(1, 0, 5)], "a")
    after = before.advance([_rows(1, 5, 6)], "b")
    assert after.entries[0] is before.entries[0]
    assert after.entries[1].commit == "b"
    assert before.entries[1].next == 5


def test_an_empty_stretch_writes_the_commits_id_and_nothing_else() -> None:
    before = EMPTY.advance([_rows(0, 0, 5, watermark=9)], "a")
    after = before.advance([Stretch(0, 5, 5)], "fence").entries[0]
    assert (after.next, after.rows, after.watermark, after.commit) == (5, 5, 9, "fence")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), TIMES, st.booleans()), max_size=12))
def test_watermarks_never_run_back(steps: list[tuple[int, int | None, bool]]) -> None:
    ledger = EMPTY
    for partition, watermark, idle in steps:
        entry = ledger.entries.get(partition)
        first = entry.next if entry else 0
        after = ledger.advance([_rows(partition, first, first + 1, watermark, idle=idle)], "c")
        assert _has_not_run_back(entry.watermark if entry else None, after.entries[partition].watermark)
        assert _has_not_run_back(ledger.watermark_least, after.watermark_least)
        ledger = after


def test_the_least_watermark_is_that_of_the_slowest_partition() -> None:
    assert EMPTY.advance([_rows(0, 0, 1, 30), _rows(1, 0, 1, 20)], "c").watermark_least == 20


def test_an_idle_partition_does_not_hold_the_least_watermark_back() -> None:
    assert EMPTY.advance([_rows(0, 0, 1, 30), _rows(1, 0, 1, 20, idle=True)], "c").watermark_least == 30


def test_where_all_partitions_are_idle_the_slowest_counts() -> None:
    stretches = [_rows(0, 0, 1, 30, idle=True), _rows(1, 0, 1, 20, idle=True)]
    assert EMPTY.advance(stretches, "c").watermark_least == 20


def test_a_partition_that_has_no_watermark_yet_does_not_count() -> None:
    assert EMPTY.advance([_rows(0, 0, 1, 30), _rows(1, 0, 0)], "c").watermark_least == 30


def test_the_quarantines_ledger_counts_rejects_and_says_how_far_they_have_landed() -> None:
    ledger = EMPTY.advance_rejects([_stretch(0, 10, (5, 2, 0, 0, 0))], "a")
    ledger = ledger.advance_rejects([_stretch(0, 20, (5, 3, 0, 0, 0))], "b")
    entry = ledger.entries[0]
    assert (entry.first, entry.next, entry.rejects, entry.rows, entry.commit) == (10, 28, 5, 0, "b")


def test_the_quarantines_number_never_runs_back() -> None:
    """It may be ahead of the table's: a crash fell between the two commits."""
    ledger = EMPTY.advance_rejects([_stretch(0, 0, (90, 10, 0, 0, 0))], "a")
    assert ledger.advance_rejects([_stretch(0, 50, (9, 1, 0, 0, 0))], "b").entries[0].next == 100


# Two ledgers of one topic


def _ledger(**entries: tuple[int, int, int]) -> Ledger:
    """Entries by partition (`p0`): first, next and rejects."""
    return Ledger("t", None, {int(p[1:]): Entry(f, n, "c", n - f - r, r) for p, (f, n, r) in entries.items()})


@pytest.mark.parametrize(
    ("rows", "rejects"),
    [
        (_ledger(), _ledger()),
        (_ledger(p0=(7, 7, 0)), _ledger()),
        (_ledger(p0=(7, 7, 0)), _ledger(p0=(7, 7, 0))),
        (_ledger(p0=(7, 7, 0)), _ledger(p0=(7, 9, 1))),
        (_ledger(p0=(7, 20, 3)), _ledger(p0=(7, 9, 3))),
        (_ledger(p0=(7, 20, 3), p1=(0, 0, 0)), _ledger(p0=(7, 25, 5))),
    ],
    ids=["a first start", "a crash before", "and after the second fence", "the quarantine ahead", "at rest", "mixed"],
)
def test_what_crashes_leave_is_no_contradiction(rows: Ledger, rejects: Ledger) -> None:
    assert not list(contradictions(rows, rejects))


@pytest.mark.parametrize(
    ("rows", "rejects", "said", "is_quarantine_behind"),
    [
        (_ledger(), _ledger(p3=(0, 0, 0)), "partition 3: known to the quarantine", False),
        (_ledger(p0=(0, 5, 0)), _ledger(), "is at offset 5, the quarantine does not know it", True),
        (_ledger(p0=(0, 5, 2)), _ledger(p0=(0, 5, 1)), "counts 2 rejects, the quarantine has landed 1", True),
        (replace(EMPTY, began_after=4), EMPTY, "only the ledger of the rows began anew", True),
        (EMPTY, replace(EMPTY, began_after=4), "only the ledger of the quarantine began anew", False),
        (replace(EMPTY, cuts=(Cut(0, 5, 7),)), EMPTY, "cut at offset 5 in the ledger of the rows alone", True),
        (EMPTY, replace(EMPTY, cuts=(Cut(0, 5, 7),)), "cut at offset 5 in the ledger of the quarantine alone", False),
    ],
)
def test_what_no_crash_can_leave_is_a_contradiction(
    rows: Ledger, rejects: Ledger, said: str, is_quarantine_behind: bool
) -> None:
    (found,) = contradictions(rows, rejects)
    assert said in found.says
    assert found.is_quarantine_behind is is_quarantine_behind
