"""What a data file holds: values exactly, encodings where they pay, and bounds that can be trusted."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import decimal
import random
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from neptune_flow.errors import Unavailable
from neptune_flow.iceberg import Lake, LakeTable, parquet
from neptune_flow.records import DataFile
from tests.iceberg.worlds import DAY, SCHEMA, attempt, offsets, open_table, rows, stock

BIG = "z" * 5000
"""Longer than the 4 KiB beyond which Arrow writes no bounds for a row group."""


def column(file: DataFile, leaf: str, group: int = 0) -> Any:
    footer = pq.read_metadata(file.path.removeprefix("file://"))
    names = [footer.row_group(group).column(i).path_in_schema for i in range(footer.num_columns)]
    return footer.row_group(group).column(names.index(leaf))


def test_a_value_of_5_kilobytes_in_one_row_group_does_not_hide_rows_from_filters(lake: Lake) -> None:
    table = open_table(lake, properties={"write.parquet.row-group-limit": "2"})
    file = table.write_file([rows(0, 6, ids=["a", "b", BIG, BIG, "c", "d"])], DAY)
    assert pq.read_metadata(file.path.removeprefix("file://")).num_row_groups == 3
    attempt(table, 6, [file])
    found = stock(table).scan(row_filter=f"id = '{BIG}'", selected_fields=("id",)).to_arrow()
    assert found.column("id").to_pylist() == [BIG, BIG]
    assert stock(table).scan(row_filter="id > 'y'").to_arrow().num_rows == 2


def test_only_the_column_without_bounds_in_a_row_group_loses_them(lake: Lake) -> None:
    table = open_table(lake, properties={"write.parquet.row-group-limit": "2"})
    plain = table.write_file([rows(0, 6)], DAY)
    file = table.write_file([rows(0, 6, ids=["a", "b", BIG, BIG, "c", "d"])], DAY)
    id_field = stock(table).schema().find_field("id").field_id
    assert id_field in plain.lower_bounds
    assert set(plain.lower_bounds) - set(file.lower_bounds) == {id_field}
    assert set(plain.upper_bounds) - set(file.upper_bounds) == {id_field}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.sampled_from("a\ud7ff\ue000\U0010ffff\x00é"), min_size=1, max_size=40), min_size=1, max_size=5)
)
@example(["\U0010ffff" * 15 + "\ud7ff" + "x"])
def test_no_text_stops_a_file_and_bounds_hold_what_they_bound(table: LakeTable, ids: list[str]) -> None:
    file = table.write_file([rows(0, len(ids), ids=ids)], DAY)
    field = table.load().schema().find_field("id").field_id
    if field in file.upper_bounds:
        assert file.upper_bounds[field].decode() >= max(ids)
    assert file.lower_bounds[field].decode() <= min(ids)


def test_a_column_that_is_null_in_a_whole_row_group_keeps_its_bounds(lake: Lake) -> None:
    table = open_table(lake, properties={"write.parquet.row-group-limit": "2"})
    extra = pa.array([None, None, "b", None, "a", "c"], pa.string())
    batch = rows(0, 6).set_column(6, SCHEMA.field("_extra"), extra)
    file = table.write_file([batch], DAY)
    field = stock(table).schema().find_field("_extra").field_id
    assert (file.lower_bounds[field], file.upper_bounds[field]) == (b"a", b"c")


def test_the_counts_of_a_file_are_those_of_its_rows(table: LakeTable) -> None:
    file = table.write_file([rows(0, 3), rows(3, 4)], DAY)
    schema = stock(table).schema()
    offset, extra = schema.find_field("_kafka.offset").field_id, schema.find_field("_extra").field_id
    assert (file.record_count, file.day) == (7, DAY)
    assert (file.value_counts[offset], file.null_value_counts[extra]) == (7, 7)
    assert file.file_size_bytes == len(stock(table).io.new_input(file.path))
    assert sum(file.column_sizes.values()) < file.file_size_bytes


def test_a_file_lies_in_the_directory_of_its_day(table: LakeTable) -> None:
    assert "/warehouse/default/events/data/event_date=2023-11-14/" in table.write_file([rows(0, 1)], DAY).path


def test_the_data_path_of_the_table_is_honoured(lake: Lake, table: LakeTable) -> None:
    elsewhere = stock(table).location() + "-elsewhere"
    with stock(table).transaction() as change:
        change.set_properties({"write.data.path": elsewhere, "write.object-storage.enabled": "true"})
    assert open_table(lake).write_file([rows(0, 1)], DAY).path.startswith(elsewhere + "/")


def test_the_compression_of_the_table_is_honoured(lake: Lake) -> None:
    assert column(open_table(lake).write_file([rows(0, 1)], DAY), "id").compression == "ZSTD"
    table = open_table(lake, name="other", properties={"write.parquet.compression-codec": "gzip"})
    assert column(table.write_file([rows(0, 1)], DAY), "id").compression == "GZIP"
    table = open_table(lake, name="third", properties={"write.parquet.compression-codec": "uncompressed"})
    assert column(table.write_file([rows(0, 1)], DAY), "id").compression == "UNCOMPRESSED"


def test_a_dictionary_is_written_only_where_values_repeat(table: LakeTable) -> None:
    file = table.write_file([rows(0, 20_000)], DAY)
    with_dictionary = {
        leaf for leaf in ("id", "status", "lat", "timestamp", "event_date") if column(file, leaf).has_dictionary_page
    }
    assert with_dictionary == {"status", "event_date"}
    assert column(file, "_kafka.topic").has_dictionary_page
    assert not column(file, "_kafka.offset").has_dictionary_page


@pytest.mark.parametrize("batch", [1, 4, 7, 5000])
def test_a_sample_is_every_nth_value_wherever_batches_end(batch: int) -> None:
    values = [n or None for n in range(20_000)]
    column = pa.chunked_array([values[at : at + batch] for at in range(0, len(values), batch)], pa.int64())
    step = -(-len(values) // parquet.SAMPLE_VALUES)
    assert parquet._sample(column).to_pylist() == values[step::step]


ENCODE_ALONE = """
import resource, sys
from types import SimpleNamespace
import numpy as np
import pyarrow as pa
from neptune_flow.iceberg import parquet

def texts(count, size):
    digits = np.random.default_rng(count).integers(48, 58, count * size, np.uint8)
    offsets = np.arange(0, (count + 1) * size, size, np.int32)
    return pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(digits)])

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

size = int(sys.argv[1])
rows = pa.table({"id": pa.chunked_array([texts((1 << 20) // size, size) for _ in range(64)])})
binding = SimpleNamespace(arrow=rows.schema)
parquet.encode(rows.slice(0, 1), binding, {})
before = peak_mib()
content, _ = parquet.encode(rows, binding, {})
print(peak_mib() - before - content.size / 2**20)
"""


@pytest.mark.parametrize("value_bytes", [200, 1 << 19])
def test_a_file_takes_little_more_than_its_own_size_beside_its_rows_while_it_is_made(value_bytes: int) -> None:
    """64 MiB of rows in a process of its own, whose peak is the encoder's. Some pages, and no copy of the file or of a whole column."""
    command = [sys.executable, "-c", ENCODE_ALONE, str(value_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 24


def test_plain_encodings_are_written_unless_the_table_asks_for_compact_ones(lake: Lake) -> None:
    plain = open_table(lake).write_file([rows(0, 5000)], DAY)
    compact = open_table(lake, name="other", properties={"neptune.parquet.encodings": "compact"}).write_file(
        [rows(0, 5000)], DAY
    )
    assert "PLAIN" in column(plain, "lat").encodings
    assert "BYTE_STREAM_SPLIT" in column(compact, "lat").encodings
    assert "DELTA_BINARY_PACKED" in column(compact, "_kafka.offset").encodings
    assert "DELTA_BINARY_PACKED" in column(compact, "timestamp").encodings
    assert compact.file_size_bytes < plain.file_size_bytes


def test_a_file_of_two_days_is_a_defect(table: LakeTable) -> None:
    with pytest.raises(ValueError, match="a data file of day"):
        table.write_file([rows(0, 1), rows(1, 1, day=DAY + 1)], DAY)


def test_a_file_without_rows_is_a_defect(table: LakeTable) -> None:
    with pytest.raises(ValueError, match="0 rows"):
        table.write_file([rows(0, 0)], DAY)


def test_a_null_in_a_required_column_is_a_defect(table: LakeTable) -> None:
    batch = rows(0, 2).set_column(0, "id", pa.array(["a", None]))
    with pytest.raises(ValueError, match="id"):
        table.write_file([batch], DAY)


def test_a_storage_that_cannot_be_written_is_reported_with_its_address(lake: Lake) -> None:
    table = open_table(lake, properties={"write.data.path": "file:///proc/nowhere"})
    with pytest.raises(Unavailable, match=r"writing file:///proc/nowhere"):
        table.write_file([rows(0, 1)], DAY)


def test_several_threads_write_at_once(table: LakeTable) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda i: table.write_file([rows(i * 100, 100)], DAY), range(24)))
    assert len({file.path for file in files}) == 24
    attempt(table, 2400, files)
    assert offsets(table) == list(range(2400))


def test_values_of_every_type_come_back_as_they_were(lake: Lake) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    schema = pa.schema(
        [
            pa.field("event_date", pa.date32(), nullable=False),
            pa.field("flag", pa.bool_()),
            pa.field("small", pa.int32()),
            pa.field("big", pa.int64()),
            pa.field("price", pa.decimal128(12, 3)),
            pa.field("wide", pa.decimal128(38, 10)),
            pa.field("float", pa.float32()),
            pa.field("double", pa.float64()),
            pa.field("raw", pa.binary()),
            pa.field("text", pa.large_string()),
            pa.field("at", pa.timestamp("us", "UTC")),
            pa.field("local", pa.timestamp("us")),
            pa.field("clock", pa.time64("us")),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("reasons", pa.list_(pa.struct([pa.field("field", pa.string()), pa.field("code", pa.int32())]))),
            pa.field("counts", pa.map_(pa.string(), pa.int64())),
        ]
    )
    choices: dict[str, list[object]] = {
        "flag": [True, False],
        "small": [-(2**31), 0, 2**31 - 1],
        "big": [-(2**63), 0, 2**63 - 1],
        "price": [decimal.Decimal("-123456789.012"), decimal.Decimal("0.001")],
        "wide": [decimal.Decimal("9" * 28 + ".0123456789")],
        "float": [0.5, -0.0, float("inf")],
        "double": [0.1, -0.0, 5e-324, 1.7976931348623157e308],
        "raw": [b"", b"\x00\xff", b"x" * 6000],
        "text": ["", "ü\u0000\U0010ffff", "y" * 6000],
        "at": [dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)],
        "local": [dt.datetime(2024, 2, 29, 12)],
        "clock": [dt.time(0), dt.time(23, 59, 59, 999999)],
        "tags": [[], ["a"], ["a", None, "b"]],
        "reasons": [[], [{"field": "lat", "code": 1}, {"field": None, "code": None}]],
        "counts": [[], [("a", 1), ("b", 2)]],
    }
    values = [
        {
            "event_date": dt.date(2023, 11, 14),
            **{name: dice.choice([*options, None]) for name, options in choices.items()},
        }
        for _ in range(500)
    ]
    batch = pa.RecordBatch.from_pylist(values, schema=schema)
    table = open_table(lake, schema, properties={"write.parquet.row-group-limit": "100"})
    file = table.write_file([batch], DAY)
    attempt(table, 500, [file])
    assert pq.ParquetFile(file.path.removeprefix("file://")).read().to_pylist() == batch.to_pylist()
    # PyIceberg's scan returns a null list of structs as an empty one
    sound = [name for name in schema.names if name != "reasons"]
    assert table.to_arrow(sound).to_pylist() == batch.select(sound).to_pylist()
