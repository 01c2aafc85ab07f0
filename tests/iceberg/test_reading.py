"""What can be read of a table, and that another program reads the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from neptune_flow.errors import LedgerConflict
from neptune_flow.iceberg import Lake, LakeTable
from neptune_flow.iceberg.merging import MERGE_COUNT
from neptune_flow.ledger import Cut
from neptune_flow.protocol import Outcome
from neptune_flow.records import DataFile
from tests.iceberg.worlds import DAY, NAMESPACE, attempt, land, ledger, open_table, rows

QUARANTINE = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("value", pa.binary()),
        pa.field("day", pa.date32(), nullable=False),
    ]
)


def rejects(table: LakeTable, partition: int, offsets: list[int]) -> DataFile:
    count = len(offsets)
    days = pa.array([DAY] * count, pa.int32()).cast(pa.date32())
    columns = [pa.array([partition] * count, pa.int32()), pa.array(offsets), pa.array([b"{"] * count), days]
    return table.write_file([pa.record_batch(columns, schema=QUARANTINE)], DAY)


@pytest.fixture
def quarantine(lake: Lake) -> LakeTable:
    return lake.ensure_table(NAMESPACE, "events_quarantine", QUARANTINE, day_column="day")


def test_the_offsets_of_one_partition_in_a_range_are_found(quarantine: LakeTable) -> None:
    attempt(quarantine, 1, [rejects(quarantine, 0, [5, 7, 9]), rejects(quarantine, 1, [6, 7, 8])])
    attempt(quarantine, 2, [rejects(quarantine, 0, [11, 20])])
    assert quarantine.offsets_between(0, 7, 20) == [7, 9, 11]
    assert quarantine.offsets_between(1, 0, 100) == [6, 7, 8]
    assert quarantine.offsets_between(2, 0, 100) == []
    assert quarantine.offsets_between(0, 9, 9) == []


def test_offsets_are_those_of_the_look_without_what_its_ledger_leaves_to_an_earlier_log(quarantine: LakeTable) -> None:
    attempt(quarantine, 1, [rejects(quarantine, 0, [5, 7])])
    began_after = quarantine.load().metadata.next_sequence_number() - 1
    for number in range(2 * MERGE_COUNT):  # the commits' manifests are merged on the way: each file keeps its number
        attempt(quarantine, 2, [rejects(quarantine, 0, [6, 8])] if number == 0 else [rejects(quarantine, 1, [number])])
    anew = replace(ledger(3), began_after=began_after)
    assert quarantine.attempt(quarantine.look(), [], anew, "anew", {}).outcome is Outcome.LANDED
    look = quarantine.look()
    assert look.ledger == anew
    attempt(quarantine, 4, [rejects(quarantine, 0, [9])])
    assert quarantine.offsets_between(0, 0, 100, look) == [6, 8]
    assert quarantine.offsets_between(0, 0, 100) == [5, 6, 7, 8, 9]


def test_offsets_of_before_a_cut_are_not_among_them_and_those_below_it_are(quarantine: LakeTable) -> None:
    attempt(quarantine, 1, [rejects(quarantine, 0, [5, 7, 9]), rejects(quarantine, 1, [8])])
    cut = Cut(0, 7, quarantine.load().metadata.next_sequence_number() - 1)
    marked = replace(ledger(2), cuts=(cut,))
    file = rejects(quarantine, 0, [9, 10])
    assert quarantine.attempt(quarantine.look(), [file], marked, "marked", {}).outcome is Outcome.LANDED
    look = quarantine.look()
    assert quarantine.offsets_between(0, 0, 100, look) == [5, 9, 10]
    assert quarantine.offsets_between(0, 6, 100, look) == [9, 10]
    assert quarantine.offsets_between(1, 0, 100, look) == [8]


def test_an_empty_quarantine_has_no_offsets(quarantine: LakeTable) -> None:
    assert quarantine.offsets_between(0, 0, 10**12) == []


def test_rows_files_and_snapshots_are_listed(table: LakeTable) -> None:
    assert (table.row_count(), table.files(), table.snapshots()) == (0, [], [])
    first, second = land(table, 0, 3), land(table, 3, 2, day=DAY + 1)
    assert table.row_count() == 5
    assert sorted((file.day, file.record_count) for file in table.files()) == [(DAY, 3), (DAY + 1, 2)]
    assert [(s.snapshot_id, s.parent_id, s.operation) for s in table.snapshots()] == [
        (first.snapshot_id, None, "append"),
        (second.snapshot_id, first.snapshot_id, "append"),
    ]


def test_chosen_columns_and_a_limited_number_of_rows_are_read(table: LakeTable) -> None:
    land(table, 0, 5)
    found = table.to_arrow(["id", "_kafka"], limit=2)
    assert (found.column_names, found.num_rows) == (["id", "_kafka"], 2)


def test_nested_columns_come_back_as_they_were(table: LakeTable) -> None:
    land(table, 3, 2)
    assert table.to_arrow(["_kafka"]).column("_kafka").to_pylist() == [
        {"topic": "sessions", "partition": 0, "offset": 3, "key": b"k3"},
        {"topic": "sessions", "partition": 0, "offset": 4, "key": b"k4"},
    ]


def test_the_ledger_is_read_without_the_contract(lake: Lake, table: LakeTable) -> None:
    land(table, 0, 5)
    found = lake.find_table(NAMESPACE, "events")
    assert found is not None
    assert found.read_ledger() == ledger(5, "c0")


def test_reading_a_dropped_table_is_reported(table: LakeTable) -> None:
    table.catalog.drop_table(table.identifier)
    with pytest.raises(LedgerConflict, match="is gone"):
        table.row_count()


@pytest.mark.parametrize("encodings", ["plain", "compact"])
def test_clickhouse_reads_the_same_rows(
    lake: Lake, encodings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chdb = pytest.importorskip("chdb")
    monkeypatch.chdir(tmp_path)  # it reads local files below the working directory only
    table = open_table(lake, properties={"neptune.parquet.encodings": encodings})
    for i in range(20):
        files = [table.write_file([rows(i * 100, 100, day=DAY + i % 2)], DAY + i % 2)]
        attempt(table, i, files)
    location = table.load().location().removeprefix("file://")
    columns = (
        "count(), uniqExact(id), sum(tupleElement(_kafka, 'offset')), sum(lat), min(timestamp), uniqExact(event_date)"
    )
    query = f"SELECT {columns} FROM icebergLocal('{location}') SETTINGS session_timezone = 'UTC'"  # noqa: S608
    found = str(chdb.query(query, "CSV")).strip().split(",")
    assert found[:3] == ["2000", "2000", str(sum(range(2000)))]
    assert float(found[3]) == pytest.approx(sum(i / 7 for i in range(2000)))
    assert found[4].strip('"') == "2023-11-14 00:00:00.000000"
    assert found[5] == "2"
