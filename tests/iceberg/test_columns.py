"""What a table must be to be taken, and what the error says where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table.update.spec import UpdateSpec
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import DoubleType, LongType, StringType

from neptune_flow.errors import ContractError, TableMismatch
from neptune_flow.iceberg import Lake, LakeTable
from tests.iceberg.worlds import NAMESPACE, SCHEMA, land, open_table, rows, stock


def without(name: str) -> pa.Schema:
    return SCHEMA.remove(SCHEMA.get_field_index(name))


def with_type(name: str, kind: pa.DataType, *, nullable: bool = False) -> pa.Schema:
    return SCHEMA.set(SCHEMA.get_field_index(name), pa.field(name, kind, nullable=nullable))


def test_a_new_table_has_the_columns_in_order_with_their_types(table: LakeTable) -> None:
    made = stock(table)
    assert [str(f.field_type) for f in made.schema().fields if f.name != "_kafka"] == [
        "string",
        "string",
        "double",
        "timestamptz",
        "date",
        "string",
    ]
    assert [f.name for f in made.schema().fields] == SCHEMA.names
    assert [f.required for f in made.schema().fields] == [True] * 6 + [False]
    assert made.metadata.format_version == 2
    assert [(f.name, str(f.transform)) for f in made.spec().fields] == [("event_date", "identity")]


def test_the_documentation_of_a_column_is_kept(lake: Lake) -> None:
    schema = SCHEMA.set(0, SCHEMA.field(0).with_metadata({"doc": "who sent it"}))
    assert stock(open_table(lake, schema)).schema().find_field("id").doc == "who sent it"


def test_a_table_that_exists_is_taken_as_it_is(lake: Lake, table: LakeTable) -> None:
    again = open_table(lake, properties={"write.parquet.compression-codec": "gzip"})
    assert stock(again).metadata == stock(table).metadata


def test_a_further_optional_column_is_fine_and_stays_null(lake: Lake, table: LakeTable) -> None:
    stock(table).update_schema().add_column("note", StringType()).commit()
    land(open_table(lake), 0, 3)
    assert table.to_arrow(["note"]).column("note").null_count == 3


def test_columns_in_another_order_are_fine(lake: Lake) -> None:
    open_table(lake, pa.schema(list(SCHEMA)[::-1]))
    table = open_table(lake)
    land(table, 5, 2)
    assert table.to_arrow(["id", "lat"]).sort_by("id").to_pylist() == [
        {"id": "id-5", "lat": 5 / 7},
        {"id": "id-6", "lat": 6 / 7},
    ]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (without("lat"), r"has no column lat \(double\)"),
        (with_type("lat", pa.float32()), "column lat is float there, the contract needs double"),
        (
            with_type("timestamp", pa.timestamp("us")),
            "column timestamp is timestamp there, the contract needs timestamptz",
        ),
        (with_type("_extra", pa.string()), "column _extra is required there, the contract lets it be null"),
        (with_type("_kafka", pa.string()), "column _kafka is string there, the contract needs struct"),
        (SCHEMA.append(pa.field("tenant", pa.string(), nullable=False)), "column tenant is required there"),
        (
            with_type("_kafka", pa.struct([pa.field("topic", pa.string(), nullable=False)])),
            r"has no column _kafka\.partition \(int\)",
        ),
    ],
)
def test_a_table_with_other_columns_is_refused_with_the_column_in_the_way(
    lake: Lake, schema: pa.Schema, text: str
) -> None:
    open_table(lake, schema)
    with pytest.raises(TableMismatch, match=text) as mismatch:
        open_table(lake)
    assert "default.events" in mismatch.value.primary
    assert "ALTER TABLE" in mismatch.value.hint


def test_all_reasons_are_told_at_once(lake: Lake) -> None:
    open_table(lake, without("lat").remove(0))
    with pytest.raises(TableMismatch) as mismatch:
        open_table(lake)
    assert "no column id" in mismatch.value.primary
    assert "no column lat" in mismatch.value.detail


def test_a_list_with_other_elements_is_refused(lake: Lake) -> None:
    def listing(kind: pa.DataType) -> pa.Schema:
        return SCHEMA.append(pa.field("reasons", pa.list_(kind)))

    open_table(lake, listing(pa.int64()))
    with pytest.raises(TableMismatch, match=r"column reasons\.element is long there, the contract needs string"):
        open_table(lake, listing(pa.string()))


def by_nothing(spec: UpdateSpec) -> None:
    spec.remove_field("event_date")


def by_bucket(spec: UpdateSpec) -> None:
    spec.add_field("id", BucketTransform(4), "bucket")


def by_status(spec: UpdateSpec) -> None:
    spec.remove_field("event_date").add_field("status", IdentityTransform(), "status")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (by_nothing, "not partitioned"),
        (by_bucket, r"identity\(event_date\), bucket\[4\]\(id\)"),
        (by_status, r"partitioned by identity\(status\)"),
    ],
)
def test_a_table_with_another_partitioning_is_refused(
    lake: Lake, table: LakeTable, change: Callable[[UpdateSpec], None], text: str
) -> None:
    with stock(table).update_spec() as spec:
        change(spec)
    with pytest.raises(TableMismatch, match=text):
        open_table(lake)


def test_a_table_of_format_version_1_is_refused(lake: Lake) -> None:
    stock(open_table(lake, name="other")).catalog.create_table(
        (*NAMESPACE, "events"), SCHEMA, properties={"format-version": "1"}
    )
    with pytest.raises(TableMismatch, match="format version 1, Neptune needs 2"):
        open_table(lake)


def test_a_type_that_iceberg_has_not_is_an_error_of_the_contract(lake: Lake) -> None:
    with pytest.raises(ContractError, match=r"default\.events cannot be stored"):
        open_table(lake, SCHEMA.append(pa.field("d", pa.duration("us"))))


def test_a_day_column_that_is_no_date_is_an_error_of_the_contract(lake: Lake) -> None:
    with pytest.raises(ContractError, match="not a date"):
        lake.ensure_table(NAMESPACE, "other", SCHEMA, day_column="status")


def test_a_column_added_while_running_is_fine(table: LakeTable) -> None:
    land(table, 0, 1)
    stock(table).update_schema().add_column("note", StringType()).commit()
    land(table, 1, 1)
    assert table.row_count() == 2


def test_a_column_that_is_widened_while_running_stops_the_commit(lake: Lake) -> None:
    schema = SCHEMA.append(pa.field("n", pa.int32()))
    table = open_table(lake, schema)
    table.look()
    stock(table).update_schema().update_column("n", LongType()).commit()
    with pytest.raises(TableMismatch, match="column n is long there"):
        table.look()


def test_a_column_that_is_replaced_while_running_stops_the_commit(table: LakeTable) -> None:
    table.look()
    stock(table).update_schema(allow_incompatible_changes=True).delete_column("lat").commit()
    stock(table).update_schema(allow_incompatible_changes=True).add_column("lat", DoubleType()).commit()
    with pytest.raises(TableMismatch, match="replaced by another of the same name"):
        table.look()


def test_an_upgrade_to_format_version_3_while_running_stops_the_commit(table: LakeTable) -> None:
    land(table, 0, 1)
    path = Path(table.load().metadata_location.removeprefix("file://"))
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "format-version": 3, "next-row-id": 1}))
    with pytest.raises(TableMismatch, match="format version 3, Neptune needs 2"):
        table.look()


def test_rows_with_other_columns_are_a_defect(table: LakeTable) -> None:
    batch = rows(0, 1).select(["id", "event_date"])
    with pytest.raises(ValueError, match="are not those of the table"):
        table.write_file([batch], batch.column("event_date")[0].cast(pa.int32()).as_py())
