"""`neptune verify` on what Neptune leaves on real servers: whole after kills, transactions and compaction, and Kafka names what is lost."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import Any

from tests.services import traffic as kafka
from tests.services.neptune import wait_for
from tests.services.stage import Stage
from tests.services.test_source import notes
from tests.services.traffic import Note, Sent, live_fleet, past_fleet

RATE = 1000.0
VERIFY_S_MAX = 120.0
COMMAND = ("-m", "neptune_flow", "verify", "--json")


def verify(stage: Stage, *options: str, code: int = 0, **changes: str) -> dict[str, Any]:
    """The command's report; `code` is the exit code that it must end with."""
    process = stage.start(*options, command=COMMAND, **changes)
    assert process.wait(VERIFY_S_MAX) == code, process.text()
    return json.loads(process.text()) if code < 2 else {}


def land(stage: Stage) -> None:
    """Let Neptune take all that is in the topic."""
    neptune = stage.start()
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()


def named(report: dict[str, Any]) -> set[tuple[int, int]]:
    """Partition and offset of all that is named as lost."""
    lost = [(f["partition"], r) for f in report["faults"] if f["kind"] == "lost" for r in f["ranges"]]
    return {(p, o) for p, (first, next) in lost for o in range(first, next)}


def total(report: dict[str, Any], name: str) -> int:
    """A count of the ledger over all partitions."""
    return sum(part["entry"][name] for part in report["partitions"])


def test_tables_are_whole_while_neptune_runs_and_after_it_was_killed(stage: Stage, seed: int) -> None:
    stage.create_topic(3)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        for commits in (1, 3):
            neptune = stage.start(NEPTUNE_WINDOW_S="1")
            neptune.wait_event("committed", count=commits)
            assert verify(stage)["whole"]
            neptune.kill()
    assert verify(stage)["whole"]
    land(stage)
    report = verify(stage, "--kafka")
    assert report["whole"]
    assert [t["rows"] for t in report["tables"]] == [total(report, "rows"), total(report, "rejects")]
    assert total(report, "rows") + total(report, "rejects") == len(traffic.sent)
    assert stage.log_ends() == {p["partition"]: p["entry"]["next"] for p in report["partitions"]}


def test_offsets_of_transactions_are_missing_and_not_lost(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic(**{"transactional.id": stage.topic})
    traffic.producer.init_transactions()
    kept = 0
    for number in range(8):
        traffic.producer.begin_transaction()
        taken = traffic.send(notes(seed + number, 50))
        if number % 3:
            traffic.producer.commit_transaction()
            kept += len(taken)
        else:
            traffic.producer.abort_transaction()
    land(stage)
    report = verify(stage, "--kafka")
    assert report["whole"]
    missing = sum(p["missing"] for p in report["partitions"])
    assert missing == total(report, "left_out") == len(traffic.sent) - kept + 8 * 2
    assert f"Kafka was asked about {missing} and delivers 0" in report["notes"][0]


def test_a_compacted_topic_is_whole(stage: Stage, seed: int) -> None:
    stage.create_topic(1, cleanup_policy="compact", segment_ms="50", min_cleanable_dirty_ratio="0.001")
    traffic = stage.traffic()
    keys = [f"vehicle-{number}".encode() for number in range(20)]
    for number in range(5):
        messages = notes(seed + number, 20, bad_share=0)
        traffic.send(Note(m.value, key) for m, key in zip(messages, keys, strict=True))
    # The segment that is written to is never compacted: a message of a second later begins the next one.
    traffic.send([notes(seed, 1, bad_share=0)[0]._replace(key=b"last", timestamp_ms=int(time.time() * 1000) + 1000)])
    newest = set({s.key: (s.partition, s.offset) for s in traffic.sent}.values())
    wait_for(lambda: kafka.readable(stage.kafka.bootstrap, stage.topic) == newest, "Kafka has compacted", 60.0)
    land(stage)
    report = verify(stage, "--kafka")
    assert report["whole"]
    assert total(report, "left_out") == len(traffic.sent) - len(newest)


def test_messages_that_are_lost_are_named_by_kafka_as_long_as_it_holds_them(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    traffic = stage.traffic(**{"transactional.id": stage.topic})
    traffic.producer.init_transactions()
    for number in range(5):
        traffic.producer.begin_transaction()
        traffic.send(islice(past_fleet(seed + number), 200))
        traffic.producer.commit_transaction()
    land(stage)
    lost = delete_a_session(stage, traffic.sent)

    report = verify(stage, code=1)
    assert named(report) == lost
    assert {f["what"].partition(" ")[2] for f in report["faults"]} <= {
        "messages in no table, which Kafka still delivers",
        "message in no table, which Kafka still delivers",
    }
    assert "another program has removed rows: snapshot" in report["faults"][0]["hint"]

    alone = verify(stage, "--no-kafka", code=1)
    assert named(alone) > lost
    assert all("they are among" in f["what"] for f in alone["faults"])

    bounded = verify(stage, "--kafka-messages-max", "1", code=1)
    assert "were not asked, see --kafka-messages-max" in bounded["notes"][0]

    kafka.delete_records(stage.kafka.bootstrap, stage.topic, stage.log_ends())
    late = verify(stage, "--kafka", code=1)
    assert "are older than its log" in late["notes"][0]
    assert sum(f["offsets"] for f in late["faults"]) == sum(f["offsets"] for f in alone["faults"])


def delete_a_session(stage: Stage, sent: list[Sent]) -> set[tuple[int, int]]:
    """Another program deletes the rows of one session; their places."""
    table = stage.load()
    assert table is not None
    (session,) = table.scan(selected_fields=("session_id",), limit=1).to_arrow().column("session_id").to_pylist()
    table.delete(f"session_id = '{session}'")
    good = [s for s in sent if s.refusal is None and s.value is not None]
    return {(s.partition, s.offset) for s in good if json.loads(s.value or b"")["session_id"] == session}


def test_a_topic_that_was_created_anew_is_strange(stage: Stage, seed: int) -> None:
    stage.create_topic(1)
    stage.traffic().send(notes(seed, 100))
    land(stage)
    stage.kafka.delete_topic(stage.topic)
    stage.create_topic(1)
    (fault,) = verify(stage, code=1)["faults"]
    assert fault["kind"] == "strange"
    assert "the topic was created anew" in fault["what"]
    assert verify(stage, "--no-kafka")["whole"]


def test_a_service_that_is_away_ends_with_2_but_for_kafka(stage: Stage, seed: int) -> None:
    stage.create_topic(1)
    stage.traffic().send(notes(seed, 100))
    land(stage)
    nowhere = "127.0.0.1:1"
    verify(stage, code=2, ICEBERG_REST_URL=f"http://{nowhere}")
    verify(stage, code=2, MINIO_ENDPOINT=f"http://{nowhere}", NEPTUNE_RETRY_S_MAX="5")
    verify(stage, "--kafka", code=2, KAFKA_BOOTSTRAP_SERVERS=nowhere)
    report = verify(stage, KAFKA_BOOTSTRAP_SERVERS=nowhere)
    assert report["whole"]
    assert "judged from the tables alone, since Kafka could not be asked" in report["notes"][0]
