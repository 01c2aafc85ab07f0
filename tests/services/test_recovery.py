"""With Bytewax's recovery store: open windows are restored instead of read again, and no store, however wrong, makes it inexact."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from tests.services import traffic as kafka
from tests.services.neptune import OWN_COMMAND, RUNNER, Neptune
from tests.services.recovery import held_offsets, init_store, with_store
from tests.services.stage import Stage
from tests.services.traffic import Traffic, live_fleet, past_fleet

OPEN = {
    "NEPTUNE_WINDOW_S": "3600",
    "NEPTUNE_IDLE_TIMEOUT_S": "3600",
    "NEPTUNE_COMMIT_AGE_S_MAX": "3600",
    "NEPTUNE_ALLOWED_LATENESS_S": "3600",
}
"""Settings with which no window closes while a test runs."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return init_store(tmp_path / "recovery")


def run_until_held(stage: Stage, store: Path, command: Sequence[str] = RUNNER, **changes: str) -> Traffic:
    """Run until the store holds all that the topic holds, then kill: the messages are in open windows, and in no table.

    They are sent when Neptune has begun: what waits at the start would not wait for its window.
    """
    stage.create_topic(2)
    neptune = stage.start(*with_store(store), command=command, **{**OPEN, **changes})
    neptune.wait_event("committed")
    traffic = stage.traffic()
    traffic.send(islice(past_fleet(7), 800))
    ends = stage.log_ends()
    holds_all = "the store holds all that the topic holds"
    neptune.wait_for(lambda: {p: end for p, (_, end) in held_offsets(store).items()} == ends, holds_all)
    neptune.kill()
    return traffic


def drain(stage: Stage, *options: str, command: Sequence[str] = RUNNER, **changes: str) -> Neptune:
    """Run until the table has all that the topic holds, then end in good order."""
    neptune = stage.start(*options, command=command, **changes)
    neptune.wait_event("started")
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    return neptune


def test_open_windows_are_restored_and_not_read_again(stage: Stage, store: Path) -> None:
    traffic = run_until_held(stage, store)
    assert all(entry["next"] == 0 for entry in stage.ledger().values())
    # Whoever reads again now finds nothing.
    kafka.delete_records(stage.kafka.bootstrap, stage.topic, stage.log_ends())

    neptune = drain(stage, *with_store(store))
    assert neptune.events("offsets_lost") == []
    stage.assert_exact(traffic.sent)


def test_without_a_store_they_are_read_again(stage: Stage, store: Path) -> None:
    traffic = run_until_held(stage, store)
    neptune = drain(stage)
    assert neptune.total("rows") + neptune.total("rejects") == 800
    stage.assert_exact(traffic.sent)


def test_a_store_that_was_lost_is_no_loss(stage: Stage, store: Path, tmp_path: Path) -> None:
    traffic = run_until_held(stage, store)
    shutil.rmtree(store)
    drain(stage, *with_store(init_store(tmp_path / "new")))
    stage.assert_exact(traffic.sent)


def test_an_older_backup_of_the_store_is_checked_against_the_ledger(stage: Stage, store: Path, tmp_path: Path) -> None:
    traffic = run_until_held(stage, store)
    backup = shutil.copytree(store, tmp_path / "backup")
    drain(stage, *with_store(store))
    traffic.send(islice(past_fleet(8), 300))
    drain(stage, *with_store(store))

    drain(stage, *with_store(backup))
    traffic.send(islice(past_fleet(9), 300))
    drain(stage, *with_store(backup))
    stage.assert_exact(traffic.sent)


def test_a_store_of_another_table_is_not_believed(stage: Stage, store: Path) -> None:
    traffic = run_until_held(stage, store, ICEBERG_TABLE=f"{stage.table}_other")
    drain(stage, *with_store(store))
    stage.assert_exact(traffic.sent)


def test_a_store_that_does_not_join_the_ledger_stops_bytewaxs_command(stage: Stage, store: Path) -> None:
    traffic = run_until_held(stage, store)
    forget_open_windows(store)
    neptune = stage.start(*with_store(store))
    assert neptune.wait() == 74, neptune.tail()
    (why,) = neptune.events("stopped")
    assert why["error"] == "StateDoesNotJoin"
    assert "set the recovery directory aside" in why["hint"]
    assert all(entry["next"] == 0 for entry in stage.ledger().values())
    drain(stage)
    stage.assert_exact(traffic.sent)


def test_neptunes_own_command_sets_such_a_store_aside_by_itself(stage: Stage, store: Path) -> None:
    traffic = run_until_held(stage, store, OWN_COMMAND)
    forget_open_windows(store)
    neptune = drain(stage, *with_store(store), command=OWN_COMMAND)
    (aside,) = neptune.events("recovery_store_set_aside")
    assert list(Path(aside["directory"]).glob("*.sqlite3"))
    stage.assert_exact(traffic.sent)


def forget_open_windows(store: Path) -> None:
    """The source's positions stay, what was read up to them goes: such a store was seen after crashes of Bytewax."""
    (part,) = store.glob("*.sqlite3")
    with closing(sqlite3.connect(part)) as database, database:
        forgotten = database.execute("DELETE FROM snaps WHERE step_id LIKE '%collect%'").rowcount
    assert forgotten > 0


def test_neptunes_own_command_makes_the_store_and_goes_on_with_it_after_a_kill(
    stage: Stage, tmp_path: Path, seed: int
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    store = tmp_path / "made by Neptune"
    with traffic.load(live_fleet(seed, 500.0), 500.0):
        first = stage.start(*with_store(store), command=OWN_COMMAND)
        first.wait_event("committed", count=3)
        first.kill()
    drain(stage, *with_store(store), command=OWN_COMMAND)
    stage.assert_exact(traffic.sent)
