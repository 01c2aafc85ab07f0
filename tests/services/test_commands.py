"""The commands of a person on call, against real servers: could it land, does it land, what was refused, what is in the table."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pyarrow.fs
import pytest
from confluent_kafka.admin import AdminClient

from tests.services.stage import Stage
from tests.services.traffic import past_fleet

LIMIT_S = 60.0
RUN = ("-m", "neptune_flow", "run")
MESSAGES = 2000


def ask(stage: Stage, *words: str, code: int = 0, **changes: str) -> Any:
    """What a command says as JSON; `code` is the exit code that it must end with."""
    process = stage.start(*words, command=("-m", "neptune_flow"), **changes)
    assert process.wait(LIMIT_S) == code, process.text()
    return json.loads(process.text())


def findings(stage: Stage, code: int, **changes: str) -> dict[str, dict[str, Any]]:
    return {f["what"]: f for f in ask(stage, "check", "--json", code=code, **changes)["findings"]}


def wrong(found: dict[str, dict[str, Any]]) -> set[str]:
    return {what for what, finding in found.items() if finding["state"] == "wrong"}


def buckets(stage: Stage) -> set[str]:
    storage = stage.platform.storage
    s3 = pyarrow.fs.S3FileSystem(
        access_key=storage.access_key,
        secret_key=storage.secret_key,
        endpoint_override=storage.endpoint,
        region=storage.region,
    )
    return {found.path for found in s3.get_file_info(pyarrow.fs.FileSelector(""))}


def test_check_before_the_first_start_makes_no_topic_bucket_or_table(stage: Stage) -> None:
    bucket = f"unheard-of-{stage.table.replace('_', '-')}"[:60].rstrip("-")
    before = buckets(stage)
    found = findings(stage, 1, MINIO_BUCKET=bucket)
    assert wrong(found) == {"topic"}
    assert "does not exist yet" in found["topic"]["said"]
    assert "the start makes it" in found["storage"]["said"]
    assert "the start makes it" in found["table"]["said"]
    assert stage.topic not in AdminClient({"bootstrap.servers": stage.kafka.bootstrap}).list_topics(timeout=10).topics
    assert buckets(stage) == before
    assert stage.load() is None


def test_what_runs_is_seen_by_every_command(stage: Stage, seed: int) -> None:
    stage.create_topic(3)
    assert findings(stage, 0)["topic"]["said"] == f"{stage.topic}, 3 partitions, 0 offsets held"
    neptune = stage.start(command=RUN)
    sent = stage.traffic().send(islice(past_fleet(seed, bad_share=0.05), MESSAGES))
    stage.wait_caught_up(neptune)
    status = ask(stage, "status", "--json")
    assert (status["well"], status["lag"], status["kafka_error"]) == (True, 0, None)
    assert {p["partition"]: p["end"] for p in status["partitions"]} == stage.log_ends()
    rows, rejects = (sum(p[name] for p in status["partitions"]) for name in ("rows", "rejects"))
    assert (rows + rejects, rejects > 0) == (len(sent), True)
    assert findings(stage, 0)["ledgers"]["said"] == "agree with each other"
    assert not ask(stage, "contract", "diff", "--json")["refused"]
    assert neptune.terminate() == 0, neptune.tail()

    both = "select (select count(*) from rows) r, (select count(*) from quarantine) q, (select count(distinct (_kafka.partition, _kafka.offset)) from rows) d"
    assert ask(stage, "query", both, "--format", "json") == [{"r": rows, "q": rejects, "d": rows}]
    counted = ask(stage, "quarantine", "list", "--summary", "--json")
    assert (counted["rejects"], sum(counted["partitions"].values())) == (rejects, rejects)
    (newest,) = ask(stage, "quarantine", "list", "--limit", "1", "--json")
    (whole,) = ask(stage, "quarantine", "show", f"{newest['partition']}:{newest['offset']}", "--json")
    assert whole["reasons"] == newest["reasons"]


def test_what_waits_while_nothing_runs_is_told_with_its_age(stage: Stage, seed: int) -> None:
    stage.create_topic(2)
    neptune = stage.start(command=RUN)
    neptune.wait_event("committed")
    neptune.kill()
    sent = stage.traffic().send(islice(past_fleet(seed), 100))
    status = ask(stage, "status", "--json", code=1)
    assert status["lag"] == len(sent) - sum(p["rows"] + p["rejects"] for p in status["partitions"])
    assert status["verdict"].startswith("not landing, or far behind"), "the messages are dated long ago"
    assert status["oldest_wait_s"] > 3600


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"MINIO_SECRET_KEY": "not-the-one"}, "storage"),
        ({"MINIO_ENDPOINT": "http://127.0.0.1:1"}, "storage"),
        ({"ICEBERG_REST_URL": "http://127.0.0.1:1"}, "catalog"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "Kafka"),
    ],
)
def test_a_service_that_is_away_or_refuses_is_named_and_it_alone(
    stage: Stage, changes: dict[str, str], named: str
) -> None:
    stage.create_topic(1)
    found = findings(stage, 1, **changes)
    assert wrong(found) == {named}
    assert found[named]["hint"]
    assert "not-the-one" not in json.dumps(found)
