"""`neptune verify` has the last word: after each way of mending, and after what comes then, it finds the tables whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from neptune_flow.cli import main
from neptune_flow.telemetry import configure_logging
from tests.iceberg.worlds import NAME, properties, roll_back, stock
from tests.mend.worlds import Sea


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Judges the tables, which must be whole."""
    monkeypatch.setenv("KAFKA_TOPIC", "sessions")
    monkeypatch.setenv("ICEBERG_CATALOG", "lake")
    monkeypatch.setenv("ICEBERG_TABLE", NAME)
    monkeypatch.setenv("NEPTUNE_CATALOG_PROPERTIES", json.dumps(properties(tmp_path, type="sql")))

    def ask() -> None:
        judged = CliRunner().invoke(main, ["verify", "--no-kafka"])
        assert judged.exit_code == 0, judged.output

    yield ask
    configure_logging("WARNING", "json")


def go_back(sea: Sea) -> None:
    sea.drop(sea.rows)
    sea.set("rows")


def give_up_the_rejects(sea: Sea) -> None:
    sea.drop(sea.quarantine)
    sea.set("ledger")


def go_on_with_a_new_topic(sea: Sea) -> None:
    sea.kafka.recreate({0: "xrr.x", 1: "rx"})
    sea.set("earliest")


def go_on_where_the_log_was_cut(sea: Sea) -> None:
    sea.kafka.logs[0] = sea.kafka.logs[0][:4]
    sea.set("ledger")


def skip(sea: Sea) -> None:
    sea.kafka.logs = {p: text + "rx" for p, text in sea.kafka.logs.items()}
    sea.set("latest")


def take_again_what_was_handled(sea: Sea) -> None:
    """Rejects that somebody has dealt with are deleted, then the table is rolled back to before them: they land once more."""
    before = sea.rows.look().head
    assert before
    sea.kafka.logs = {p: text + "xrx" for p, text in sea.kafka.logs.items()}
    sea.land_all()
    stock(sea.quarantine).delete("offset >= 4")
    roll_back(sea.rows, before)
    sea.set("ledger")
    sea.land_all()
    assert sea.row_places == sea.places("r")


@pytest.mark.parametrize(
    "mend",
    [
        take_again_what_was_handled,
        go_back,
        give_up_the_rejects,
        go_on_with_a_new_topic,
        go_on_where_the_log_was_cut,
        skip,
    ],
)
def test_mended_tables_are_whole(tmp_path: Path, verify: Callable[[], None], mend: Callable[[Sea], None]) -> None:
    sea = Sea(tmp_path, {0: "rrxr.rxr", 1: "rrxr"})
    sea.land_all()
    mend(sea)
    verify()
    sea.kafka.logs = {p: text + "rx.r" for p, text in sea.kafka.logs.items()}
    sea.land_all()
    verify()
