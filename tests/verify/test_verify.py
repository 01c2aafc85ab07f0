"""`neptune verify` on real tables: what Neptune leaves is whole, and each fault that is planted is found, named and placed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from neptune_flow.ledger import SET_KEY, Cut, Ledger
from neptune_flow.patience import Patience
from neptune_flow.verify.run import verify
from neptune_flow.verify.task import Task
from tests.iceberg import worlds as lakes
from tests.iceberg.worlds import (
    DAY,
    KAFKA,
    SCHEMA,
    foreign_file_delete,
    foreign_position_delete,
    roll_back,
    stock,
)
from tests.verify.worlds import TOPIC, World, foreign_equality_delete, reject_rows

WITHOUT_OFFSETS = pa.schema([f for f in SCHEMA if f.name != "_kafka"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two partitions on two days, with every fate that an offset can have.

    Partition 0 `[0, 14)`: rejects 2, 9; left out 4, 10. Partition 1 `[0, 6)`: reject 4; lost 2.
    """
    made = World(tmp_path)
    made.land("rrxr.r", watermark=100)
    made.land("rr-rxr", partition=1, watermark=300)
    made.land("rrrx.rrr", day=DAY + 1, watermark=200)
    return made


def entry(ledger: Ledger, partition: int = 0, **changes: Any) -> Ledger:
    return replace(ledger, entries={**ledger.entries, partition: replace(ledger.entries[partition], **changes)})


# Whole


def test_what_neptune_leaves_is_whole(world: World) -> None:
    result = world.run("--no-kafka")
    assert result.exit_code == 0, result.output
    assert "Whole: 14 rows and 3 rejects of 2 Kafka partitions" in result.output


def test_tables_in_which_nothing_has_landed_are_whole(tmp_path: Path) -> None:
    assert World(tmp_path).verdict().kinds == []


def test_a_quarantine_that_is_ahead_of_the_rows_after_a_crash_is_whole(world: World) -> None:
    world.land("rxx", crash_before_rows=True)
    assert world.verdict().kinds == []


def test_a_partition_that_the_quarantine_alone_knows_is_strange(world: World) -> None:
    world.land("x", partition=2, crash_before_rows=True)
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["what"]) == (
        "strange",
        "partition 2: known to the quarantine, not to the table of rows",
    )


def test_a_table_of_rows_that_was_dropped_and_made_anew_is_strange(world: World) -> None:
    world.rows.catalog.drop_table(world.rows.identifier)
    lakes.open_table(lakes.open_lake(world.folder), world.schema)
    verdict = world.verdict()
    assert set(verdict.kinds) == {"strange"}
    assert {fault["hint"] for fault in verdict.faults} == {
        "python -m neptune_flow ledger show, then python -m neptune_flow ledger set"
    }


def test_files_that_another_program_has_merged_are_whole(world: World) -> None:
    table = stock(world.rows)
    table.overwrite(table.scan().to_arrow())
    assert len(world.data_files(world.rows)) == 2
    assert world.verdict().kinds == []


def test_rows_of_an_earlier_topic_are_counted_and_not_judged(world: World) -> None:
    for table in (world.rows, world.quarantine):
        last = max(s.sequence_number or 0 for s in stock(table).metadata.snapshots)
        world.commit(table, Ledger(TOPIC, "another", began_after=last), summary={SET_KEY: "a new topic"})
    world.land("rrx.r")
    verdict = world.verdict()
    assert verdict.kinds == []
    earlier = [t["rows_of_earlier_log"] for t in verdict.document["tables"]]
    assert earlier == [14, 3]
    assert [t["rows"] for t in verdict.document["tables"]] == [3, 1]


def test_what_lies_above_a_cut_in_older_files_is_counted_and_not_judged(world: World) -> None:
    world.land("rrxr")  # of the log as it was: partition 0 has been taken up to 18
    for table, rows, rejects in ((world.rows, 10, 2), (world.quarantine, 0, 2)):
        last = max(s.sequence_number or 0 for s in stock(table).metadata.snapshots)
        ledger = replace(entry(world.ledger(table), next=14, rows=rows, rejects=rejects), cuts=(Cut(0, 14, last),))
        world.commit(table, ledger, summary={SET_KEY: "the log was cut"})
    assert world.verdict().kinds == []
    world.land("xrrr.")
    verdict = world.verdict()
    assert verdict.kinds == []
    assert [t["rows_of_earlier_log"] for t in verdict.document["tables"]] == [3, 1]
    world.append(world.rows, world.row_batch([13, 16]))
    assert world.verdict().places("twin") == {(0, 13), (0, 16)}


# Lost


def test_a_row_that_another_program_deleted_is_lost_and_the_deletion_is_named(world: World) -> None:
    world.delete(world.rows, "id", "id-7")
    (fault,) = world.verdict().faults
    assert fault["kind"] == "lost"
    assert fault["what"].startswith("1 message in no table")
    assert [7, 8] in fault["ranges"]
    assert f"snapshot {stock(world.rows).current_snapshot().snapshot_id} (overwrite" in fault["hint"]  # type: ignore[union-attr]


def test_where_nothing_was_left_out_the_lost_offsets_are_named_exactly(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.land("rrrrxrrr")
    world.delete(world.rows, "id", "id-2")
    assert world.verdict().places("lost") == {(0, 2)}


def test_rows_that_are_deleted_by_position_are_lost(world: World) -> None:
    path = f"file://{world.data_files(world.rows)[1]}"
    foreign_position_delete(world.rows, path, [0, 3])
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["partition"]) == ("lost", 1)
    assert fault["what"].startswith("2 messages")
    assert {(1, 0), (1, 5)} < world.verdict().places("lost")


def test_a_data_file_that_another_program_dropped_is_lost(world: World) -> None:
    foreign_file_delete(world.rows, f"file://{world.data_files(world.rows)[1]}")
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["partition"]) == ("lost", 1)
    assert fault["what"].startswith("4 messages")


def test_a_data_file_that_is_gone_from_storage_is_named_and_its_rows_are_lost(world: World) -> None:
    path = world.data_files(world.rows)[0]
    path.unlink()
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "lost"]
    assert verdict.faults[0]["what"] == f"file://{path} is gone from the storage"
    assert verdict.places("lost") == {(0, o) for o in (0, 1, 3, 4, 5, 10)}


def test_a_data_file_that_cannot_be_read_is_named_and_its_rows_are_lost(world: World) -> None:
    path = world.data_files(world.rows)[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "lost"]
    assert f"file://{path} cannot be read" in verdict.faults[0]["what"]


def test_bytes_that_are_damaged_within_a_file_are_found(world: World) -> None:
    path = world.data_files(world.rows)[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"sessions")
    content[at - 16 : at + 16] = bytes(32)
    path.write_bytes(content)
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "lost"]
    assert f"file://{path} cannot be read" in verdict.faults[0]["what"]


def test_a_file_with_fewer_rows_than_its_manifest_claims_is_found(world: World) -> None:
    path = world.data_files(world.rows)[0]
    world.rewrite(path, lambda rows: rows.slice(0, 3))
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "lost"]
    assert verdict.faults[0]["what"] == f"file://{path} holds 3 rows, its manifest claims 4"
    assert (0, 5) in verdict.places("lost")


def test_a_manifest_that_is_gone_is_named(world: World) -> None:
    snapshot = stock(world.rows).current_snapshot()
    assert snapshot
    path = snapshot.manifests(stock(world.rows).io)[0].manifest_path
    Path(path.removeprefix("file://")).unlink()
    verdict = world.verdict()
    assert set(verdict.kinds) == {"lost"}
    assert verdict.faults[0]["what"] == f"{path} is gone from the storage"


def test_a_manifest_list_that_is_gone_is_named(world: World) -> None:
    snapshot = stock(world.rows).current_snapshot()
    assert snapshot
    Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    assert world.verdict().faults[0]["what"] == f"{snapshot.manifest_list} is gone from the storage"


def test_a_reject_that_another_program_deleted_is_lost(world: World) -> None:
    world.delete(world.quarantine, "offset", 9)
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["partition"]) == ("lost", 0)
    assert fault["what"].startswith("1 message (1 rejects) in no table")
    assert [9, 11] in fault["ranges"]


def test_a_reject_that_is_ahead_of_the_rows_and_was_deleted_is_no_loss_since_its_message_is_read_again(
    world: World,
) -> None:
    world.land("rxx", crash_before_rows=True)
    world.delete(world.quarantine, "offset", 15)
    assert world.verdict().kinds == []
    world.append(world.quarantine, reject_rows([14, 15]))
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["table"]) == ("skip", "default.events_quarantine")
    assert fault["what"] == "holds 3 rejects ahead of the rows, its ledger counts 2"


def test_all_rejects_are_lost_with_a_quarantine_table_that_was_dropped(world: World) -> None:
    world.quarantine.catalog.drop_table(world.quarantine.identifier)
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "lost"]
    assert {(0, 2), (0, 9), (1, 4)} < verdict.places("lost")
    assert any("no quarantine table" in note for note in verdict.document["notes"])


# Twins


def test_a_row_that_landed_twice_is_a_twin(world: World) -> None:
    world.append(world.rows, world.row_batch([3, 7]))
    verdict = world.verdict()
    assert verdict.kinds == ["twin"]
    assert verdict.places("twin") == {(0, 3), (0, 7)}


def test_a_row_that_is_twice_in_one_file_is_a_twin(world: World) -> None:
    path = world.data_files(world.rows)[0]
    world.rewrite(path, lambda rows: rows.take([0, 1, 2, 2]))
    verdict = world.verdict()
    assert verdict.places("twin") == {(0, 3)}
    assert verdict.kinds == ["lost", "twin"]


def test_a_file_that_is_named_twice_makes_twins_of_all_its_rows(world: World) -> None:
    path = world.data_files(world.rows)[1]
    stock(world.rows).add_files([f"file://{path}"], check_duplicate_files=False)
    assert world.verdict().places("twin") == {(1, o) for o in (0, 1, 3, 5)}


def test_a_reject_that_is_twice_in_quarantine_is_a_twin(world: World) -> None:
    world.append(world.quarantine, reject_rows([4], partition=1))
    verdict = world.verdict()
    assert verdict.places("twin") == {(1, 4)}
    assert [f["table"] for f in verdict.faults] == ["default.events_quarantine"]


def test_a_message_that_is_row_and_reject_is_a_twin(world: World) -> None:
    world.append(world.quarantine, reject_rows([5]))
    verdict = world.verdict()
    assert verdict.kinds == ["twin"]
    assert verdict.faults[0]["what"] == "1 message as a row and as a reject"
    assert verdict.places("twin") == {(0, 5)}


# Skips


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"first": -2, "left_out": 4}, "the ledger took [-2, 14), which no offsets are"),
        ({"next": 15}, "the ledger took 15 offsets, its totals make 14"),
        ({"left_out": 3}, "the ledger took 14 offsets, its totals make 15"),
        ({"rows": 9, "left_out": 3}, "holds 10 rows, the ledger counts 9"),
        ({"rejects": 1, "left_out": 3}, "holds 2 rejects, the ledger counts 1"),
    ],
)
def test_totals_that_are_not_those_of_the_tables_are_a_skip(world: World, changes: dict[str, int], said: str) -> None:
    world.tamper(lambda ledger: entry(ledger, **changes))
    verdict = world.verdict()
    assert said in {f["what"] for f in verdict.of("skip")}
    assert {f["partition"] for f in verdict.of("skip")} == {0}


def test_a_row_at_an_offset_that_the_ledger_counts_as_left_out_is_a_skip(world: World) -> None:
    world.append(world.rows, world.row_batch([4]))
    verdict = world.verdict()
    assert [f["what"] for f in verdict.of("skip")] == ["holds 11 rows, the ledger counts 10"]
    assert verdict.kinds == ["skip"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ledger: entry(ledger, watermark=50), "watermark ran back from 200 to 50"),
        (lambda ledger: entry(ledger, late=-1), "late ran back from 0 to -1"),
        (lambda ledger: entry(ledger, first=1, rows=9), "first changed from 0 to 1"),
        (lambda ledger: replace(ledger, watermark_least=50), "the least watermark ran back"),
        (lambda ledger: replace(ledger, entries={0: ledger.entries[0]}), "the partition left the ledger"),
    ],
)
def test_a_ledger_that_ran_back_is_a_skip(world: World, change: Callable[[Ledger], Ledger], said: str) -> None:
    world.tamper(change)
    snapshot = stock(world.rows).current_snapshot()
    assert snapshot
    assert f"snapshot {snapshot.snapshot_id}: {said}" in [f["what"] for f in world.verdict().of("skip")]


def test_a_ledger_that_ran_back_is_found_in_the_past_too(world: World) -> None:
    before = world.ledger(world.rows)
    world.tamper(lambda ledger: entry(ledger, watermark=50))
    world.tamper(lambda ledger: entry(ledger, watermark=before.entries[0].watermark))
    assert world.verdict().kinds == ["skip"]


def test_a_ledger_that_a_person_has_set_back_is_no_skip(world: World) -> None:
    ledger = world.ledger(world.rows)
    world.commit(world.rows, entry(ledger, watermark=50), summary={SET_KEY: "by hand"})
    assert world.verdict().kinds == []


# Strange


def test_offsets_that_the_ledger_has_not_taken_are_strange(world: World) -> None:
    world.append(world.rows, world.row_batch([14, 15, 80]))
    verdict = world.verdict()
    assert verdict.kinds == ["strange"]
    assert verdict.places("strange") == {(0, 14), (0, 15), (0, 80)}


def test_rejects_beyond_the_quarantines_own_ledger_are_strange(world: World) -> None:
    world.land("rxx", crash_before_rows=True)
    world.append(world.quarantine, reject_rows([17]))
    assert world.verdict().places("strange") == {(0, 17)}


def test_offsets_below_the_first_are_strange(world: World) -> None:
    world.tamper(lambda ledger: entry(ledger, first=2, rows=8))
    verdict = world.verdict()
    assert verdict.places("strange") == {(0, 0), (0, 1)}


def test_a_partition_that_the_ledger_does_not_know_is_strange(world: World) -> None:
    world.append(world.rows, world.row_batch([3, 4], partition=7))
    world.append(world.quarantine, reject_rows([5], partition=7))
    verdict = world.verdict()
    assert verdict.kinds == ["strange", "strange"]
    assert verdict.places("strange") == {(7, 3), (7, 4), (7, 5)}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"topic": "orders", "partition": 0, "offset": 3}, "1 rows are of another topic: orders"),
        ({"topic": TOPIC, "partition": 0, "offset": -3}, "1 rows do not say which message they are"),
        ({"topic": TOPIC, "partition": -1, "offset": 3}, "1 rows do not say which message they are"),
    ],
)
def test_a_row_that_is_of_no_message_is_strange(world: World, place: dict[str, object], said: str) -> None:
    columns = [pa.array([place], KAFKA) if f.name == "_kafka" else world.row_batch([1]).column(f.name) for f in SCHEMA]
    world.append(world.rows, pa.record_batch(columns, schema=SCHEMA))
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["what"]) == ("strange", said)


def test_a_row_without_a_place_is_strange(tmp_path: Path) -> None:
    place = pa.field("_kafka", pa.struct([f.with_nullable(True) for f in KAFKA]))
    optional = pa.schema([place if f.name == "_kafka" else f for f in SCHEMA])
    world = World(tmp_path, optional)
    world.land("rr")
    columns = [pa.nulls(1, f.type) if f.name == "_kafka" else world.row_batch([1]).column(f.name) for f in optional]
    world.append(world.rows, pa.record_batch(columns, schema=optional))
    world.append(world.rows, world.row_batch([1]).drop_columns("_kafka"))
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["what"]) == ("strange", "2 rows do not say which message they are")


def test_a_file_with_more_rows_than_its_manifest_claims_is_strange(world: World) -> None:
    path = world.data_files(world.rows)[0]
    world.rewrite(path, lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]))
    verdict = world.verdict()
    assert verdict.kinds == ["strange", "twin"]
    assert verdict.of("strange")[0]["what"] == f"file://{path} holds 5 rows, its manifest claims 4"


def test_a_tag_that_was_moved_back_is_strange_and_the_hint_mends_it(world: World) -> None:
    first = min(stock(world.rows).metadata.snapshots, key=lambda s: s.sequence_number or 0)
    world.set_tag(world.rows, first.snapshot_id)
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["table"]) == ("strange", "default.events")
    assert "tag neptune" in fault["what"]
    assert fault["hint"]


def test_a_table_that_was_rolled_back_is_strange_and_its_twins_are_still_found(world: World) -> None:
    snapshots = sorted(stock(world.rows).metadata.snapshots, key=lambda s: s.sequence_number or 0)
    roll_back(world.rows, snapshots[1].snapshot_id)
    world.append(world.rows, world.row_batch([3]))
    verdict = world.verdict()
    assert "rolled back" in verdict.of("strange")[0]["what"]
    assert verdict.places("twin") == {(0, 3)}


def test_a_ledger_that_cannot_be_read_is_strange(world: World) -> None:
    world.commit(world.rows, _Garbage(TOPIC, None))
    verdict = world.verdict()
    assert set(verdict.kinds) == {"strange"}
    assert "cannot be read" in verdict.faults[0]["what"]


class _Garbage(Ledger):
    def to_json(self) -> str:
        return "{"


def test_rows_in_a_table_that_never_had_a_ledger_are_strange(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append(world.rows, world.row_batch([1, 2]))
    (fault,) = world.verdict().faults
    assert (fault["kind"], fault["what"]) == ("strange", "holds 2 rows and has never had a ledger")


def test_a_table_of_another_topic_is_strange(world: World) -> None:
    verdict = world.verdict(KAFKA_TOPIC="orders")
    assert verdict.kinds == ["strange", "strange"]
    assert verdict.faults[0]["what"] == f"holds topic {TOPIC}, not orders"


def test_a_table_that_becomes_another_topics_is_strange(world: World) -> None:
    world.tamper(lambda ledger: replace(ledger, topic_id="another"))
    world.tamper(lambda ledger: replace(ledger, topic_id="yet another"))
    assert "became another topic's" in world.verdict().faults[0]["what"]


# Parts


def test_of_a_day_twins_and_strangers_are_found_and_nothing_is_called_lost(world: World) -> None:
    world.append(world.rows, world.row_batch([3], day=DAY))
    world.append(world.rows, world.row_batch([99], day=DAY + 1))
    world.delete(world.rows, "id", "id-7")
    first, second = world.verdict("--day", "2023-11-14"), world.verdict("--day", "2023-11-15")
    assert (first.kinds, first.places("twin")) == (["twin"], {(0, 3)})
    assert (second.kinds, second.places("strange")) == (["strange"], {(0, 99)})
    since = world.verdict("--since", "2023-11-14")
    assert since.kinds == ["strange", "twin"]
    assert [t["rows"] for t in since.document["tables"]] == [15, 3]
    assert [t["rows"] for t in second.document["tables"]] == [6, 1]


def test_a_verdict_on_a_part_says_that_it_is_one(world: World) -> None:
    result = world.run("--no-kafka", "--day", "2023-11-14")
    assert result.exit_code == 0
    assert "cannot be told from some days alone" in result.output
    assert world.verdict("--day", "2023-11-14").document["part"]


def test_a_broken_file_of_another_day_is_not_read(world: World) -> None:
    world.data_files(world.rows)[0].unlink()
    assert world.verdict("--since", "2023-11-15").kinds == []
    assert world.verdict("--day", "2023-11-14").kinds == ["lost"]


def test_a_manifest_of_other_days_is_not_read(world: World) -> None:
    snapshot = stock(world.rows).current_snapshot()
    assert snapshot
    oldest = min(snapshot.manifests(stock(world.rows).io), key=lambda m: m.sequence_number)
    Path(oldest.manifest_path.removeprefix("file://")).unlink()
    assert world.verdict("--since", "2023-11-15").kinds == []
    assert world.verdict("--day", "2023-11-14").kinds == ["lost"]


# Without offsets


def test_rows_without_offsets_are_counted_and_the_verdict_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, WITHOUT_OFFSETS)
    world.land("rrxr.")
    verdict = world.verdict()
    assert verdict.kinds == []
    assert any("only counted" in note for note in verdict.document["notes"])
    world.append(world.quarantine, reject_rows([2]))
    world.delete(world.rows, "id", "id-3")
    verdict = world.verdict()
    assert verdict.kinds == ["lost", "twin"]
    assert verdict.of("lost")[0]["what"] == "the table holds 2 rows, the ledger counts 3"
    world.append(world.rows, world.row_batch([1, 3, 4]))
    assert world.verdict().of("skip")[0]["what"] == "the table holds 5 rows, the ledger counts 3"


def test_rows_deleted_by_position_are_not_counted(tmp_path: Path) -> None:
    world = World(tmp_path, WITHOUT_OFFSETS)
    world.land("rrxr.")
    foreign_position_delete(world.rows, f"file://{world.data_files(world.rows)[0]}", [1])
    assert world.verdict().of("lost")[0]["what"] == "the table holds 2 rows, the ledger counts 3"


def test_a_setting_that_turns_the_offsets_off_makes_it_count(world: World) -> None:
    world.append(world.rows, world.row_batch([3]))
    verdict = world.verdict(NEPTUNE_KAFKA_COLUMNS="false")
    assert [f["what"] for f in verdict.faults] == ["the table holds 15 rows, the ledger counts 14"]


# While it is used


class _Compactor:
    """Another program, which merges the table's files while they are to be read, and removes the old ones."""

    def __init__(self, world: World, times: int) -> None:
        self._world = world
        self._times = times

    def begin(self, what: str, rows: int | None) -> None:
        if self._times and what == f"reading {self._world.rows.name}":
            self._times -= 1
            old = self._world.data_files(self._world.rows)
            table = stock(self._world.rows)
            table.overwrite(table.scan().to_arrow())
            for path in old:
                path.unlink()

    def advance(self, rows: int) -> None:
        pass


def test_a_table_that_is_compacted_while_it_is_read_is_read_anew(world: World) -> None:
    report = verify(Task(world.rows, world.quarantine, TOPIC, Patience(0)), _Compactor(world, times=2))
    assert report.is_whole
    assert report.tables[0].rows == 14


# What could not be looked at


def test_what_cannot_be_looked_at_ends_with_2_and_says_why(world: World, tmp_path: Path) -> None:
    absent = world.run(ICEBERG_TABLE="nothing")
    assert (absent.exit_code, absent.stdout) == (2, "")
    assert "there is no table default.nothing" in absent.stderr
    wrong = world.run(NEPTUNE_WINDOW_S="soon")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "NEPTUNE_WINDOW_S" in wrong.stderr
    away = {"type": "rest", "uri": "http://127.0.0.1:1"}
    refused = world.run(NEPTUNE_CATALOG_PROPERTIES=json.dumps(away))
    assert refused.exit_code == 2
    assert "127.0.0.1:1" in refused.stderr
    assert world.run("--day", "2023-11-14", "--since", "2023-11-14").exit_code == 2


def test_a_storage_that_does_not_give_a_files_bytes_is_away_and_no_row_is_called_lost(world: World) -> None:
    path = world.data_files(world.rows)[0]
    path.unlink()
    path.mkdir()
    result = world.run("--no-kafka")
    assert (result.exit_code, result.stdout) == (2, "")
    assert path.name in result.stderr


def test_equality_deletes_cannot_be_applied_and_nothing_is_judged(world: World) -> None:
    foreign_equality_delete(world.rows)
    result = world.run("--no-kafka")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "equality deletes" in result.stderr


def test_a_defect_does_not_look_like_a_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_task: object, _watcher: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("neptune_flow.verify.run.verify", defect)
    result = world.run("--no-kafka")
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.stderr


def test_a_kafka_that_cannot_be_reached_is_said_and_the_tables_are_judged(world: World) -> None:
    nobody = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    result = world.run(**nobody)
    assert result.exit_code == 0, result.output
    assert "judged from the tables alone, since Kafka could not be asked: Kafka at 127.0.0.1:1" in result.stdout
    insisting = world.run("--kafka", **nobody)
    assert insisting.exit_code == 2
    assert "127.0.0.1:1" in insisting.stderr
