"""`neptune quarantine`: finds what was refused and why, shows one message whole, writes them all; on tables of really refused messages."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.shelf import DAY, Shelf, good, spoiled
from tests.iceberg.worlds import stock

NOT_UTF8 = b'{"device_id": "\xff"}'


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """Partition 0: a missing field (offset 1), a wrong latitude (2), no JSON (3). Partition 1, a day later: null, an empty id and a text as number."""
    shelf.land([*good(1), spoiled(order_id=None), spoiled(end_lat=91.5), NOT_UTF8])
    later = DAY + timedelta(days=1, hours=2)
    shelf.land([None, spoiled(device_id="", start_lat="40")], partition=1, at=later)
    return shelf


def listed(shelf: Shelf, *options: str) -> list[tuple[int, int]]:
    """Partition and offset of what is listed, in its order."""
    shown = shelf.neptune("quarantine", "list", "--json", *options)
    assert shown.exit_code == 0, shown.output
    return [(r["partition"], r["offset"]) for r in json.loads(shown.stdout)]


def test_all_rejects_are_listed_the_newest_first(full: Shelf) -> None:
    assert listed(full) == [(1, 1), (1, 0), (0, 3), (0, 2), (0, 1)]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--reason", "missing"], [(0, 1)]),
        (["--reason", "missing", "--reason", "null_value"], [(1, 0), (0, 1)]),
        (["--field", "start_lat"], [(1, 1)]),
        (["--field", "end_lat", "--reason", "missing"], []),
        (["--field", "end"], []),
        (["--partition", "1"], [(1, 1), (1, 0)]),
        (["--day", "2023-11-14"], [(0, 3), (0, 2), (0, 1)]),
        (["--since", "2023-11-14T00:00:01"], [(1, 1), (1, 0)]),
        (["--since", "2023-11-15T02:00:00Z"], [(1, 1), (1, 0)]),
        (["--until", "2023-11-15T02:00"], [(0, 3), (0, 2), (0, 1)]),
        (["--limit", "2"], [(1, 1), (1, 0)]),
        (["--day", "2023-11-14", "--limit", "1"], [(0, 3)]),
    ],
)
def test_filters_choose_and_the_limit_keeps_the_newest(
    full: Shelf, options: list[str], found: list[tuple[int, int]]
) -> None:
    assert listed(full, *options) == found


def test_kind_and_field_may_be_those_of_one_reason_only(full: Shelf) -> None:
    """The empty id is too short, the text is no number: no reason is both an empty id and no number."""
    assert listed(full, "--field", "device_id", "--reason", "string_too_short") == [(1, 1)]
    assert listed(full, "--field", "device_id", "--reason", "float_type") == []


def test_a_list_for_people_names_message_field_and_reason(full: Shelf) -> None:
    shown = full.neptune("quarantine", "list", "--partition", "0")
    assert shown.exit_code == 0
    lines = [line.split(maxsplit=4) for line in shown.stdout.splitlines()]
    assert lines[1][:4] == ["0:3", "2023-11-14", "00:00:00", "(message)"]
    assert lines[1][4].startswith("json_invalid: ")
    assert lines[2] == ["0:2", "2023-11-14", "00:00:00", "end_lat", lines[2][4]]


def test_a_day_that_is_not_asked_for_is_not_read(full: Shelf) -> None:
    """The other day's file is gone from the storage, and nobody notices."""
    for task in stock(full.quarantine).scan("day = '2023-11-15'").plan_files():
        Path(task.file.file_path.removeprefix("file://")).unlink()
    assert listed(full, "--day", "2023-11-14") == [(0, 3), (0, 2), (0, 1)]
    assert listed(full, "--until", "2023-11-14T12:00") == [(0, 3), (0, 2), (0, 1)]
    gone = full.neptune("quarantine", "list")
    assert gone.exit_code == 2
    assert "while reading default.raw_delivery_data_quarantine" in gone.stderr


def test_a_summary_counts_messages_by_kind_field_partition_and_day(full: Shelf) -> None:
    counted = json.loads(full.neptune("quarantine", "list", "--summary", "--json").stdout)
    assert counted["rejects"] == 5
    kinds = ("missing", "less_than_equal", "json_invalid", "null_value", "string_too_short", "float_type")
    assert counted["kinds"] == dict.fromkeys(kinds, 1)
    assert counted["fields"] == {"(message)": 2} | dict.fromkeys(("order_id", "end_lat", "device_id", "start_lat"), 1)
    assert counted["partitions"] == {"0": 3, "1": 2}
    assert counted["days"] == {"2023-11-14": 3, "2023-11-15": 2}
    shown = full.neptune("quarantine", "list", "--summary", "--reason", "missing").stdout
    assert shown.startswith("1 rejects\n")
    assert "order_id" in shown


def test_a_message_with_the_same_fault_twice_is_counted_once(shelf: Shelf) -> None:
    shelf.land([spoiled(device_id="", order_id="")])
    counted = json.loads(shelf.neptune("quarantine", "list", "--summary", "--json").stdout)
    assert counted["kinds"] == {"string_too_short": 1}
    assert counted["fields"] == {"device_id": 1, "order_id": 1}


def test_one_message_is_shown_whole_with_the_failing_field_marked(full: Shelf) -> None:
    shown = full.neptune("quarantine", "show", "0:2").stdout
    assert shown.startswith("sessions 0:2  2023-11-14 00:00:00.000\nrefused by delivery:DeliveryData@")
    assert "\nkey: k\nheader origin: test\nheader odd: \\xff\n" in shown
    marked = [line for line in shown.splitlines() if "◄" in line]
    assert marked == ['    "end_lat": 91.5  ◄ less_than_equal: Input should be less than or equal to 90']
    assert all(f'"{name}": ' in shown for name in json.loads(good(1)[0]))


def test_a_missing_field_is_told_where_it_should_be(full: Shelf) -> None:
    shown = full.neptune("quarantine", "show", "0:1").stdout
    assert '    "order_id"  is not there  ◄ missing: Field required\n' in shown


def test_of_what_is_no_json_the_place_is_pointed_at(full: Shelf) -> None:
    lines = full.neptune("quarantine", "show", "0:3").stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if "◄ json_invalid" in line)
    assert lines[at - 1] == '  {"device_id": "\\xff"}'
    assert lines[at].index("^") <= lines[at - 1].index("}")


def test_a_null_value_is_shown_as_such(full: Shelf) -> None:
    assert "value:\n  null  ◄ null_value" in full.neptune("quarantine", "show", "1:0").stdout


def test_raw_writes_the_value_byte_for_byte(full: Shelf) -> None:
    assert full.neptune("quarantine", "show", "0:3", "--raw").stdout_bytes == NOT_UTF8


def test_what_was_not_refused_is_not_found_and_ends_with_1(full: Shelf) -> None:
    missed = full.neptune("quarantine", "show", "0:0")
    assert (missed.exit_code, missed.stderr) == (1, "the quarantine has no message 0:0\n")


@pytest.mark.parametrize("place", ["12", "0:", "a:b", "-1:2"])
def test_a_place_in_another_form_is_wrong_usage(full: Shelf, place: str) -> None:
    assert full.neptune("quarantine", "show", "--", place).exit_code == 2


def test_json_lines_give_every_message_back_byte_for_byte(full: Shelf) -> None:
    done = full.neptune("quarantine", "export")
    assert done.exit_code == 0
    assert done.stderr == "5 rejects written\n"
    rows = {(r["partition"], r["offset"]): r for r in map(json.loads, done.stdout.splitlines())}
    assert rows[0, 2]["value"].encode() == spoiled(end_lat=91.5)
    assert base64.b64decode(rows[0, 3]["value_base64"]) == NOT_UTF8
    assert "value" not in rows[0, 3]
    assert rows[1, 0]["value"] is None
    assert rows[0, 1]["headers"] == [{"name": "origin", "value": "test"}, {"name": "odd", "value_base64": "/w=="}]
    assert rows[0, 1]["timestamp"] == "2023-11-14T00:00:00Z"
    assert [r["kind"] for r in rows[0, 1]["reasons"]] == ["missing"]


def test_parquet_holds_the_bytes_as_they_are(full: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    done = full.neptune("quarantine", "export", "--partition", "0", "-o", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    table = pq.read_table(file)
    values = dict(zip(table["offset"].to_pylist(), table["value"].to_pylist(), strict=True))
    assert values == {1: spoiled(order_id=None), 2: spoiled(end_lat=91.5), 3: NOT_UTF8}


def test_an_export_that_fails_leaves_the_old_file_and_no_part_of_a_new_one(full: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("old")
    for task in stock(full.quarantine).scan().plan_files():
        Path(task.file.file_path.removeprefix("file://")).unlink()
    assert full.neptune("quarantine", "export", "-o", str(file)).exit_code == 2
    assert file.read_text() == "old"
    assert not list(tmp_path.glob(".out*"))


def test_who_reads_no_further_ends_it_without_a_complaint(shelf: Shelf) -> None:
    shelf.land([spoiled(end_lat=1000 + n) for n in range(2000)])
    export = subprocess.Popen(
        [sys.executable, "-m", "neptune_flow", "quarantine", "export"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **shelf.settings()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert export.stdout is not None
    assert export.stderr is not None
    assert json.loads(export.stdout.readline())["partition"] == 0
    export.stdout.close()
    assert (export.wait(60), export.stderr.read()) == (0, "")
    export.stderr.close()


def test_a_file_that_cannot_be_written_is_named(full: Shelf, tmp_path: Path) -> None:
    done = full.neptune("quarantine", "export", "-o", str(tmp_path / "nowhere" / "x.jsonl"))
    assert done.exit_code == 2
    assert "nowhere/x.jsonl cannot be written" in done.stderr


def test_a_messages_escape_sequences_do_not_reach_the_terminal(shelf: Shelf) -> None:
    shelf.land([b"\x1b[31m red \x1b]0;title\x07"])
    for words in (["list"], ["show", "0:0"]):
        assert "\x1b[31m red" not in shelf.neptune("quarantine", *words).stdout


def test_without_a_quarantine_nothing_can_be_looked_at(shelf: Shelf) -> None:
    missing = shelf.neptune("quarantine", "list", ICEBERG_TABLE="others")
    assert missing.exit_code == 2
    assert "there is no table default.others_quarantine" in missing.stderr
