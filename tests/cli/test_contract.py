"""`neptune contract`: the columns that the model makes, and what in the table is another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyiceberg.types import DoubleType, StringType

from neptune_flow.cli import main
from neptune_flow.errors import TableMismatch
from tests.cli.shelf import NOBODY, Shelf, good
from tests.iceberg.worlds import stock

ORDER = "tests.contract.second_contract:Order"


def shown(**settings: str) -> dict[str, dict[str, Any]]:
    """The columns by name."""
    done = CliRunner(env={"KAFKA_BOOTSTRAP_SERVERS": NOBODY, **settings}).invoke(main, ["contract", "show", "--json"])
    assert done.exit_code == 0, done.output
    return {column["name"]: column for column in json.loads(done.stdout)["columns"]}


def differences(shelf: Shelf, code: int, *, table: int = 0, **changes: str) -> dict[str, str]:
    """The verdict on each column that is not the same."""
    done = shelf.neptune("contract", "diff", "--json", **changes)
    assert done.exit_code == code, done.output
    document = json.loads(done.stdout)
    assert document["refused"] == (code == 1)
    return {c["name"]: c["verdict"] for c in document["tables"][table]["columns"] if c["verdict"] != "same"}


def test_each_column_is_told_with_type_null_constraints_and_origin() -> None:
    columns = shown()
    assert columns["start_lat"] == {
        "name": "start_lat",
        "type": "double",
        "is_nullable": False,
        "constraints": ["ge=-90", "le=90", "allow_inf_nan=False"],
        "origin": "the message",
    }
    assert columns["timestamp"]["origin"] == "the message, event time"
    assert columns["event_date"]["origin"] == "the UTC day of timestamp"
    assert (columns["_extra"]["origin"], columns["_extra"]["is_nullable"]) == ("NEPTUNE_EXTRA_COLUMN", True)


def test_columns_that_a_setting_leaves_out_are_not_there() -> None:
    assert "_kafka" not in shown(NEPTUNE_KAFKA_COLUMNS="false")


def test_nested_optional_default_and_computed_columns_are_told_as_what_they_are() -> None:
    columns = shown(NEPTUNE_CONTRACT=ORDER)
    assert columns["lines"]["type"] == "list<struct<sku: string required, count: long required> required>"
    assert columns["total"]["type"] == "decimal(12, 2)"
    assert columns["note"]["is_nullable"]
    assert columns["priority"]["constraints"] == ["default 0"]
    assert columns["pieces"]["origin"] == "computed by the contract"


def test_the_table_for_people_has_a_line_for_each_column() -> None:
    text = CliRunner().invoke(main, ["contract", "show"]).stdout
    assert text.startswith("contract delivery:DeliveryData, fingerprint ")
    assert "end_lon      double" in text


def test_a_table_that_neptune_made_is_the_same(shelf: Shelf) -> None:
    assert differences(shelf, 0) == {}
    assert "15 of 15 columns are the same" in shelf.neptune("contract", "diff").stdout


def test_an_optional_column_more_is_told_and_taken(shelf: Shelf) -> None:
    with stock(shelf.rows).update_schema() as change:
        change.add_column("note", StringType())
    assert differences(shelf, 0) == {"note": "only in the table"}


def test_a_missing_column_is_refused_with_what_to_do(shelf: Shelf) -> None:
    with stock(shelf.rows).update_schema() as change:
        change.delete_column("end_lat")
    assert differences(shelf, 1) == {"end_lat": "missing in the table"}
    said = shelf.neptune("contract", "diff").stdout
    assert "it has no column end_lat (double)" in said
    assert "ALTER TABLE" in said


def test_a_column_of_another_type_is_refused(shelf: Shelf) -> None:
    with stock(shelf.rows).update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("status")
    with stock(shelf.rows).update_schema(allow_incompatible_changes=True) as change:
        change.add_column("status", DoubleType())
    done = json.loads(shelf.neptune("contract", "diff", "--json").stdout)
    (status,) = [c for c in done["tables"][0]["columns"] if c["name"] == "status"]
    assert (status["contract"], status["table"], status["verdict"]) == ("string required", "double", "differs")
    assert "column status is double there" in done["tables"][0]["refusal"]["what"]


def test_a_column_that_may_be_null_in_the_table_alone_differs_and_is_taken(shelf: Shelf) -> None:
    with stock(shelf.rows).update_schema() as change:
        change.make_column_optional("status")
    assert differences(shelf, 0) == {"status": "differs"}


def test_a_column_that_the_settings_leave_out_is_only_in_the_table(shelf: Shelf) -> None:
    assert differences(shelf, 0, NEPTUNE_EXTRA_COLUMN="false") == {"_extra": "only in the table"}


def test_the_same_columns_partitioned_in_another_way_are_refused(shelf: Shelf) -> None:
    with stock(shelf.rows).update_spec() as change:
        change.add_identity("status")
    assert differences(shelf, 1) == {}
    assert "partitioned by" in shelf.neptune("contract", "diff").stdout


def test_another_contract_is_refused_and_no_table_is_fine(shelf: Shelf) -> None:
    assert differences(shelf, 1, NEPTUNE_CONTRACT=ORDER)["placed_at"] == "missing in the table"
    none = shelf.neptune("contract", "diff", ICEBERG_TABLE="others")
    assert (none.exit_code, none.stdout) == (0, "there is no table yet: the start makes both\n")


def test_what_diff_refuses_neptune_refuses_and_the_other_way_round(shelf: Shelf) -> None:
    shelf.land(good(1))
    with stock(shelf.rows).update_schema() as change:
        change.delete_column("end_lat")
    done = shelf.neptune("contract", "diff", "--json")
    why = json.loads(done.stdout)["tables"][0]["refusal"]
    with pytest.raises(TableMismatch) as refused:
        Shelf(shelf.folder)
    assert refused.value.primary == why["what"]


def test_a_contract_beside_the_user_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "my_contract.py").write_text(Path(__file__).with_name("strict.py").read_text())
    monkeypatch.chdir(tmp_path)
    assert shown(NEPTUNE_CONTRACT="my_contract:Strict")["at"]["origin"] == "the message, event time"


def test_a_contract_that_is_none_ends_with_2() -> None:
    done = CliRunner(env={"NEPTUNE_CONTRACT": "nowhere:Model"}).invoke(main, ["contract", "show"])
    assert done.exit_code == 2
    assert "'nowhere' cannot be imported" in done.stderr
