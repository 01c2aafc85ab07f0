"""Which ledger holds, and which snapshots may go: on real tables that others have meddled with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.iceberg.history import MEND, survey
from neptune_flow.ledger import SUMMARY_KEY, TAG
from tests.iceberg.worlds import attempt, foreign_append, land, ledger, offsets, open_table, roll_back, stock


def snapshot_ids(table: LakeTable) -> set[int]:
    return {snapshot.snapshot_id for snapshot in table.snapshots()}


def expire(table: LakeTable, snapshot_id: int) -> None:
    stock(table).maintenance.expire_snapshots().by_id(snapshot_id).commit()


def test_a_new_table_has_no_ledger(table: LakeTable) -> None:
    look = table.look()
    assert (look.ledger, look.head, look.tag) == (None, None, None)


def test_a_table_that_only_others_have_written_to_has_no_ledger(table: LakeTable) -> None:
    head = foreign_append(table, 0, 3)
    look = table.look()
    assert (look.ledger, look.head, look.tag) == (None, head, None)


def test_the_ledger_is_read_back_as_it_was_committed(table: LakeTable) -> None:
    result = land(table, 0, 3)
    look = table.look()
    assert look.ledger == ledger(3, "c0")
    assert look.head == look.tag == result.snapshot_id


def test_the_ledger_is_found_below_foreign_commits(table: LakeTable) -> None:
    ours = land(table, 0, 3)
    foreign_append(table, 100, 2)
    head = foreign_append(table, 200, 2)
    look = table.look()
    assert look.ledger == ledger(3, "c0")
    assert (look.head, look.tag) == (head, ours.snapshot_id)
    land(table, 3, 2)
    assert offsets(table) == [0, 1, 2, 3, 4, 100, 101, 200, 201]


def test_the_ledger_is_found_where_a_foreign_snapshot_on_the_way_to_it_has_been_expired(table: LakeTable) -> None:
    land(table, 0, 3)
    between = foreign_append(table, 100, 2)
    foreign_append(table, 200, 2)
    expire(table, between)
    assert table.look().ledger == ledger(3, "c0")


def test_a_rollback_is_reported_with_the_commands_that_mend_it(table: LakeTable) -> None:
    first = land(table, 0, 3)
    second = land(table, 3, 3)
    roll_back(table, first.snapshot_id)
    with pytest.raises(LedgerConflict, match="rolled back") as conflict:
        table.look()
    assert f"set_current_snapshot('default.events', {second.snapshot_id})" in conflict.value.hint
    assert conflict.value.hint.endswith(f"{MEND} ledger")


def test_a_rollback_is_seen_below_a_foreign_commit_on_top_of_it(table: LakeTable) -> None:
    first = land(table, 0, 3)
    land(table, 3, 3)
    roll_back(table, first.snapshot_id)
    foreign_append(table, 100, 2)
    with pytest.raises(LedgerConflict, match="rolled back"):
        table.look()


def test_a_rollback_behind_an_expired_snapshot_is_seen_by_the_snapshot_log(table: LakeTable) -> None:
    base = foreign_append(table, 100, 2)
    land(table, 0, 3)
    roll_back(table, base)
    between = foreign_append(table, 200, 2)
    foreign_append(table, 300, 2)
    expire(table, between)
    with pytest.raises(LedgerConflict, match="rolled back"):
        table.look()


def test_a_rollback_is_seen_by_the_sequence_numbers_where_the_snapshot_log_is_lost(table: LakeTable) -> None:
    first = land(table, 0, 3)
    land(table, 3, 3)
    roll_back(table, first.snapshot_id)
    foreign_append(table, 100, 2)
    path = Path(table.load().metadata_location.removeprefix("file://"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "snapshot-log": []}))
    with pytest.raises(LedgerConflict, match="rolled back"):
        table.look()


def test_a_rollback_to_before_the_first_ledger_is_mended_from_what_the_rows_hold(table: LakeTable) -> None:
    base = foreign_append(table, 100, 2)
    land(table, 0, 3)
    roll_back(table, base)
    with pytest.raises(LedgerConflict, match="rolled back") as conflict:
        table.look()
    assert conflict.value.hint.endswith(f"{MEND} rows")


def test_a_tag_that_is_moved_to_the_newest_ledger_of_a_rolled_back_table_mends_too(table: LakeTable) -> None:
    first = land(table, 0, 3)
    land(table, 3, 3)
    roll_back(table, first.snapshot_id)
    stock(table).manage_snapshots().create_tag(first.snapshot_id, TAG).commit()
    assert table.look().ledger == ledger(3, "c0")


def test_a_removed_tag_is_reported(table: LakeTable) -> None:
    land(table, 0, 3)
    stock(table).manage_snapshots().remove_tag(TAG).commit()
    with pytest.raises(LedgerConflict, match="has been removed") as conflict:
        table.look()
    assert conflict.value.hint == f"{MEND} ledger"


def test_a_tag_that_was_moved_back_is_reported(table: LakeTable) -> None:
    first = land(table, 0, 3)
    land(table, 3, 3)
    stock(table).manage_snapshots().create_tag(first.snapshot_id, TAG).commit()
    with pytest.raises(LedgerConflict, match="moved back"):
        table.look()


def test_a_tag_on_a_foreign_snapshot_is_reported(table: LakeTable) -> None:
    land(table, 0, 3)
    foreign = foreign_append(table, 100, 1)
    stock(table).manage_snapshots().create_tag(foreign, TAG).commit()
    with pytest.raises(LedgerConflict, match="which has no ledger"):
        table.look()


def test_a_branch_with_the_name_of_the_tag_is_reported(table: LakeTable) -> None:
    foreign = foreign_append(table, 100, 1)
    stock(table).manage_snapshots().create_branch(foreign, TAG).commit()
    with pytest.raises(LedgerConflict, match="has a branch named"):
        table.look()


def test_a_survey_objects_to_nothing_and_finds_the_newest_ledger_on_the_line(table: LakeTable) -> None:
    first = land(table, 0, 3)
    second = land(table, 3, 3)
    roll_back(table, first.snapshot_id)
    found = survey("events", stock(table).metadata)
    assert found.ledger == ledger(3, "c0")
    assert found.snapshot
    assert (found.snapshot.snapshot_id, found.head, found.tag) == (
        first.snapshot_id,
        first.snapshot_id,
        second.snapshot_id,
    )
    assert found.problem
    assert found.is_mendable


def test_a_survey_of_a_sound_table_says_what_a_look_does(table: LakeTable) -> None:
    assert survey("events", stock(table).metadata).problem is None
    ours = land(table, 0, 3)
    foreign_append(table, 100, 1)
    found = survey("events", stock(table).metadata)
    assert (found.ledger, found.problem, found.tag) == (ledger(3, "c0"), None, ours.snapshot_id)


def test_a_dropped_table_is_reported(table: LakeTable) -> None:
    table.catalog.drop_table(table.identifier)
    with pytest.raises(LedgerConflict, match="is gone"):
        table.look()


def test_a_table_that_was_created_again_is_reported(lake: Lake, table: LakeTable) -> None:
    table.catalog.drop_table(table.identifier)
    open_table(lake)
    with pytest.raises(LedgerConflict, match="another table than before"):
        table.look()


def test_the_newest_of_ones_own_snapshots_are_kept(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=3)
    made = [land(table, i, 1) for i in range(6)]
    assert snapshot_ids(table) == {m.snapshot_id for m in made[-3:]}
    assert [m.snapshots_expired for m in made] == [0, 0, 0, 1, 1, 1]
    assert offsets(table) == list(range(6))


def test_foreign_snapshots_are_never_expired(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=2)
    foreign = foreign_append(table, 100, 1)
    for i in range(4):
        land(table, i, 1)
    assert foreign in snapshot_ids(table)
    assert len(snapshot_ids(table)) == 3


def test_a_snapshot_that_a_tag_or_a_branch_holds_is_never_expired(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=2)
    made = [land(table, i, 1).snapshot_id for i in range(2)]
    stock(table).manage_snapshots().create_tag(made[0], "audit").create_branch(made[1], "wap").commit()
    made += [land(table, i, 1).snapshot_id for i in range(2, 6)]
    assert snapshot_ids(table) == {made[0], made[1], made[4], made[5]}
    assert stock(table).scan(snapshot_id=made[0]).to_arrow().num_rows == 1


def test_a_minimum_of_snapshots_set_on_the_table_is_honoured(lake: Lake) -> None:
    table = open_table(
        lake,
        snapshots_max=1,
        properties={"history.expire.min-snapshots-to-keep": "4", "history.expire.max-snapshot-age-ms": "0"},
    )
    for i in range(7):
        land(table, i, 1)
    assert len(snapshot_ids(table)) == 4


def test_an_age_set_on_the_table_is_honoured(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=1, properties={"history.expire.max-snapshot-age-ms": "3600000"})
    for i in range(5):
        land(table, i, 1)
    assert len(snapshot_ids(table)) == 5


def test_foreign_snapshots_are_not_expired_by_age_either(lake: Lake) -> None:
    table = open_table(lake, properties={"history.expire.max-snapshot-age-ms": "0"})
    foreign = foreign_append(table, 100, 1)
    for i in range(3):
        land(table, i, 1)
    assert foreign in snapshot_ids(table)
    assert len(snapshot_ids(table)) == 3


def test_a_minimum_alone_is_joined_by_icebergs_own_age(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=1, properties={"history.expire.min-snapshots-to-keep": "1"})
    for i in range(4):
        land(table, i, 1)
    assert len(snapshot_ids(table)) == 4


def test_nothing_is_expired_where_the_table_forbids_it(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=1, properties={"gc.enabled": "false"})
    for i in range(4):
        land(table, i, 1)
    assert len(snapshot_ids(table)) == 4


def test_one_commit_expires_a_bounded_number_of_snapshots(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune_flow.iceberg.history.EXPIRED_PER_COMMIT_MAX", 20)
    patient = open_table(lake, snapshots_max=1000)
    for i in range(30):
        land(patient, i, 0)
    eager = open_table(lake, snapshots_max=1)
    assert attempt(eager, 1000).snapshots_expired == 20
    assert attempt(eager, 1001).snapshots_expired == 10
    assert len(snapshot_ids(eager)) == 2


def test_the_head_keeps_its_ledger_whatever_is_expired(lake: Lake) -> None:
    table = open_table(lake, snapshots_max=0)
    for i in range(3):
        land(table, i, 1)
    assert table.look().ledger == ledger(3, "c2")
    assert SUMMARY_KEY in table.snapshots()[-1].summary
