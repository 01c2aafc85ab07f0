"""`neptune ledger`: what it prints, what it refuses to do unasked, and its exit codes; on a local lake, without Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from neptune_flow.cli import main
from neptune_flow.cli.ledger import _planned
from neptune_flow.iceberg.mending import MendableTable, Surveyed
from neptune_flow.telemetry import configure_logging
from tests.iceberg.worlds import NAME, properties, stock
from tests.mend.worlds import Sea

NOBODY = "127.0.0.1:1"
"""Where no broker answers."""


@pytest.fixture
def neptune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": NOBODY,
        "KAFKA_TOPIC": "sessions",
        "ICEBERG_CATALOG": "lake",
        "ICEBERG_TABLE": NAME,
        "NEPTUNE_CATALOG_PROPERTIES": json.dumps(properties(tmp_path, type="sql")),
        "NEPTUNE_START_WAIT_S_MAX": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    yield CliRunner()
    configure_logging("WARNING", "json")


def show(neptune: CliRunner, *options: str) -> Result:
    return neptune.invoke(main, ["ledger", "show", "--no-kafka", *options])


def test_sound_tables_are_shown_with_their_totals_and_exit_code_0(neptune: CliRunner, tmp_path: Path) -> None:
    Sea(tmp_path, {0: "rrxr.x", 1: "rr"}).land_all()
    shown = show(neptune)
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    assert ["partition", "first", "next", "rows", "rejects", "left", "out", "lost"] in [line[:8] for line in lines]
    assert ["0", "0", "6", "3", "2", "1", "0"] in [line[:7] for line in lines]
    assert ["1", "0", "2", "2", "0", "0", "0"] in [line[:7] for line in lines]
    assert shown.output.endswith("nothing is wrong\n")


def test_what_is_wrong_is_named_with_what_mends_it_and_exit_code_1(neptune: CliRunner, tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rrxr"})
    sea.land_all()
    sea.drop(sea.rows)
    shown = show(neptune)
    assert shown.exit_code == 1, shown.output
    assert "wrong: table default.events and its quarantine do not belong together" in shown.output
    assert shown.output.endswith("python -m neptune_flow ledger set --from rows\n")
    facts = json.loads(show(neptune, "--json").output)
    assert facts["tables"]["rows"]["partitions"] == {}
    assert facts["tables"]["quarantine"]["partitions"]["0"]["rejects"] == 1
    assert len(facts["problems"]) == 1


def test_one_table_that_is_not_there_is_wrong(neptune: CliRunner, tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rrxr"})
    sea.land_all()
    sea.rows.catalog.drop_table(sea.rows.identifier)
    shown = show(neptune)
    assert shown.exit_code == 1, shown.output
    assert "there is no table default.events" in shown.output


def test_tables_of_another_topic_than_the_one_to_be_landed_are_wrong(neptune: CliRunner, tmp_path: Path) -> None:
    Sea(tmp_path, {0: "rr"}).land_all()
    shown = neptune.invoke(main, ["ledger", "show", "--no-kafka"], env={"KAFKA_TOPIC": "others"})
    assert shown.exit_code == 1, shown.output
    assert "wrong: table default.events holds topic sessions, not others" in shown.output


def test_a_first_commit_that_falls_between_the_looks_at_the_two_tables_is_not_called_wrong(
    neptune: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sea = Sea(tmp_path, {0: "rrx"})
    sea.land_all()
    sea.kafka.logs[1] = "rxr"
    survey, seen = MendableTable.survey, []

    def and_then_a_commit(table: MendableTable) -> Surveyed:
        found = survey(table)
        seen.append(table.name)
        if len(seen) == 1:
            sea.land_all()
        return found

    monkeypatch.setattr(MendableTable, "survey", and_then_a_commit)
    shown = show(neptune)
    assert shown.exit_code == 0, shown.output
    assert seen == [sea.rows.name, sea.quarantine.name] * 2


def test_a_defect_or_an_interruption_does_not_look_like_something_that_was_found(
    neptune: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sea(tmp_path, {0: "rr"}).land_all()

    def fails(error: type[BaseException]) -> Result:
        def failing(_table: MendableTable) -> Surveyed:
            raise error

        monkeypatch.setattr(MendableTable, "survey", failing)
        return show(neptune)

    assert [fails(error).exit_code for error in (ZeroDivisionError, KeyboardInterrupt)] == [2, 2]


@pytest.mark.parametrize(
    "words", [["--help"], ["verify", "--help"], ["ledger", "show", "--help"], ["ledger", "set", "--help"]]
)
def test_the_help_of_each_command_names_its_exit_codes(neptune: CliRunner, words: list[str]) -> None:
    said = neptune.invoke(main, words).output
    assert "Exit codes" in said
    assert all(code in said.split("Exit codes")[1] for code in "012")


def test_what_would_happen_is_said_partition_by_partition(tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rrrx.rrr", 1: "rr"})
    sea.land_all()
    stock(sea.rows).delete("id = 'id-2'")
    lines = _planned(sea.plan("offsets", offsets={0: 5}), sea.rows.name)
    assert lines[1].split("  ")[-1].strip() == "doubled"
    assert lines[2].split() == ["0", "5", "8", "1", "0", "3", "3"]
    assert lines[3] == "in all 1 messages lost, 3 rows doubled"
    sea.kafka.logs[1] += "r.x"
    lines = _planned(sea.plan("latest", partitions=[1]), sea.rows.name)
    assert lines[2].split() == ["1", "5", "2", "0-3", "0", "0", "0"]
    assert lines[3] == "in all 0-3 messages lost, 0 rows doubled"


def test_without_any_table_nothing_can_be_looked_at(neptune: CliRunner) -> None:
    shown = show(neptune)
    assert shown.exit_code == 2
    assert "there is no table default.events" in shown.output


def test_without_kafka_the_tables_are_shown_alone(neptune: CliRunner, tmp_path: Path) -> None:
    Sea(tmp_path, {0: "rr"}).land_all()
    shown = neptune.invoke(main, ["ledger", "show"])
    assert shown.exit_code == 0, shown.output
    assert f"no log beside them: Kafka at {NOBODY}" in shown.output


def test_a_wrong_setting_is_named(neptune: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_WINDOWS_S", "1")
    shown = show(neptune)
    assert shown.exit_code == 2
    assert "NEPTUNE_WINDOWS_S is no setting" in shown.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "either --from or --offsets"),
        (("--from", "ledger", "--offsets", "0=1"), "either --from or --offsets"),
        (("--from", "yesterday"), "'yesterday' is not one of"),
        (("--offsets", "0:1"), "give it as partition=offset"),
        (("--offsets", "0=1,0=2"), "a partition is named twice"),
        (("--from", "ledger"), "nobody can be asked here"),
    ],
)
def test_what_is_not_clear_is_not_done(neptune: CliRunner, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    sea = Sea(tmp_path, {0: "rr"})
    sea.land_all()
    head = stock(sea.rows).metadata.current_snapshot_id
    done = neptune.invoke(main, ["ledger", "set", *options])
    assert done.exit_code == 2
    assert said in done.output
    assert stock(sea.rows).metadata.current_snapshot_id == head


def test_a_ledger_is_not_set_while_kafka_cannot_be_asked(neptune: CliRunner, tmp_path: Path) -> None:
    sea = Sea(tmp_path, {0: "rr"})
    sea.land_all()
    head = stock(sea.rows).metadata.current_snapshot_id
    done = neptune.invoke(main, ["ledger", "set", "--from", "ledger", "--yes"])
    assert done.exit_code == 2, done.output
    assert f"Kafka at {NOBODY}" in done.output
    assert stock(sea.rows).metadata.current_snapshot_id == head
