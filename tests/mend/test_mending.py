"""Each way in which topic and tables can come apart: Neptune stops and names the command, and the command does mend it.

The command in the hint is what is then given. "Exact" means: each message of the topic is in its table once, and the totals are true.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from neptune_flow.errors import LedgerConflict, SettingsError, Superseded
from neptune_flow.iceberg import LakeTable
from neptune_flow.ledger import SET_KEY, SUMMARY_KEY, TAG
from neptune_flow.mend.land import _land, _summary, land
from tests.iceberg.worlds import roll_back, stock
from tests.mend.worlds import PATIENCE, Crash, Sea, rejects_at

EARLIER = {0: "rrxr.rxr", 1: "rrxr"}
LATER = {0: "rrxr.rxrrrx.rr", 1: "rrxrxrr"}


@pytest.fixture
def sea(tmp_path: Path) -> Sea:
    """Tables that have landed the topic in two steps."""
    sea = Sea(tmp_path, EARLIER)
    sea.land_all()
    sea.kafka.logs = dict(LATER)
    sea.land_all()
    sea.assert_exact()
    assert not sea.shown()["problems"]
    return sea


def stops(sea: Sea, said: str) -> str:
    """Neptune stops, and so `show` says; the source that the hint names."""
    with pytest.raises(LedgerConflict, match=said) as conflict:
        sea.begin()
    shown = sea.shown()["problems"]
    assert [p["what"] for p in shown] == [conflict.value.primary]
    assert shown[0]["hint"] == conflict.value.hint
    (source,) = re.findall(r"python -m neptune_flow ledger set --from (\w+)", conflict.value.hint)
    return str(source)


def assert_mended(sea: Sea) -> None:
    """All goes on, and what comes then is exact too."""
    assert not sea.shown()["problems"]
    sea.kafka.logs = {p: text + "rx.r" for p, text in sea.kafka.logs.items()}
    sea.land_all()


def head_of_first_landing(table: LakeTable) -> int:
    """The snapshot with which the first of the two steps ended."""
    heads = {}
    for snapshot in table.snapshots():
        ends = json.loads(snapshot.summary[SUMMARY_KEY])["partitions"]
        heads[snapshot.snapshot_id] = {int(p): e["next"] for p, e in ends.items()}
    whole = {p: len(text) for p, text in EARLIER.items()}
    return next(i for i, ends in heads.items() if all(ends.get(p, 0) >= n for p, n in whole.items()))


# Rolled back


@pytest.mark.parametrize("source", [None, "rows"])
def test_a_rolled_back_table_of_rows_takes_again_what_it_lacks(sea: Sea, source: str | None) -> None:
    roll_back(sea.rows, head_of_first_landing(sea.rows))
    hinted = stops(sea, "rolled back")
    assert hinted == "ledger"
    plan = sea.set(source or hinted)
    assert [(c.given_up, c.deleted, c.doubled) for c in plan.changes] == [(0, 0, 0), (0, 0, 0)]
    sea.land_all()
    sea.assert_exact()
    assert_mended(sea)
    sea.assert_exact()


def test_a_table_that_was_rolled_back_to_before_its_first_ledger_begins_again(tmp_path: Path) -> None:
    sea = Sea(tmp_path, EARLIER)
    stranger = foreign_append_of_nothing(sea)
    sea.land_all()
    roll_back(sea.rows, stranger)
    sea.set(stops(sea, "rolled back"))
    sea.land_all()
    sea.assert_exact()


def test_a_partition_that_the_older_ledger_does_not_know_begins_where_it_began(sea: Sea) -> None:
    ledgers = {s.snapshot_id: json.loads(s.summary[SUMMARY_KEY])["partitions"] for s in sea.rows.snapshots()}
    roll_back(sea.rows, next(i for i, partitions in reversed(ledgers.items()) if "1" not in partitions))
    plan = sea.set(stops(sea, "rolled back"))
    assert [(c.before, c.after) for c in plan.changes] == [(8, 8), (None, 0)]
    sea.land_all()
    sea.assert_exact()


def test_what_kafka_has_deleted_since_the_rollback_is_said_before_and_counted_after(sea: Sea) -> None:
    roll_back(sea.rows, head_of_first_landing(sea.rows))
    sea.kafka.low = {0: 10, 1: 0}
    plan = sea.set("ledger")
    assert [(c.partition, c.deleted) for c in plan.changes] == [(0, 2), (1, 0)]
    sea.land_all()
    ledger = sea.rows.read_ledger()
    assert ledger
    assert (ledger.entries[0].lost, ledger.entries[1].lost) == (2, 0)
    assert sea.places("r") - sea.row_places == {(0, 8): 1, (0, 9): 1}


def test_a_rolled_back_quarantine_costs_the_rejects_that_it_lacks_and_nothing_else(sea: Sea) -> None:
    roll_back(sea.quarantine, head_of_first_landing(sea.quarantine))
    plan = sea.set(stops(sea, "rolled back"))
    gone = sea.places("x") - sea.reject_places
    assert sum(c.given_up for c in plan.changes) == sum(gone.values()) > 0
    sea.land_all()
    assert sea.row_places == sea.places("r")
    sea.assert_true_totals()
    assert_mended(sea)
    assert sea.row_places == sea.places("r")
    assert sea.places("x") - sea.reject_places == gone


def test_both_tables_rolled_back_together_need_one_command(sea: Sea) -> None:
    for table in (sea.rows, sea.quarantine):
        roll_back(table, head_of_first_landing(table))
    sea.plan("ledger")
    with pytest.raises(LedgerConflict, match="rolled back"):
        sea.begin()
    assert len(sea.shown()["problems"]) == 2
    sea.set("ledger")
    sea.land_all()
    sea.assert_exact()


# Dropped


def test_a_table_of_rows_that_was_dropped_is_filled_again_and_no_reject_is_doubled(sea: Sea) -> None:
    sea.drop(sea.rows)
    hinted = stops(sea, "known to the quarantine, not to the table of rows")
    assert hinted == "rows"
    plan = sea.set(hinted)
    assert [(c.before, c.after, c.given_up, c.doubled) for c in plan.changes] == [(None, 0, 0, 0)] * 2
    sea.land_all()
    sea.assert_exact()
    assert_mended(sea)
    sea.assert_exact()


def test_a_dropped_table_is_filled_again_from_where_its_first_start_began(tmp_path: Path) -> None:
    """Not from messages that Neptune was told to leave alone (NEPTUNE_START_FROM)."""
    sea = Sea(tmp_path, {0: "rrxrrxr"}, start_at=3)
    sea.land_all()
    sea.drop(sea.rows)
    plan = sea.set(stops(sea, "known to the quarantine"))
    assert [(c.after, c.given_up) for c in plan.changes] == [(3, 0)]
    sea.land_all()
    assert sea.row_places == {(0, 3): 1, (0, 4): 1, (0, 6): 1}
    sea.assert_true_totals()


def test_a_table_of_rows_that_was_copied_without_its_history_goes_on_after_its_rows(sea: Sea) -> None:
    copy = sea.rows.to_arrow()
    sea.drop(sea.rows)
    stock(sea.rows).append(copy)
    plan = sea.set(stops(sea, "known to the quarantine, not to the table of rows"))
    assert [c.after for c in plan.changes] == [14, 7]
    sea.land_all()
    assert (sea.row_places, sea.reject_places) == (sea.places("r"), sea.places("x"))
    assert_mended(sea)
    assert (sea.row_places, sea.reject_places) == (sea.places("r"), sea.places("x"))


def test_a_quarantine_that_was_dropped_costs_its_rejects_and_no_row(sea: Sea) -> None:
    sea.drop(sea.quarantine)
    hinted = stops(sea, "the quarantine does not know it")
    assert hinted == "ledger"
    plan = sea.set(hinted)
    assert sum(c.given_up for c in plan.changes) == sum(sea.places("x").values())
    sea.land_all()
    assert sea.row_places == sea.places("r")
    sea.assert_true_totals()
    assert_mended(sea)
    assert sea.row_places == sea.places("r")
    assert sum(sea.reject_places.values()) == 2


def test_tables_that_were_both_dropped_are_a_first_start(sea: Sea) -> None:
    sea.drop(sea.rows)
    sea.drop(sea.quarantine)
    sea.land_all()
    sea.assert_exact()


# Restored from a backup


def restore(table: LakeTable, backup: str) -> None:
    """The catalog points to the metadata of an earlier day, as a restored backup of it does."""
    table.catalog.drop_table(table.identifier)
    table.catalog.register_table(table.identifier, backup)


@pytest.fixture
def backups(tmp_path: Path) -> tuple[Sea, str, str]:
    """Tables that have gone on since their backup: the metadata of the rows and of the quarantine."""
    sea = Sea(tmp_path, EARLIER)
    sea.land_all()
    kept = tuple(table.load().metadata_location for table in (sea.rows, sea.quarantine))
    sea.kafka.logs = dict(LATER)
    sea.land_all()
    return sea, kept[0], kept[1]


def test_rows_restored_from_a_backup_need_no_command(backups: tuple[Sea, str, str]) -> None:
    sea, rows, _ = backups
    restore(sea.rows, rows)
    sea.ensure()
    sea.land_all()
    sea.assert_exact()


def test_both_tables_restored_from_a_backup_need_no_command(backups: tuple[Sea, str, str]) -> None:
    sea, rows, quarantine = backups
    restore(sea.rows, rows)
    restore(sea.quarantine, quarantine)
    sea.ensure()
    sea.land_all()
    sea.assert_exact()


def test_a_quarantine_restored_from_a_backup_costs_the_rejects_that_it_lacks(backups: tuple[Sea, str, str]) -> None:
    sea, _, quarantine = backups
    restore(sea.quarantine, quarantine)
    sea.ensure()
    hinted = stops(sea, "the rows' ledger counts 3 rejects, the quarantine has landed 2")
    plan = sea.set(hinted)
    assert sum(c.given_up for c in plan.changes) == 2
    sea.land_all()
    assert sea.row_places == sea.places("r")
    sea.assert_true_totals()


# The tag and the ledger


def move_tag_back(sea: Sea) -> str:
    stock(sea.rows).manage_snapshots().create_tag(head_of_first_landing(sea.rows), TAG).commit()
    return "moved back"


def remove_tag(sea: Sea) -> str:
    stock(sea.rows).manage_snapshots().remove_tag(TAG).commit()
    return "has been removed"


def tag_a_stranger(sea: Sea) -> str:
    stranger = foreign_append_of_nothing(sea)
    stock(sea.rows).manage_snapshots().create_tag(stranger, TAG).commit()
    return "which has no ledger"


def spoil_the_ledger(sea: Sea) -> str:
    table = stock(sea.rows)
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties={SUMMARY_KEY: "{"})
    newest = table.refresh().current_snapshot()
    assert newest
    table.manage_snapshots().create_tag(newest.snapshot_id, TAG).commit()
    return "cannot be read"


@pytest.mark.parametrize("harm", [move_tag_back, remove_tag, tag_a_stranger, spoil_the_ledger])
def test_a_tag_or_ledger_that_was_spoilt_is_set_right(sea: Sea, harm: Callable[[Sea], str]) -> None:
    plan = sea.set(stops(sea, harm(sea)))
    assert sum((c.given_up + c.deleted + (c.doubled or 0)) for c in plan.changes) == 0
    sea.land_all()
    sea.assert_exact()
    assert_mended(sea)
    sea.assert_exact()


@pytest.mark.parametrize("harm", ["branch", "newer"])
def test_what_a_ledger_does_not_mend_is_left_alone(sea: Sea, harm: str) -> None:
    table = stock(sea.rows)
    if harm == "branch":
        remove_tag(sea)
        table.refresh().manage_snapshots().create_branch(head_of_first_landing(sea.rows), TAG).commit()
    else:
        table.append(table.schema().as_arrow().empty_table(), snapshot_properties={SUMMARY_KEY: '{"version": 99}'})
        newest = table.refresh().current_snapshot()
        assert newest
        table.manage_snapshots().create_tag(newest.snapshot_id, TAG).commit()
    head = sea.rows.load().metadata.current_snapshot_id
    with pytest.raises(LedgerConflict, match="branch" if harm == "branch" else "format 99") as conflict:
        sea.set("earliest")
    assert "ledger set" not in conflict.value.hint
    assert sea.rows.load().metadata.current_snapshot_id == head


# The topic


def test_a_topic_that_was_created_anew_goes_on_in_the_same_tables(sea: Sea) -> None:
    before = sea.row_places, sea.reject_places
    sea.kafka.recreate({0: "xrr.x", 1: "rx", 2: "r"})
    hinted = stops(sea, "created anew")
    assert hinted == "earliest"
    plan = sea.set(hinted)
    assert [(c.before, c.after, c.given_up, c.doubled) for c in plan.changes] == [
        (14, 0, 0, 0),
        (7, 0, 0, 0),
        (None, 0, 0, 0),
    ]
    sea.land_all()
    assert sea.row_places - before[0] == sea.places("r")
    assert sea.reject_places - before[1] == sea.places("x")
    ledger = sea.rows.read_ledger()
    assert ledger
    assert [(e.first, e.next, e.rows, e.rejects) for e in ledger.entries.values()] == [
        (0, 5, 2, 2),
        (0, 2, 1, 1),
        (0, 1, 1, 0),
    ]
    assert_mended(sea)


def test_verdicts_on_the_old_topic_are_not_taken_for_verdicts_on_the_new_one(sea: Sea) -> None:
    """Offsets that were refused then are good now, and a crash falls where the quarantine is asked what it holds."""
    before = sea.row_places, sea.reject_places
    sea.kafka.recreate({0: "rrrrrxrrrrrrrx", 1: "rrrrrrr"})
    sea.set("earliest")
    with pytest.raises(Crash):
        sea.begin().take(0, 14, crash_after_quarantine=True)
    sea.land_all()
    assert sea.row_places - before[0] == sea.places("r")
    assert sea.reject_places - before[1] == sea.places("x")


def test_rejects_that_were_put_back_by_hand_are_verdicts_that_stand_when_the_ledger_goes_back(tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rxrxxrxx"})
    sea.land_all()
    saved = sea.quarantine.to_arrow()
    sea.drop(sea.quarantine)
    sea.set("ledger")
    stock(sea.quarantine).append(saved)
    sea.set("earliest")
    sea.begin()
    sea.land_all()
    assert set(sea.reject_places.values()) == {1}


@pytest.mark.parametrize("options", [{"source": "rows", "partitions": [0]}, {"source": "offsets", "offsets": {0: 14}}])
def test_where_no_ledger_is_left_all_partitions_that_hold_rows_are_set_or_none(
    sea: Sea, options: dict[str, Any]
) -> None:
    rows = sea.rows.to_arrow()
    sea.drop(sea.rows)
    sea.drop(sea.quarantine)
    stock(sea.rows).append(rows)
    with pytest.raises(LedgerConflict, match="partition 1 would begin again"):
        sea.set(**options)


def test_old_rejects_that_were_rewritten_stop_the_start_rather_than_hide_new_messages(sea: Sea) -> None:
    """A program that rewrites files may give them the newest sequence number: old and new verdicts can no longer be told apart."""
    sea.kafka.recreate({0: "rrrrrxrrrrrrrx", 1: "rrrrrrr"})
    sea.set("earliest")
    table = stock(sea.quarantine)
    table.overwrite(table.scan().to_arrow())
    with pytest.raises(Crash):
        sea.begin().take(0, 14, crash_after_quarantine=True)
    before = sea.row_places
    assert stops(sea, "rejects at or above offset 0") == "ledger"
    sea.set("ledger")
    sea.land_all()
    assert sea.row_places - before == sea.places("r")
    assert sea.places("x") <= sea.reject_places


def test_a_log_that_was_cut_goes_on_at_its_end(sea: Sea) -> None:
    """As after an unclean leader election: the table has taken more than Kafka still has, and other messages come there."""
    before = sea.row_places, sea.reject_places
    sea.kafka.logs[0] = sea.kafka.logs[0][:9]
    (problem,) = sea.shown()["problems"]
    assert "ends at offset 9, but table default.events has taken offsets up to 14" in problem["what"]
    plan = sea.set("ledger")
    assert [(c.before, c.after, c.given_up, c.doubled) for c in plan.changes] == [(14, 9, 0, 0), (7, 7, 0, 0)]
    sea.kafka.logs = {0: sea.kafka.logs[0] + "rxxrr", 1: sea.kafka.logs[1] + "rx"}
    with pytest.raises(Crash):
        sea.begin().take(0, 14, crash_after_quarantine=True)
    sea.land_all()
    assert sea.row_places - before[0] == {(0, 9): 1, (0, 12): 1, (0, 13): 1, (1, 7): 1}
    assert sea.reject_places - before[1] == {(0, 10): 1, (0, 11): 1, (1, 8): 1}


def test_a_log_that_was_cut_leaves_the_other_partitions_and_all_below_the_cut_as_they_are(sea: Sea) -> None:
    before = sea.rows.read_ledger()
    assert before
    sea.kafka.logs[1] += "xxrr"
    with pytest.raises(Crash):
        sea.begin().take(1, 11, crash_after_quarantine=True)
    sea.kafka.logs[0] = sea.kafka.logs[0][:9]
    sea.set("ledger")
    after = sea.rows.read_ledger()
    assert after
    assert replace(after.entries[1], commit="") == replace(before.entries[1], commit="")
    cut = after.entries[0]
    assert (cut.first, cut.next, cut.rows, cut.rejects) == (0, 9, 6, 2)
    sea.land_all()
    assert sea.reject_places[1, 7] == sea.reject_places[1, 8] == 1  # the verdicts of before the crash stand

    again = sea.plan("offsets", offsets={0: 3, 1: 0})
    assert [(c.after, c.again, c.doubled) for c in again.changes] == [(3, 6, 4), (0, 11, 7)]


def test_a_log_that_is_cut_time_and_again_is_exact_each_time(sea: Sea) -> None:
    history, refused = sea.row_places, sea.reject_places
    for length, tail in ((9, "rxrxrrx"), (12, "xr"), (5, "rrxrx")):
        kept = sea.kafka.logs[0][:length]
        sea.kafka.logs[0] = kept
        plan = sea.set("ledger")
        assert [(c.given_up, c.deleted, c.doubled) for c in plan.changes] == [(0, 0, 0), (0, 0, 0)]
        sea.kafka.logs[0] = kept + tail
        sea.land_all()
        history += Counter({(0, o): 1 for o, kind in enumerate(kept + tail) if o >= length and kind == "r"})
        refused += Counter({(0, o): 1 for o, kind in enumerate(kept + tail) if o >= length and kind == "x"})
        assert (sea.row_places, sea.reject_places) == (history, refused)
        ledger = sea.rows.read_ledger()
        assert ledger
        entry = ledger.entries[0]
        assert entry.is_balanced
        counted = [sea.kafka.logs[0].count(kind) for kind in "rx."]
        assert [entry.rows, entry.rejects, entry.left_out] == counted
    assert_mended(sea)


def test_a_partition_that_was_cut_is_set_with_whatever_else_is_set(sea: Sea) -> None:
    sea.kafka.logs[0] = sea.kafka.logs[0][:9]
    with pytest.raises(SettingsError, match="partition 0 was cut at offset 9, and must be set too"):
        sea.plan("ledger", partitions=[1])
    sea.set("offsets", offsets={0: 9})
    sea.land_all()
    assert_mended(sea)


def test_a_table_restored_from_before_a_cut_does_not_take_the_old_messages_for_the_new_ones(sea: Sea) -> None:
    backup = sea.rows.load().metadata_location
    sea.kafka.logs[0] = sea.kafka.logs[0][:9]
    sea.set("ledger")
    sea.kafka.logs[0] += "xrrrrrrrr"
    sea.land_all()
    restore(sea.rows, backup)
    sea.ensure()
    plan = sea.set(stops(sea, "cut at offset 9 in the ledger of the quarantine alone"))
    assert [(c.before, c.after) for c in plan.changes] == [(14, 9), (7, 7)]
    assert plan.changes[0].doubled is None  # whether they are rows of then or of now, nothing in the table tells
    before = sea.row_places
    sea.land_all()
    assert sea.row_places - before == Counter({(0, o): 1 for o in range(10, 18)})
    assert_mended(sea)


def test_rejects_of_before_a_cut_that_were_rewritten_hide_no_new_message(sea: Sea) -> None:
    sea.kafka.logs[0] = sea.kafka.logs[0][:9]
    sea.set("ledger")
    sea.kafka.logs[0] += "rxrrrr"
    table = stock(sea.quarantine)
    table.overwrite(table.scan().to_arrow())
    before = sea.row_places
    with pytest.raises(Crash):
        sea.begin().take(0, 15, crash_after_quarantine=True)
    assert stops(sea, "rejects at or above offset 9") == "ledger"
    plan = sea.set("ledger")
    assert any("are given up, and may come again" in note for note in plan.notes)
    sea.land_all()
    assert sea.row_places - before == Counter({(0, o): 1 for o in (9, 11, 12, 13, 14)})
    assert_mended(sea)


def test_where_brokers_tell_no_topic_ids_a_log_that_ends_early_is_a_new_topic_to_who_begins_at_its_earliest(
    tmp_path: Path,
) -> None:
    sea = Sea(tmp_path, EARLIER)
    sea.kafka.topic_id = None
    sea.land_all()
    before = sea.row_places, sea.reject_places
    sea.kafka.logs = {0: "xrr.x", 1: "rx"}
    sea.set("earliest")
    sea.land_all()
    assert sea.row_places - before[0] == sea.places("r")
    assert sea.reject_places - before[1] == sea.places("x")
    assert_mended(sea)


@pytest.mark.parametrize(
    ("source", "options"),
    [("earliest", {"partitions": [0]}), ("offsets", {"offsets": {0: 0}}), ("latest", {"partitions": [0]})],
)
def test_on_a_new_topic_all_partitions_are_set_or_none(sea: Sea, source: str, options: dict[str, Any]) -> None:
    sea.kafka.recreate({0: "rr", 1: "rr"})
    with pytest.raises(SettingsError, match="partition 1 would begin again"):
        sea.plan(source, **options)


def test_another_topic_is_no_case_for_a_ledger(sea: Sea) -> None:
    sea.kafka.name = "others"
    with pytest.raises(LedgerConflict, match="hold topic sessions, not others"):
        sea.plan("earliest")


# What the tables hold


def keep(sea: Sea, kept: Callable[[int, int], bool]) -> pa.Table:
    """Somebody deletes all other rows; what is left."""
    table = stock(sea.rows)
    all_rows = table.scan().to_arrow()
    mask = [kept(k["partition"], k["offset"]) for k in all_rows.column("_kafka").to_pylist()]
    left = all_rows.filter(pa.array(mask))
    table.overwrite(left)
    return left


def test_what_kafka_left_out_elsewhere_does_not_make_up_for_rows_that_are_gone(tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rrrrrrrr........rr"})
    sea.land_all()
    keep(sea, lambda _, offset: not 2 <= offset < 8)
    (change,) = sea.plan("ledger").changes
    assert (change.given_up_least, change.given_up) == (6, 6)
    (back,) = sea.set("offsets", offsets={0: 8}).changes
    assert (back.given_up_least, back.given_up, back.doubled, back.again) == (0, 6, 2, 10)
    ledger = sea.rows.read_ledger()
    assert ledger
    assert (ledger.entries[0].rows, ledger.entries[0].left_out, ledger.entries[0].lost) == (2, 0, 6)


def test_a_row_that_is_there_twice_does_not_make_up_for_one_that_is_gone(tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rrrrrrrr"})
    sea.land_all()
    left = keep(sea, lambda _, offset: offset >= 2)
    stock(sea.rows).append(left.slice(0, 2))
    plan = sea.plan("ledger")
    assert [(c.given_up_least, c.given_up) for c in plan.changes] == [(2, 2)]
    assert any("more than once already" in note for note in plan.notes)


def test_rows_of_another_topic_are_neither_held_nor_doubled(sea: Sea) -> None:
    """As in a table that two topics have come to share, or whose topic has got another name."""
    left = keep(sea, lambda partition, offset: partition == 1 or offset < 8)
    strangers = [
        {**row["_kafka"], "topic": "others", "offset": row["_kafka"]["offset"] + 8} for row in left.to_pylist()
    ]
    moved = [{**row, "_kafka": place} for row, place in zip(left.to_pylist(), strangers, strict=True)]
    stock(sea.rows).append(pa.Table.from_pylist(moved, schema=left.schema))
    gone = sum(partition == 0 and offset >= 8 for partition, offset in sea.places("r"))
    (change, _) = sea.plan("ledger").changes
    assert (change.after, change.given_up_least, change.given_up, change.doubled) == (14, gone, gone, 0)
    (change, _) = sea.plan("rows").changes
    # Below 8 one offset is in no table: Kafka has left it out, but it might as well be one of the rows that are gone.
    assert (change.after, change.given_up_least, change.given_up, change.doubled) == (8, 0, 1, 0)


def test_what_kafka_does_not_hold_any_more_is_not_called_doubled_and_its_rows_still_count(tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rxrrrxrr"})
    sea.land_all()
    sea.kafka.low = {0: 4}
    (change,) = sea.set("offsets", offsets={0: 0}).changes
    assert (change.after, change.given_up, change.deleted, change.again, change.doubled) == (4, 0, 0, 4, 3)
    ledger = sea.rows.read_ledger()
    assert ledger
    assert (ledger.entries[0].rows, ledger.entries[0].rejects, ledger.entries[0].lost) == (3, 1, 0)


# By choice


def test_going_back_doubles_what_the_rows_still_hold_says_so_and_takes_no_reject_twice(sea: Sea) -> None:
    plan = sea.set("offsets", offsets={0: 9, 1: 0})
    assert [(c.before, c.after, c.doubled) for c in plan.changes] == [(14, 9, 4 - 1), (7, 0, 5)]
    sea.land_all()
    twice = {place: 2 for place in sea.places("r") if place[0] == 1 or place[1] >= 9}
    assert {place: n for place, n in sea.row_places.items() if n > 1} == twice
    assert sea.reject_places == sea.places("x")


def test_going_to_the_logs_end_gives_up_what_lies_between_and_counts_it(sea: Sea) -> None:
    sea.kafka.logs = {0: LATER[0] + "rrx.", 1: LATER[1] + "rr"}
    plan = sea.set("latest", partitions=[0])
    assert [(c.partition, c.before, c.after, c.given_up, c.doubled) for c in plan.changes] == [(0, 14, 18, 4, 0)]
    assert plan.changes[0].given_up_least == 0  # Kafka left one out, and only reading them would tell
    sea.land_all()
    sea.assert_true_totals()
    assert sea.places("r") - sea.row_places == {(0, 14): 1, (0, 15): 1}
    assert_mended(sea)


def test_a_ledger_that_is_set_to_where_it_is_changes_nothing_but_who_may_write(sea: Sea) -> None:
    before = sea.rows.read_ledger()
    sleeping = sea.begin()
    plan = sea.set("ledger")
    after = sea.rows.read_ledger()
    assert before
    assert after
    assert before.watermark_least == after.watermark_least
    for p, e in after.entries.items():
        old = before.entries[p]
        assert e.commit != old.commit
        assert (e.first, e.next, e.rows, e.rejects, e.left_out, e.lost, e.watermark) == (
            *(old.first, old.next, old.rows, old.rejects, old.left_out, old.lost, old.watermark),
        )
    assert plan.is_quarantine_kept
    sea.kafka.logs = {p: text + "r" for p, text in sea.kafka.logs.items()}
    with pytest.raises(Superseded):
        sleeping.take(0, len(sea.kafka.logs[0]))
    sea.land_all()
    sea.assert_exact()


def test_the_history_shows_what_was_set_and_from_where(sea: Sea) -> None:
    files = len(sea.rows.files())
    sea.set("offsets", offsets={1: 5})
    newest = sea.rows.snapshots()[-1]
    assert json.loads(newest.summary[SET_KEY]) == {"from": "offsets", "offsets": {"1": [7, 5]}}
    assert sea.shown()["tables"]["rows"]["set_by_hand"] == newest.summary[SET_KEY]
    assert len(sea.rows.files()) == files


def test_the_watermark_goes_on_forward_and_begins_anew_where_a_partition_goes_back(sea: Sea) -> None:
    before = sea.rows.read_ledger()
    assert before
    sea.kafka.logs = {p: text + "rr" for p, text in sea.kafka.logs.items()}
    sea.set("latest")
    ahead = sea.rows.read_ledger()
    assert ahead
    assert (ahead.watermark_least, ahead.entries[0].watermark) == (before.watermark_least, before.entries[0].watermark)
    sea.set("offsets", offsets={0: 3})
    back = sea.rows.read_ledger()
    assert back
    assert (back.watermark_least, back.entries[0].watermark) == (None, None)
    assert back.entries[1].watermark == before.entries[1].watermark


def test_a_table_that_has_moved_since_it_was_looked_at_is_not_touched(sea: Sea) -> None:
    plan, seen = sea.plan("earliest"), sea.seen()
    sea.kafka.logs = {p: text + "r" for p, text in sea.kafka.logs.items()}
    sea.land_all()
    with pytest.raises(Superseded, match="has moved since it was looked at"):
        land(plan, *seen, PATIENCE, 100)
    sea.assert_exact()


def test_a_reject_that_lands_while_somebody_is_asked_stops_the_setting(sea: Sea) -> None:
    """A Neptune that was not stopped is between its two commits: its reject would count as given up, and be in quarantine."""
    sea.kafka.logs[0] += "xr"
    plan, seen = sea.plan("latest"), sea.seen()
    with pytest.raises(Crash):
        sea.begin().take(0, 16, crash_after_quarantine=True)
    with pytest.raises(Superseded, match="_quarantine has moved since it was looked at"):
        land(plan, *seen, PATIENCE, 100)


def test_a_reject_beyond_the_log_is_no_reason_to_call_it_cut(sea: Sea) -> None:
    stock(sea.quarantine).append(pa.Table.from_batches([rejects_at(0, [10**12])]))
    sea.set("ledger")
    sea.begin()
    assert not sea.shown()["problems"]
    assert not sea.plan("ledger").rows.cuts
    assert_mended(sea)


def test_a_partition_or_offset_that_does_not_exist_is_refused(sea: Sea) -> None:
    with pytest.raises(SettingsError, match="no partition 7"):
        sea.plan("earliest", partitions=[7])
    with pytest.raises(SettingsError, match=r"offset 15 lies beyond the log, which is \[0, 14\)"):
        sea.plan("offsets", offsets={0: 15})


def test_a_choice_that_leaves_neptune_stopping_is_refused(sea: Sea) -> None:
    sea.drop(sea.rows)
    with pytest.raises(LedgerConflict, match="would stop at this ledger too"):
        sea.plan("rows", partitions=[0])


@pytest.mark.parametrize(("source", "hint"), [("rows", "--from earliest"), ("ledger", "--from earliest")])
def test_old_rows_say_nothing_of_a_new_topic(sea: Sea, source: str, hint: str) -> None:
    sea.kafka.recreate({0: "r", 1: "r"})
    with pytest.raises(LedgerConflict, match="is not possible") as conflict:
        sea.plan(source)
    assert hint in conflict.value.hint


def test_rows_that_do_not_tell_their_offsets_are_mended_by_the_ledger_alone(tmp_path: Path) -> None:
    sea = Sea(tmp_path, EARLIER, kafka_columns=False)
    sea.land_all()
    sea.kafka.logs = dict(LATER)
    sea.land_all()
    roll_back(sea.rows, head_of_first_landing(sea.rows))
    plan = sea.set(stops(sea, "rolled back"))
    assert [c.doubled for c in plan.changes] == [None, None]
    sea.land_all()
    assert sea.rows.row_count() == sum(sea.places("r").values())
    assert sea.reject_places == sea.places("x")
    ledger = sea.rows.read_ledger()
    assert ledger
    assert all(e.is_balanced for e in ledger.entries.values())
    with pytest.raises(LedgerConflict, match="does not tell which offsets"):
        sea.plan("rows")
    plan = sea.set("offsets", offsets={0: 9, 1: 0})
    assert [(c.given_up, c.doubled) for c in plan.changes] == [(0, None)] * 2
    sea.land_all()
    assert sea.reject_places == sea.places("x")
    ledger = sea.rows.read_ledger()
    assert ledger
    assert [(e.first, e.rejects, e.is_balanced) for e in ledger.entries.values()] == [(0, 3, True), (0, 2, True)]


def test_a_crash_between_the_two_commits_leaves_a_state_that_stops_and_that_the_command_mends(sea: Sea) -> None:
    sea.kafka.recreate({0: "rrrrrxrrrrrrrx", 1: "rrrrrrr"})
    before = sea.row_places, sea.reject_places
    plan = sea.plan("earliest").under("crashed")
    _land(sea.seen()[1], plan.rejects, "crashed", _summary(plan, plan.rejects), PATIENCE, 100)
    sea.set(stops(sea, "created anew"))
    sea.land_all()
    assert sea.row_places - before[0] == sea.places("r")
    assert sea.reject_places - before[1] == sea.places("x")


def foreign_append_of_nothing(sea: Sea) -> int:
    table = stock(sea.rows)
    table.append(table.schema().as_arrow().empty_table())
    newest = table.refresh().current_snapshot()
    assert newest
    return newest.snapshot_id
