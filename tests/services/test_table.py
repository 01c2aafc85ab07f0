"""The life of the table over many commits: old snapshots go, others' snapshots stay, and foreign writers are no harm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.exceptions import CommitFailedException

from tests.services.stage import LEDGER_KEY, Stage
from tests.services.traffic import live_fleet

RATE = 300.0


def test_old_snapshots_of_neptune_go_and_one_that_a_tag_holds_stays(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune = stage.start(NEPTUNE_WINDOW_S="1", NEPTUNE_SNAPSHOTS_MAX="3")
        neptune.wait_event("committed", count=2)
        table = stage.load()
        assert table is not None
        kept = table.current_snapshot()
        assert kept is not None
        table.manage_snapshots().create_tag(kept.snapshot_id, "audit").commit()
        neptune.wait_event("committed", count=8)
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    table = stage.load()
    assert table is not None
    ids = [s.snapshot_id for s in table.metadata.snapshots]
    assert kept.snapshot_id in ids
    assert len(ids) <= 3 + 1 + 1, "three, the tagged one, and the one that the next commit removes"
    assert table.scan(snapshot_id=kept.snapshot_id).to_arrow().num_rows < table.scan().to_arrow().num_rows
    stage.assert_exact(traffic.sent)


def test_a_foreign_writer_that_commits_all_the_time_costs_races_and_nothing_else(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        neptune = stage.start(NEPTUNE_WINDOW_S="1")
        neptune.wait_event("committed", count=2)
        with _foreign_commits(stage):
            neptune.wait_event("committed", count=8)
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    foreign = [summary for summary in stage.summaries() if LEDGER_KEY not in summary]
    assert len(foreign) > 5, "the foreign writer has hardly written"
    stage.assert_exact(traffic.sent)


@contextmanager
def _foreign_commits(stage: Stage) -> Iterator[None]:
    """Somebody else's empty appends, one after the other, as long as the `with` block lasts."""
    stop = threading.Event()
    table = stage.load()
    assert table is not None
    nothing = table.schema().as_arrow().empty_table()

    def write() -> None:
        while not stop.is_set():
            try:
                table.refresh().append(nothing)
            except CommitFailedException:
                continue

    thread = threading.Thread(target=write, name="foreign writer")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_compaction_by_somebody_else_between_two_starts_is_looked_through(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    for _ in range(2):
        with traffic.load(live_fleet(seed, RATE), RATE):
            neptune = stage.start(NEPTUNE_WINDOW_S="1")
            neptune.wait_event("committed", count=3)
        stage.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
        table = stage.load()
        assert table is not None
        table.overwrite(table.scan().to_arrow())
        newest = table.refresh().current_snapshot()
        assert newest is not None
        assert newest.summary is not None
        assert LEDGER_KEY not in newest.summary.additional_properties
    stage.assert_exact(traffic.sent)
