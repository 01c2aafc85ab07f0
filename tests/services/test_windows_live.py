"""Windows on a live topic: when a commit comes, and what its summary says of time."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from neptune_flow.simulator import Fleet
from tests.services.recovery import held_offsets, init_store, with_store
from tests.services.stage import Stage
from tests.services.traffic import Note

NEVER = {
    "NEPTUNE_WINDOW_S": "3600",
    "NEPTUNE_ALLOWED_LATENESS_S": "0",
    "NEPTUNE_IDLE_TIMEOUT_S": "3600",
    "NEPTUNE_COMMIT_AGE_S_MAX": "3600",
}
"""Nothing but what a test changes makes a commit due."""
HOUR = datetime(2025, 3, 1, 10, tzinfo=UTC)
_TEMPLATE = json.loads(next(iter(Fleet(1, start=HOUR, bad_share=0))).value or b"")


def at(*moments: datetime) -> list[Note]:
    """Good messages with these event times."""
    return [Note(json.dumps({**_TEMPLATE, "timestamp": moment.isoformat()}).encode()) for moment in moments]


def minutes(*numbers: float) -> list[datetime]:
    return [HOUR + timedelta(minutes=number) for number in numbers]


def iso(moment: datetime) -> str:
    """As Neptune writes a time, to the microsecond."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def test_a_commit_comes_when_a_window_closes_and_late_rows_are_appended_and_counted(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    neptune = stage.start(**{**NEVER, "NEPTUNE_WINDOW_S": "600", "NEPTUNE_ALLOWED_LATENESS_S": "60"})
    neptune.wait_event("committed")  # where the partition begins
    traffic.send(at(*minutes(1, 5, 9.9)))
    traffic.send(at(*minutes(10.5)))  # the first window is still open for a minute of lateness
    traffic.send(at(*minutes(2)))  # on time for that reason
    traffic.send(at(*minutes(11.2)))
    closed = neptune.wait_event("committed", count=2)
    assert (closed["rows"], closed["late"]) == (6, 0)
    assert closed["watermark_least"] == iso(minutes(10.2)[0])
    assert stage.summaries()[-1]["neptune.watermark-least"] == iso(minutes(10.2)[0])

    traffic.send(at(*minutes(3, 4)))  # both after their window closed
    traffic.send(at(*minutes(21.5)))
    closed = neptune.wait_event("committed", count=3)
    assert (closed["rows"], closed["late"]) == (3, 2)
    assert closed["watermark_least"] == iso(minutes(20.5)[0])
    assert neptune.terminate() == 0, neptune.tail()
    assert stage.ledger()[0]["late"] == 2
    stage.assert_exact(traffic.sent)


def test_the_least_watermark_is_that_of_the_partition_that_is_furthest_behind(stage: Stage) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(at(*minutes(1, 90)), partition=0)
    traffic.send(at(*minutes(1, 70)), partition=1)
    neptune = stage.start(**NEVER)
    stage.wait_caught_up(neptune)
    assert stage.summaries()[-1]["neptune.watermark-least"] == iso(minutes(70)[0])
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_the_open_window_of_an_idle_partition_closes_after_the_idle_timeout(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    neptune = stage.start(**{**NEVER, "NEPTUNE_IDLE_TIMEOUT_S": "1"})
    neptune.wait_event("committed")
    traffic.send(at(*minutes(1, 5)))
    stage.wait_caught_up(neptune)
    neptune.wait_for(lambda: stage.ledger()[0]["idle"], "the partition is idle")
    assert stage.summaries()[-1]["neptune.watermark-least"] == iso(minutes(60)[0])

    traffic.send(at(*minutes(30, 61)))
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["late"] == 1
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_rows_that_wait_in_kafka_during_an_outage_longer_than_the_idle_timeout_are_not_late(stage: Stage) -> None:
    """The flow stands still in front of the storage, and reads nothing."""
    stage.create_topic(1)
    traffic = stage.traffic()
    limits = {"NEPTUNE_IDLE_TIMEOUT_S": "3", "NEPTUNE_COMMIT_ROWS_MAX": "3", "NEPTUNE_REQUEST_TIMEOUT_S": "1"}
    neptune = stage.start(**{**NEVER, **limits})
    neptune.wait_event("committed")
    with stage.platform.storage.paused():
        traffic.send(at(*minutes(1, 5, 6)))
        neptune.wait_event("waiting")
        time.sleep(4)
        traffic.send(at(*minutes(30, 31, 32)))
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["late"] == 0
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_rows_of_a_transaction_that_is_open_for_longer_than_the_idle_timeout_are_not_late(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic(**{"transactional.id": "slow"})
    traffic.producer.init_transactions(30)
    neptune = stage.start(**{**NEVER, "NEPTUNE_IDLE_TIMEOUT_S": "2", "NEPTUNE_COMMIT_ROWS_MAX": "2"})
    neptune.wait_event("committed")
    traffic.producer.begin_transaction()
    traffic.send(at(*minutes(1, 5)))
    traffic.producer.commit_transaction(30)
    neptune.wait_event("committed", count=2)
    traffic.producer.begin_transaction()
    traffic.send(at(*minutes(30, 31)))
    time.sleep(6)
    traffic.producer.commit_transaction(30)
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["late"] == 0
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_what_is_older_than_the_age_limit_is_committed_though_its_window_is_open(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    neptune = stage.start(**{**NEVER, "NEPTUNE_COMMIT_AGE_S_MAX": "2"})
    neptune.wait_event("committed")
    traffic.send(at(*minutes(1, 5)))
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["watermark"] == int(minutes(5)[0].timestamp() * 1_000_000)
    traffic.send(at(*minutes(2)))
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["late"] == 0, "its window is still open"
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_so_many_rows_are_committed_though_their_window_is_open(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    neptune = stage.start(**{**NEVER, "NEPTUNE_COMMIT_ROWS_MAX": "100"})
    neptune.wait_event("committed")
    traffic.send(at(*minutes(*([1] * 100))))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_an_event_far_in_the_future_is_refused_and_moves_no_watermark(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    (future,) = at(datetime.now(UTC) + timedelta(hours=1))
    traffic.send([*at(*minutes(1)), future._replace(refusal="event_time_in_future"), *at(*minutes(2))])
    neptune = stage.start(**{**NEVER, "NEPTUNE_COMMIT_AGE_S_MAX": "1"})
    stage.wait_caught_up(neptune)
    assert stage.ledger()[0]["watermark"] == int(minutes(2)[0].timestamp() * 1_000_000)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_a_drain_commits_what_is_in_open_windows(stage: Stage, tmp_path: Path) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    store = init_store(tmp_path / "recovery")
    neptune = stage.start(*with_store(store), **NEVER)
    neptune.wait_event("committed")
    traffic.send(islice(Fleet(3, start=HOUR, bad_share=0.05), 500))
    ends = stage.log_ends()
    neptune.wait_for(lambda: {p: end for p, (_, end) in held_offsets(store).items()} == ends, "all was read")
    assert all(entry["next"] == 0 for entry in stage.ledger().values())
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_the_watermark_survives_a_restart(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    traffic.send(at(*minutes(1, 65)))
    first = stage.start(**NEVER)
    stage.wait_caught_up(first)
    assert first.terminate() == 0, first.tail()

    traffic.send(at(*minutes(2)))
    second = stage.start(**{**NEVER, "NEPTUNE_COMMIT_AGE_S_MAX": "1"})
    stage.wait_caught_up(second)
    assert second.terminate() == 0, second.tail()
    assert stage.ledger()[0]["late"] == 1
    stage.assert_exact(traffic.sent)


def test_what_has_waited_in_kafka_is_committed_at_the_start_though_its_window_is_open(stage: Stage) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    for _start in ("where Neptune begins", "where it goes on"):
        traffic.send(at(*minutes(1, 2, 3)), partition=0)
        traffic.send(at(*minutes(4)), partition=1)
        neptune = stage.start(**NEVER)
        stage.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)
