"""`neptune query`: SQL on what has landed, in every form, and nothing but questions."""

from __future__ import annotations

import base64
import contextlib
import csv
import fcntl
import io
import json
import os
import re
import struct
import subprocess
import sys
import termios
import time
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from neptune_flow.cli import main
from neptune_flow.iceberg.dataset import picture_of
from tests.cli.shelf import DAY, Shelf, good, spoiled
from tests.iceberg.worlds import foreign_position_delete, stock

ROOT = Path(__file__).parents[2]
NEXT_DAY = DAY + timedelta(days=1)


@pytest.fixture
def full(shelf: Shelf) -> Shelf:
    """Five rows of one day with a reject, three of the next."""
    shelf.land([*good(5), spoiled(order_id=None)])
    shelf.land(good(3, at=NEXT_DAY), at=NEXT_DAY)
    return shelf


def asked(shelf: Shelf, sql: str, *options: str) -> list[dict[str, object]]:
    """The answer's rows."""
    done = shelf.neptune("query", sql, "--format", "jsonl", *options)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def files_of(shelf: Shelf, day: str) -> list[Path]:
    tasks = stock(shelf.rows).scan(f"event_date = '{day}'").plan_files()
    return [Path(task.file.file_path.removeprefix("file://")) for task in tasks]


def test_rows_and_quarantine_are_there_under_all_their_names(full: Shelf) -> None:
    for name in ("rows", "raw_delivery_data", '"default".raw_delivery_data'):
        assert asked(full, f"from {name} select count(*) n") == [{"n": 8}]
    for name in ("quarantine", "raw_delivery_data_quarantine", '"default".raw_delivery_data_quarantine'):
        assert asked(full, f"from {name} select count(*) n") == [{"n": 1}]


def test_both_can_be_asked_together_and_more_than_once(full: Shelf) -> None:
    sql = "select (select count(*) from rows) + (select count(*) from quarantine) - (select count(*) from rows) n"
    assert asked(full, sql) == [{"n": 1}]


def test_values_of_every_type_come_as_they_are(full: Shelf) -> None:
    (row,) = asked(full, "from rows where _kafka.offset = 0")
    sent = json.loads(good(1)[0])
    assert {name: row[name] for name in sent if name != "timestamp"} == {n: sent[n] for n in sent if n != "timestamp"}
    assert (row["timestamp"], row["event_date"]) == ("2023-11-14T00:00:00Z", "2023-11-14")
    kafka = {"topic": "sessions", "partition": 0, "offset": 0, "timestamp": "2023-11-14T00:00:00Z", "key": "k"}
    assert (row["_kafka"], row["_extra"]) == (kafka, None)


def test_fields_that_the_contract_does_not_name_are_reached_in_extra(shelf: Shelf) -> None:
    shelf.land([spoiled(battery=17)])
    assert asked(shelf, "select _extra->>'battery' battery from rows") == [{"battery": "17"}]


def test_a_day_that_is_not_asked_for_is_not_read(full: Shelf) -> None:
    """The other day's files are gone from the storage, and nobody notices."""
    for file in files_of(full, "2023-11-15"):
        file.unlink()
    assert asked(full, "select count(*) n from rows where event_date = '2023-11-14'") == [{"n": 5}]
    gone = full.neptune("query", "select max(status) from rows")
    assert gone.exit_code == 2
    assert "No such file" in gone.stderr


def test_a_snapshot_shows_the_table_as_it_was(full: Shelf) -> None:
    first, second = (s.snapshot_id for s in full.rows.snapshots())
    assert asked(full, "select count(*) n from rows", "--snapshot", str(first)) == [{"n": 5}]
    assert asked(full, "select count(*) n from rows", "--snapshot", str(second)) == [{"n": 8}]
    of_quarantine = full.quarantine.snapshots()[0].snapshot_id
    both = "select (select count(*) from rows) r, (select count(*) from quarantine) q"
    assert asked(full, both, "--snapshot", str(of_quarantine)) == [{"r": 8, "q": 1}]


def test_an_unknown_snapshot_is_named(full: Shelf) -> None:
    done = full.neptune("query", "select 1", "--snapshot", "12")
    assert done.exit_code == 2
    assert "has no snapshot 12" in done.stderr


def test_a_table_without_any_snapshot_is_empty(shelf: Shelf) -> None:
    assert asked(shelf, "select count(*) n from rows, quarantine") == [{"n": 0}]


def test_rows_that_another_program_deleted_by_position_are_gone(full: Shelf) -> None:
    """Arrow alone would still see them; the table is joined with itself, so it must be read more than once."""
    (task,) = stock(full.rows).scan("event_date = '2023-11-14'").plan_files()
    foreign_position_delete(full.rows, task.file.file_path, [0, 3])
    assert asked(full, "select a._kafka.offset o from rows a join rows b using (_kafka) where o < 6 order by o") == [
        {"o": 1},
        {"o": 2},
        {"o": 4},
    ]


def test_a_column_that_was_renamed_keeps_its_values(full: Shelf) -> None:
    with stock(full.rows).update_schema() as change:
        change.rename_column("status", "state")
    assert asked(full, "select count(state) n from rows where state <> ''") == [{"n": 8}]


def test_a_column_that_was_added_is_null_in_older_files(full: Shelf) -> None:
    from pyiceberg.types import StringType

    with stock(full.rows).update_schema() as change:
        change.add_column("note", StringType())
    assert asked(full, "select count(*) n, count(note) notes from rows") == [{"n": 8, "notes": 0}]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", "syntax error"),
        ("select nope from rows", '"nope" not found'),
        ("select * from others", "others does not exist"),
        ("select 1; select 2", "give one statement; here are 2"),
        ("", "give one statement; here are 0"),
        ("drop table rows", "DROP is no question"),
        ("insert into rows values (1)", "INSERT is no question"),
        ("create table mine as select 1", "CREATE is no question"),
        ("copy rows to 'x.csv'", "COPY is no question"),
        ("attach 'x.db'", "ATTACH is no question"),
        ("set memory_limit = '9GB'", "SET is no question"),
        ("pragma database_list", "PRAGMA is no question"),
        ("install httpfs", "no question"),
        ("select * from read_csv('/etc/passwd')", "disabled by configuration"),
        ("select * from glob('/etc/*')", "disabled by configuration"),
        ("select cast(status as int) from rows", "Could not convert"),
    ],
)
def test_what_is_wrong_or_no_question_is_named_and_ends_with_2(full: Shelf, sql: str, said: str) -> None:
    done = full.neptune("query", sql)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_a_name_in_the_statement_never_means_a_variable_of_the_program(full: Shelf) -> None:
    assert full.neptune("query", "select * from lake").exit_code == 2


def test_a_statement_may_come_from_standard_input(full: Shelf) -> None:
    done = CliRunner(env=full.settings()).invoke(main, ["query", "-", "--format", "csv"], input="select 1\nas one")
    assert done.stdout.split() == ["one", "1"]


def test_no_question_changes_the_tables_or_leaves_a_file(full: Shelf, tmp_path: Path) -> None:
    before = sorted(p for p in tmp_path.rglob("*"))
    asked(full, "from rows order by device_id")
    full.neptune("query", "copy rows to 'x.csv'")
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_a_table_is_cut_off_at_its_limit_and_says_so(full: Shelf) -> None:
    done = full.neptune("query", "select _kafka.offset o from rows order by o", "--limit", "2")
    assert done.stdout.split() == ["o", "0", "1"]
    assert done.stderr == "these are the first 2 rows; --limit shows more\n"
    whole = full.neptune("query", "select _kafka.offset o from rows order by o", "--limit", "8")
    assert (len(whole.stdout.split()), whole.stderr) == (9, "")


def test_json_is_one_document_also_when_it_is_empty(full: Shelf) -> None:
    rows = json.loads(
        full.neptune("query", "select 1 a, null b, 'x' c union all select 2, 0.5, 'y'", "--format", "json").stdout
    )
    assert sorted(rows, key=str) == [{"a": 1, "b": None, "c": "x"}, {"a": 2, "b": "0.5", "c": "y"}]
    assert json.loads(full.neptune("query", "from rows where false", "--format", "json").stdout) == []


def test_csv_has_a_head_and_nested_values_as_json(full: Shelf) -> None:
    text = full.neptune(
        "query", "select _kafka, _extra, status from rows where _kafka.offset = 0", "--format", "csv"
    ).stdout
    head, row = csv.reader(io.StringIO(text, newline=""))
    assert head == ["_kafka", "_extra", "status"]
    assert (json.loads(row[0])["offset"], row[1:]) == (0, ["", "started"])


def test_a_file_is_written_in_the_form_of_its_name(full: Shelf, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    assert full.neptune("query", "from rows order by timestamp", "-o", str(file)).exit_code == 0
    table = pq.read_table(file)
    assert table.num_rows == 8
    assert table.column_names == full.validator.rows_schema.names


def test_text_with_lines_and_quotes_survives_csv_and_json(full: Shelf) -> None:
    sql = "select 'a\nb \"c\"' t"
    assert asked(full, sql) == [{"t": 'a\nb "c"'}]
    text = full.neptune("query", sql, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == ['a\nb "c"']


def test_what_does_not_fit_into_memory_is_spilled_and_cleared_away(full: Shelf, tmp_path: Path) -> None:
    sql = "select count(*) n from (select distinct hash(range) h, range::varchar v from range(6000000))"
    assert asked(full, sql) == [{"n": 6_000_000}]


def on_a_terminal(shelf: Shelf, sql: str, columns: int) -> list[str]:
    """The lines that a terminal of this width shows."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    words = [sys.executable, "-m", "neptune_flow", "query", sql]
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    own = {**inherited, **shelf.settings(), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(words, cwd=ROOT, env=own, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how the other end is told that it is over
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.decode().splitlines()]


def test_a_terminal_that_is_too_narrow_for_a_row_gets_a_line_for_each_value(full: Shelf) -> None:
    sql = "select status, order_id, vehicle_id from rows where _kafka.offset = 0 and event_date = '2023-11-14'"
    sent = json.loads(good(1)[0])
    wide = on_a_terminal(full, sql, 120)
    assert [line.split() for line in wide] == [
        ["status", "order_id", "vehicle_id"],
        ["started", sent["order_id"], sent["vehicle_id"]],
    ]
    narrow = on_a_terminal(full, sql, 60)
    assert narrow[0].startswith("row 1 ─")
    assert [line.split() for line in narrow[1:]] == [
        [name, sent[name]] for name in ("status", "order_id", "vehicle_id")
    ]


def test_a_table_that_goes_elsewhere_is_as_wide_as_its_rows(full: Shelf) -> None:
    lines = full.neptune("query", "select repeat('x', 500) a, repeat('y', 500) b").stdout.splitlines()
    assert lines[1].split() == ["x" * 500, "y" * 500]


def test_files_are_not_read_far_ahead_of_who_asks(shelf: Shelf) -> None:
    """160 MB lie in the storage, and nobody takes more than the first batch of them."""
    noise = base64.b64encode(os.urandom(1 << 20))
    for number in range(40):
        shelf.land([b"<" + noise[n * 1000 + number : 200_000 + n * 1000] for n in range(20)])
    picture = picture_of(shelf.quarantine)
    before = pa.total_allocated_bytes()
    connection = duckdb.connect(config={"threads": 2})
    connection.register("quarantine", picture.dataset)
    reader = connection.sql("from quarantine").to_arrow_reader(10)
    assert reader.read_next_batch().num_rows > 0
    most = 0
    for _ in range(20):
        time.sleep(0.05)
        most = max(most, pa.total_allocated_bytes() - before)
    reader.close()
    connection.close()
    assert most < 40 << 20
