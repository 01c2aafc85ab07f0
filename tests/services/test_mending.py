"""Topic and tables come apart on real servers: Neptune stops with 65 and names a command, the command is given, and Neptune goes on.

What the oracle says afterwards is what the command promised: nothing lost, nothing twice, where that was still to be had.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from tests.services.neptune import ROOT, Neptune, assert_stopped
from tests.services.oracle import COLUMNS, REJECT_COLUMNS, Landed, assert_exact
from tests.services.stage import Stage
from tests.services.traffic import Sent, past_fleet

BAD_SHARE = 0.2
SETTABLE = re.compile(r"python -m neptune_flow (ledger set --from \w+)")


def send(stage: Stage, seed: int, count: int = 300) -> list[Sent]:
    """Messages of the simulator, many of them bad."""
    return stage.traffic().send(islice(past_fleet(seed, bad_share=BAD_SHARE), count))


def land(stage: Stage) -> None:
    """A Neptune that lands all there is, and drains."""
    neptune = stage.start()
    neptune.wait_event("started", 90)
    stage.wait_caught_up(neptune, 90)
    assert neptune.terminate() == 0, neptune.tail()


def stopped_at(stage: Stage, said: str) -> list[str]:
    """Start Neptune, which must stop; the words of the command that it names."""
    neptune = stage.start()
    assert neptune.wait(90) == 65, neptune.tail()
    command = SETTABLE.search(assert_stopped(neptune, "LedgerConflict", said))
    assert command, neptune.tail()
    return command.group(1).split()


def run(stage: Stage, *words: str) -> tuple[int, str]:
    """Run `neptune`; its exit code and what it said."""
    command: Neptune = stage.start(command=["-m", "neptune_flow", *words])
    return command.wait(90), command.text()


def give(stage: Stage, words: Sequence[str]) -> str:
    """Give the command and agree; what it said."""
    code, said = run(stage, *words, "--yes")
    if "has moved since it was looked at" in said:
        # A commit of a Neptune that still runs came between: as the hint says, once more.
        code, said = run(stage, *words, "--yes")
    assert code == 0, said
    return said


def show(stage: Stage, code: int) -> Any:
    """`neptune ledger show --json`, with the exit code that is expected."""
    found, said = run(stage, "ledger", "show", "--json")
    assert found == code, said
    return json.loads(said)


def loaded(stage: Stage, suffix: str = "") -> Table:
    table = stage.load(suffix)
    assert table is not None
    return table


def head(table: Table) -> int:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def test_a_table_that_was_rolled_back_takes_again_what_it_lacks_once_that_is_agreed_to(stage: Stage) -> None:
    stage.create_topic(2)
    sent = send(stage, 1)
    land(stage)
    earlier = head(loaded(stage))
    sent += send(stage, 2)
    land(stage)
    assert show(stage, 0)["problems"] == []
    loaded(stage).manage_snapshots().rollback_to_snapshot(earlier).commit()

    command = stopped_at(stage, "was rolled back")
    assert "rolled back" in show(stage, 1)["problems"][0]["what"]
    code, said = run(stage, *command)
    assert (code, "nobody can be asked here" in said) == (2, True)
    assert on_a_terminal(stage, command, "n") == 1
    assert head(loaded(stage)) == earlier
    assert on_a_terminal(stage, command, "y") == 0
    assert show(stage, 0)["tables"]["rows"]["set_by_hand"]
    land(stage)
    stage.assert_exact(sent)


def on_a_terminal(stage: Stage, words: Sequence[str], answer: str) -> int:
    """The exit code of the command, which asks on a terminal and is answered there."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        command = [sys.executable, "-m", "neptune_flow", *words]
        environment = {"PATH": os.environ["PATH"], **stage.settings()}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=theirs, capture_output=True, text=True, timeout=90, check=False
        )
        assert "in all 0 messages lost, 0 rows doubled" in done.stdout, done.stderr
        assert "Set the ledger?" in done.stdout
        return done.returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_topic_that_was_created_anew_goes_on_in_the_same_tables(stage: Stage) -> None:
    stage.create_topic(2)
    send(stage, 4)
    land(stage)
    before = {suffix: head(loaded(stage, suffix)) for suffix in ("", "_quarantine")}
    stage.kafka.delete_topic(stage.topic)
    stage.create_topic(2)
    sent = send(stage, 5, 500)

    command = stopped_at(stage, "was deleted and created anew")
    assert "--from earliest" in " ".join(command)
    said = give(stage, command)
    assert "0 messages lost, 0 rows doubled" in said
    land(stage)
    # The same offsets are there twice now, from two topics: the oracle judges what has come since.
    rows = added(loaded(stage), before[""], COLUMNS)
    rejects = added(loaded(stage, "_quarantine"), before["_quarantine"], REJECT_COLUMNS)
    assert_exact(sent, Landed(stage.topic, rows, rejects, stage.ledger()), stage.log_ends())
    assert show(stage, 0)["problems"] == []


def added(table: Table, since: int, columns: Sequence[str]) -> pa.Table:
    """What has been appended since a snapshot."""
    return table.incremental_append_scan(from_snapshot_id_exclusive=since, selected_fields=tuple(columns)).to_arrow()


def test_a_table_of_rows_that_was_dropped_is_filled_again(stage: Stage) -> None:
    stage.create_topic(2)
    sent = send(stage, 6)
    land(stage)
    stage.catalog.drop_table(("default", stage.table))
    command = stopped_at(stage, "do not belong together")
    give(stage, command)
    land(stage)
    stage.assert_exact(sent)


def test_a_quarantine_that_was_dropped_costs_its_rejects_alone_and_they_are_counted(stage: Stage) -> None:
    stage.create_topic(2)
    sent = send(stage, 7)
    land(stage)
    stage.catalog.drop_table(("default", f"{stage.table}_quarantine"))
    gone = [s for s in sent if s.refusal is not None]
    assert f"in all {len(gone)} messages lost, 0 rows doubled" in give(
        stage, stopped_at(stage, "do not belong together")
    )
    sent += send(stage, 8)
    land(stage)
    stage.assert_exact([s for s in sent if s not in set(gone)])
    assert sum(entry["lost"] for entry in stage.ledger().values()) == len(gone)


@pytest.fixture
def backed_up(stage: Stage) -> tuple[list[Sent], list[Sent], dict[str, str]]:
    """Messages from before and after a backup of the catalog, and where the tables' metadata was then."""
    stage.create_topic(2)
    before = send(stage, 9)
    land(stage)
    backup = {suffix: loaded(stage, suffix).metadata_location for suffix in ("", "_quarantine")}
    after = send(stage, 10)
    land(stage)
    return before, after, backup


def restore(stage: Stage, suffix: str, metadata_location: str) -> None:
    name = ("default", stage.table + suffix)
    stage.catalog.drop_table(name)
    stage.catalog.register_table(name, metadata_location)


def test_rows_restored_from_a_backup_need_no_command_and_a_quarantine_costs_the_rejects_that_it_lacks(
    stage: Stage, backed_up: tuple[list[Sent], list[Sent], dict[str, str]]
) -> None:
    before, after, backup = backed_up
    restore(stage, "", backup[""])
    land(stage)
    stage.assert_exact(before + after)

    restore(stage, "_quarantine", backup["_quarantine"])
    give(stage, stopped_at(stage, "do not belong together"))
    land(stage)
    stage.assert_exact(before + [s for s in after if s.refusal is None])


def test_a_neptune_that_still_runs_is_superseded_and_its_next_start_is_exact(stage: Stage) -> None:
    stage.create_topic(2)
    sent = send(stage, 11)
    neptune = stage.start()
    stage.wait_caught_up(neptune, 90)
    give(stage, ["ledger", "set", "--from", "ledger"])
    sent += send(stage, 12)
    assert neptune.wait(90) == 75, neptune.tail()
    land(stage)
    stage.assert_exact(sent)
