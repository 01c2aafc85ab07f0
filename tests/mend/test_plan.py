"""What a plan announces is true: of any partition, however it was damaged, wherever it shall go on. Tables are sets of offsets here."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neptune_flow.kafka import Topic
from neptune_flow.ledger import Entry, Ledger
from neptune_flow.mend.basis import Basis, Known, Source, Wish, basis
from neptune_flow.mend.contents import Contents
from neptune_flow.mend.plan import Plan, plan, settle, targets
from neptune_flow.mend.scene import Log
from neptune_flow.verify.offsets import OffsetSet

TOPIC = Topic("sessions", "id", (0,))
ROW, REJECT, LEFT_OUT, LOST = "rx.-"
Picks = st.sets(st.integers(0, 20))


def offsets(found: list[int]) -> OffsetSet:
    held = OffsetSet()
    held.add(np.array(found, dtype=np.int64))
    return held


def held_of(fates: str, kind: str, gone: set[int], twice: set[int]) -> list[int]:
    """What a table holds of a kind: some are gone, some are there twice."""
    there = [o for o, fate in enumerate(fates) if fate == kind and o not in gone]
    return [*there, *(o for o in there if o in twice)]


def planned(base: Basis, target: int, rows: Contents, rejects: Contents) -> Plan:
    wish = Wish(Source.OFFSETS, {0: target}, frozenset())
    return plan(wish, *settle(base, rejects), targets(wish, base, rows), rows)


@given(
    taken=st.text("rx.-", max_size=14),
    untaken=st.text("rx.", max_size=5),
    cut=st.none() | st.integers(0, 13),
    gone=Picks,
    twice=Picks,
    low=st.integers(0, 20),
    target=st.integers(0, 20),
)
def test_what_is_lost_lies_between_what_is_announced_and_what_is_doubled_is_exact(
    *, taken: str, untaken: str, cut: int | None, gone: set[int], twice: set[int], low: int, target: int
) -> None:
    high = len(taken + untaken) if cut is None or cut >= len(taken) else cut
    log = Log(TOPIC, {0: (min(low, high), high)})
    rows_, rejects_, left_out, lost_ = (taken.count(kind) for kind in (ROW, REJECT, LEFT_OUT, LOST))
    entry = Entry(0, len(taken), "c", rows_, rejects_, left_out, lost_)
    known = Known(Ledger("sessions", "id", {0: entry}), is_broken=False, sequence_number=7)
    landed = Entry(0, len(taken), "q", rejects=taken.count(REJECT) + len(twice))
    quarantine = Known(Ledger("sessions", "id", {0: landed}), is_broken=False, sequence_number=7)
    base = basis(Source.OFFSETS, log, known, quarantine)
    rows, rejects = (held_of(taken, kind, gone, twice) for kind in (ROW, REJECT))
    made = planned(
        base,
        min(target, high),
        Contents({0: offsets(rows)}, base.rows.cuts),
        Contents({0: offsets(rejects)}, base.rejects.cuts),
    )
    (change,), after = made.changes, made.rows.entries[0]

    at, reached, fates = after.next, min(len(taken), high), taken + untaken
    assert at == max(min(target, high), min(low, high))
    gone_below = sum(taken[o] in "rx" and o in gone for o in range(min(at, reached)))
    skipped = [o for o in range(reached, at) if fates[o] in "rx"]
    lost, deleted = gone_below + sum(o >= low for o in skipped), sum(o < low for o in skipped)
    assert change.given_up_least <= lost <= change.given_up
    assert deleted <= change.deleted
    assert change.doubled == len({o for o in rows if at <= o < high})
    assert change.again == max(0, reached - at)
    assert [after.rows, after.rejects] == [len({o for o in found if o < at}) for found in (rows, rejects)]
    assert after.is_balanced
    assert after.lost >= taken[:at].count(LOST) + lost + deleted
    assert after.left_out <= fates[:at].count(LEFT_OUT)
    if at == len(taken):
        assert change.given_up_least == change.given_up
    if not gone and at <= reached:
        assert change.given_up == 0
    assert bool(made.rows.cuts) is (len(taken) > high)


def test_a_table_that_lost_its_ledger_cannot_tell_what_kafka_left_out_and_says_at_most() -> None:
    quarantine = Ledger("sessions", "id", {0: Entry(0, 9, "q", rejects=1)})
    log = Log(TOPIC, {0: (0, 9)})
    base = basis(Source.ROWS, log, Known(None, is_broken=False, sequence_number=1), Known(quarantine, False, 1))
    made = planned(base, 9, Contents({0: offsets([0, 1, 3, 4, 8])}), Contents({0: offsets([2])}))
    (change,) = made.changes
    assert (change.given_up_least, change.given_up, change.doubled) == (0, 3, 0)
    assert made.rows.entries[0] == Entry(0, 9, "", rows=5, rejects=1, lost=3)


def test_a_mark_that_one_ledger_lacks_is_given_to_it_for_all_that_its_table_holds() -> None:
    """As after a crash between the two commits, or where the table of rows was restored from before the log was cut."""
    log = Log(TOPIC, {0: (0, 11)})
    before = Ledger("sessions", "id", {0: Entry(0, 10, "c", rows=10)})
    base = basis(Source.LEDGER, log, Known(before, False, 3), Known(before, False, 5))
    assert not base.rows.ledger.cuts
    marked = basis(Source.LEDGER, Log(TOPIC, {0: (0, 6)}), Known(before, False, 3), Known(before, False, 5))
    again = basis(Source.LEDGER, log, Known(before, False, 4), Known(marked.rejects.ledger, False, 9))
    assert [tuple(c) for c in again.rows.ledger.cuts] == [(0, 6, 4)]
    assert again.rejects.ledger.cuts == marked.rejects.ledger.cuts
    assert again.reached(0) == 6
