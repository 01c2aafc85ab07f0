"""What Kafka can hold and what can happen to it: transactions, compaction, deletion, moved leaders, topics that come and go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from tests.services import traffic as kafka
from tests.services.conftest import own_name
from tests.services.neptune import assert_stopped, wait_for
from tests.services.oracle import assert_exact
from tests.services.servers import KafkaCluster, Platform
from tests.services.servers.kafka import KafkaBroker
from tests.services.stage import LEDGER_KEY, LEDGER_TAG, Stage
from tests.services.traffic import Note, live_fleet, past_fleet

EARLIER_MS = int(datetime(2025, 3, 1, tzinfo=UTC).timestamp() * 1000)
LATER_MS = int(datetime(2025, 3, 2, tzinfo=UTC).timestamp() * 1000)

RUN_MESSAGES = 5_000
FETCHES_MIN = 10
FETCH_BYTES = 256 << 10
"""Of one partition, as `kafka/client.py` asks for it."""


def notes(seed: int, count: int, *, bad_share: float = 0.05, timestamp_ms: int = 0) -> list[Note]:
    """Messages of the simulator, all with one Kafka timestamp."""
    fleet = past_fleet(seed, count=count, bad_share=bad_share)
    return [
        Note(m.value, m.key, timestamp_ms, m.headers, m.bad.reason if m.bad else None) for m in islice(fleet, count)
    ]


def test_messages_of_aborted_transactions_are_not_delivered_and_counted_as_left_out(stage: Stage) -> None:
    stage.create_topic(2)
    traffic = stage.traffic(**{"transactional.id": stage.topic})
    producer = traffic.producer
    producer.init_transactions()
    aborted = []
    for number, commits in enumerate([True, False, True, False, False, True, False]):
        producer.begin_transaction()
        taken = traffic.send(notes(number, 60))
        if commits:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
            aborted += taken
    kept = [s for s in traffic.sent if s not in set(aborted)]

    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(kept)
    left_out = sum(entry["left_out"] for entry in stage.ledger().values())
    # Each transaction ends with a marker in each of the two partitions.
    assert left_out == len(aborted) + 7 * 2 == neptune.total("left_out")


def test_a_long_run_of_offsets_without_a_message_is_not_taken_for_the_end_of_the_log(stage: Stage) -> None:
    """Several fetches in a row hold nothing to hand over: before, between and after what was committed."""
    stage.create_topic(1)
    traffic = stage.traffic(**{"transactional.id": stage.topic, "compression.type": "none"})
    producer = traffic.producer
    producer.init_transactions()
    kept = []
    for number in range(3):
        producer.begin_transaction()
        traffic.send(Note(b"x" * 1000) for _ in range(RUN_MESSAGES))
        producer.abort_transaction()
        if number < 2:
            producer.begin_transaction()
            kept += traffic.send(notes(number, 50))
            producer.commit_transaction()

    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(kept)
    markers = 5
    assert stage.ledger()[0]["left_out"] == 3 * RUN_MESSAGES + markers
    assert RUN_MESSAGES * 1000 > FETCHES_MIN * FETCH_BYTES


def test_a_compacted_topic_lands_as_kafka_still_has_it_and_tombstones_go_to_quarantine(stage: Stage) -> None:
    stage.create_topic(1, cleanup_policy="compact", segment_ms="50", min_cleanable_dirty_ratio="0.001")
    traffic = stage.traffic()
    keys = [f"vehicle-{number}".encode() for number in range(20)]
    for _ in range(5):
        traffic.send(Note(m.value, key) for m, key in zip(notes(1, 20, bad_share=0), keys, strict=True))
    deleted = keys[::3]
    traffic.send(Note(None, key, refusal="null_value") for key in deleted)
    # The segment that is written to is never compacted: a message of a second later begins the next one.
    traffic.send([notes(2, 1, bad_share=0)[0]._replace(key=b"last", timestamp_ms=int(time.time() * 1000) + 1000)])
    still_there = set({s.key: (s.partition, s.offset) for s in traffic.sent}.values())

    def is_compacted() -> bool:
        return kafka.readable(stage.kafka.bootstrap, stage.topic) == still_there

    wait_for(is_compacted, "Kafka has compacted the topic", 60.0)
    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact([s for s in traffic.sent if (s.partition, s.offset) in still_there])
    assert stage.ledger()[0]["left_out"] == len(traffic.sent) - len(still_there)
    assert [r["value"] for r in stage.landed().rejects.to_pylist()] == [None] * len(deleted)


def test_an_empty_partition_has_its_place_in_the_ledger_and_holds_nothing_back(stage: Stage) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    traffic.send(notes(3, 300), partition=2)
    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert {p: (e["first"], e["next"]) for p, e in stage.ledger().items()} == {
        0: (0, 0),
        1: (0, 0),
        2: (0, 300),
        3: (0, 0),
    }
    traffic.send(notes(4, 50), partition=0)
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


def test_a_topic_that_does_not_exist_yet_is_waited_for(stage: Stage) -> None:
    neptune = stage.start()
    waiting = neptune.wait_event("waiting", service="kafka")
    assert stage.topic in waiting["reason"]
    assert waiting["limit_s"] == 30
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(notes(5, 200))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(traffic.sent)


# What is gone


def test_what_was_deleted_before_the_start_is_reported_and_counted_as_lost_and_neptune_goes_on(stage: Stage) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(notes(6, 200))
    first = stage.start()
    stage.wait_caught_up(first)
    assert first.terminate() == 0, first.tail()

    landed_to = stage.log_ends()
    traffic.send(notes(7, 400))
    kept_from = {0: landed_to[0] + 40, 1: landed_to[1] + 70}
    kafka.delete_records(stage.kafka.bootstrap, stage.topic, kept_from)
    second = stage.start()
    stage.wait_caught_up(second)

    losses = {e["partition"]: (e["first"], e["next"], e["lost"]) for e in second.events("offsets_lost", level="error")}
    assert losses == {p: (landed_to[p], kept_from[p], kept_from[p] - landed_to[p]) for p in (0, 1)}
    assert {p: entry["lost"] for p, entry in stage.ledger().items()} == {0: 40, 1: 70}
    assert second.total("lost") == 110
    assert second.terminate() == 0, second.tail()
    stage.assert_exact([s for s in traffic.sent if not landed_to[s.partition] <= s.offset < kept_from[s.partition]])


def test_what_is_deleted_under_a_running_neptune_is_reported_and_counted_as_lost(stage: Stage) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    traffic.send(notes(8, 100))
    neptune = stage.start()
    stage.wait_caught_up(neptune)
    with neptune.paused():
        for number in range(10):
            traffic.send(notes(9 + number, 50))
        kafka.delete_records(stage.kafka.bootstrap, stage.topic, {0: 500})
    neptune.wait_event("offsets_lost", level="error")
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    # A fetch that was already under way may have brought some of what was deleted afterwards.
    landed = stage.landed()
    held = {*landed.row_places, *landed.reject_places}
    lost = [s for s in traffic.sent if 100 <= s.offset < 500 and (s.partition, s.offset) not in held]
    assert stage.ledger()[0]["lost"] == len(lost) > 0
    assert_exact([s for s in traffic.sent if s not in set(lost)], landed, stage.log_ends())


def test_a_topic_that_was_deleted_and_created_anew_stops_the_start_in_one_sentence(stage: Stage) -> None:
    stage.create_topic(1)
    stage.traffic().send(notes(20, 100))
    first = stage.start()
    stage.wait_caught_up(first)
    assert first.terminate() == 0, first.tail()
    before = stage.landed()

    stage.kafka.delete_topic(stage.topic)
    stage.create_topic(1)
    stage.traffic().send(notes(21, 500))
    second = stage.start()
    assert second.wait() == 65, second.tail()
    (why,) = second.events("stopped")
    assert why["error"] == "LedgerConflict"
    assert (
        why["reason"]
        == f"topic {stage.topic} was deleted and created anew since table default.{stage.table} took its messages"
    )
    assert "ICEBERG_TABLE" in why["hint"]
    assert stage.landed().rows.num_rows == before.rows.num_rows


def test_a_topic_that_is_created_anew_under_a_running_neptune_is_not_mixed_in(stage: Stage, seed: int) -> None:
    stage.create_topic(1)
    old = stage.traffic()
    old.send(notes(seed, 100))
    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert len(stage.landed().row_places) + len(stage.landed().reject_places) == 100

    stage.kafka.delete_topic(stage.topic)
    stage.create_topic(1)
    stage.traffic().send(notes(seed + 1, 500))
    assert neptune.wait() == 65, neptune.tail()
    assert_stopped(neptune, "LedgerConflict", "created anew")
    assert_exact(old.sent, stage.landed(), {0: 100})


def test_a_ledger_beyond_the_end_of_the_log_stops_the_start_in_one_sentence(stage: Stage) -> None:
    stage.create_topic(1)
    stage.traffic().send(notes(22, 100))
    first = stage.start()
    stage.wait_caught_up(first)
    assert first.terminate() == 0, first.tail()

    _take_more_than_there_is(stage, 150)
    second = stage.start()
    assert second.wait() == 65, second.tail()
    (why,) = second.events("stopped")
    assert why["error"] == "LedgerConflict"
    assert "ends at offset 100" in why["reason"]
    assert "offsets up to 150" in why["reason"]


def _take_more_than_there_is(stage: Stage, next_offset: int) -> None:
    """A ledger as a cluster that tells no topic ids would leave it, whose log was longer."""
    table = stage.load()
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    ledger = json.loads(snapshot.summary.additional_properties[LEDGER_KEY])
    ledger["topic_id"] = None
    ledger["partitions"]["0"]["next"] = next_offset
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties={LEDGER_KEY: json.dumps(ledger)})
    newest = table.refresh().current_snapshot()
    assert newest is not None
    table.manage_snapshots().remove_tag(LEDGER_TAG).commit()
    table.manage_snapshots().create_tag(newest.snapshot_id, LEDGER_TAG).commit()


# Where the first start begins


@pytest.mark.parametrize("start_from", ["earliest", "group", "2025-03-01T12:00:00Z"])
def test_the_very_first_start_begins_where_it_is_told_and_the_ledger_keeps_that_offset(
    stage: Stage, start_from: str
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    traffic.send(notes(30, 100, timestamp_ms=EARLIER_MS))
    middle = stage.log_ends()
    traffic.send(notes(31, 150, timestamp_ms=LATER_MS))
    kafka.commit_group_offsets(stage.kafka.bootstrap, stage.topic, stage.group, {0: 7})

    neptune = stage.start(NEPTUNE_START_FROM=start_from)
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()
    # What the group has not committed is taken from the beginning.
    firsts = {"earliest": {0: 0, 1: 0}, "group": {0: 7, 1: 0}}.get(start_from, middle)
    assert {p: entry["first"] for p, entry in stage.ledger().items()} == firsts
    stage.assert_exact([s for s in traffic.sent if s.offset >= firsts[s.partition]])


def test_the_very_first_start_from_latest_takes_what_comes_after_it_and_a_second_start_loses_nothing(
    stage: Stage,
) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    traffic.send(notes(32, 100))
    neptune = stage.start(NEPTUNE_START_FROM="latest")
    stage.wait_caught_up(neptune)
    traffic.send(notes(33, 50))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    traffic.send(notes(34, 70))
    second = stage.start(NEPTUNE_START_FROM="latest")
    stage.wait_caught_up(second)
    assert second.terminate() == 0, second.tail()
    assert stage.ledger()[0]["first"] == 100
    stage.assert_exact([s for s in traffic.sent if s.offset >= 100])


# Several brokers


@pytest.fixture
def two_brokers() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=2) as cluster:
        yield cluster


@pytest.mark.parametrize("harm", [KafkaBroker.stop, KafkaBroker.kill])
def test_a_leader_that_moves_under_load_costs_nothing_and_commits_go_on_without_the_broker(
    platform: Platform,
    two_brokers: KafkaCluster,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    seed: int,
    harm: Callable[[KafkaBroker], None],
) -> None:
    stage = Stage(platform, own_name(request), tmp_path, two_brokers)
    try:
        stage.create_topic(4)
        traffic = stage.traffic()
        with traffic.load(live_fleet(seed, 500.0), 500.0):
            neptune = stage.start()
            neptune.wait_event("committed", count=2)
            _move_leaders(two_brokers, stage.topic, harm)
            neptune.wait_event("committed", count=len(neptune.events("committed")) + 3)
        stage.wait_caught_up(neptune)
        assert neptune.terminate() == 0, neptune.tail()
        stage.assert_exact(traffic.sent)
    finally:
        stage.close()


def _move_leaders(cluster: KafkaCluster, topic: str, harm: Callable[[KafkaBroker], None]) -> None:
    led_by_second = [p for p, leader in cluster.leaders(topic).items() if leader == 2]
    assert led_by_second
    harm(cluster.nodes[1])
    wait_for(lambda: set(cluster.leaders(topic).values()) == {1}, "the first broker leads all partitions")
