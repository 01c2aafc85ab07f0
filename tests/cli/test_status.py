"""`neptune status`: whether data lands, how fresh and how complete, told from tables and Kafka alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from confluent_kafka import Producer

from tests.cli.shelf import DAY, TOPIC, Shelf, good
from tests.iceberg.worlds import stock

ROOT = Path(__file__).parents[2]
HOUR_MS = 3_600_000


def send(shelf: Shelf, count: int, *, partition: int = 0, age_ms: int = 0) -> None:
    """Messages to the topic, dated so long ago."""
    producer = Producer({"bootstrap.servers": shelf.kafka})
    for number in range(count):
        time_ms = time.time_ns() // 1_000_000 - age_ms + number
        producer.produce(TOPIC, b"{}", partition=partition, timestamp=time_ms)
    assert producer.flush(10) == 0


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 1), result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["well"] == (result.exit_code == 0)
    return document


def test_a_table_that_has_all_that_kafka_holds_is_well(lake: Shelf) -> None:
    send(lake, 4)
    lake.land([*good(3), None])
    status = told(lake.neptune("status", "--json"))
    assert status["well"]
    assert (status["verdict"], status["lag"]) == ("all that Kafka holds has landed", 0)
    assert status["complete_up_to"] == f"{DAY:%Y-%m-%dT%H:%M:%S}.000000Z"
    assert status["quarantine_share"] == 0.25
    assert 0 <= status["freshness_s"] < 60
    first = status["partitions"][0]
    assert {k: first[k] for k in ("partition", "next", "end", "lag", "rows", "rejects", "waiting_since")} == {
        "partition": 0,
        "next": 4,
        "end": 4,
        "lag": 0,
        "rows": 3,
        "rejects": 1,
        "waiting_since": None,
    }


def test_what_waits_for_its_window_is_well_and_is_told_with_its_age(lake: Shelf) -> None:
    send(lake, 2)
    send(lake, 3, age_ms=20_000)
    lake.land(good(2))
    status = told(lake.neptune("status", "--json"))
    assert status["well"]
    assert status["lag"] == 3
    assert 20 <= status["oldest_wait_s"] < 60
    assert status["verdict"].startswith("3 offsets wait, the oldest message for 2")
    since = datetime.fromisoformat(status["partitions"][0]["waiting_since"]).timestamp()
    assert 20 <= datetime.now(UTC).timestamp() - since < 60


def test_a_message_that_has_waited_for_longer_than_it_may_is_wrong(lake: Shelf) -> None:
    """The last commit is fresh all the same: another partition lands."""
    lake.land(good(2), partition=1)
    send(lake, 2, partition=1)
    send(lake, 1, partition=2, age_ms=HOUR_MS)
    shown = lake.neptune("status")
    assert shown.exit_code == 1
    assert shown.stdout.startswith("not landing, or far behind: 1 offsets wait, the oldest message for 3,6")


def test_an_old_commit_is_well_where_nothing_has_come_since(lake: Shelf) -> None:
    lake.land(good(1))
    send(lake, 1, age_ms=HOUR_MS)
    assert told(lake.neptune("status", "--json"))["well"]


def test_the_last_commits_are_told_newest_first_with_who_made_them(lake: Shelf) -> None:
    lake.land([*good(3), None])
    lake.land(good(2))
    stock(lake.rows).append(stock(lake.rows).scan(limit=1).to_arrow())
    status = told(lake.neptune("status", "--json", "--commits", "2"))
    assert [(c["by"], c["rows"], c["files"]) for c in status["commits"]] == [
        ("another program", 1, 1),
        ("neptune", 2, 1),
    ]
    committed = {s.snapshot_id: s.timestamp_ms for s in lake.rows.snapshots()}
    ours = status["commits"][1]
    assert datetime.fromisoformat(ours["at"]).timestamp() * 1000 == committed[ours["snapshot_id"]]
    assert status["committed_at"] == ours["at"], "a foreign commit is no sign that Neptune lives"


def test_where_neptune_would_stop_the_reason_is_told_and_ends_with_1(lake: Shelf) -> None:
    lake.land([*good(2), None])
    lake.rows.catalog.drop_table(lake.rows.identifier)
    Shelf(lake.folder)
    shown = lake.neptune("status")
    assert shown.exit_code == 1
    assert shown.stdout.startswith(
        "Neptune stops here: table default.raw_delivery_data and its quarantine do not belong"
    )
    assert "hint: " in shown.stdout


def test_without_an_answer_from_kafka_the_tables_are_told_and_it_ends_with_1(shelf: Shelf) -> None:
    shelf.land(good(2))
    away = told(shelf.neptune("status", "--json"))
    assert not away["well"]
    assert away["kafka_error"].startswith("Kafka at 127.0.0.1:1")
    assert (away["lag"], away["partitions"][0]["next"]) == (None, 2)
    assert told(shelf.neptune("status", "--json", "--no-kafka"))["well"], "who does not ask does not mind"


def test_before_the_first_commit_what_waits_is_told(lake: Shelf) -> None:
    send(lake, 2)
    status = told(lake.neptune("status", "--json"))
    assert (status["lag"], status["committed_at"]) == (2, None)
    assert status["partitions"][0]["next"] is None


def test_before_the_first_start_what_kafka_holds_is_told(lake: Shelf) -> None:
    send(lake, 2, age_ms=60_000)
    missing = told(lake.neptune("status", "--json", ICEBERG_TABLE="others"))
    assert not missing["well"]
    assert missing["verdict"] == "nothing has landed: there is no table default.others yet, and 2 offsets wait"
    assert {p["partition"]: p["end"] for p in missing["partitions"]} == {0: 2, 1: 0, 2: 0, 3: 0}
    assert missing["oldest_wait_s"] >= 60
    shown = lake.neptune("status", ICEBERG_TABLE="others").stdout
    assert "check ICEBERG_NAMESPACE and ICEBERG_TABLE" in shown


def test_a_table_of_rows_that_is_missing_beside_its_quarantine_is_no_first_start(lake: Shelf) -> None:
    stock(lake.rows).catalog.drop_table(("default", "raw_delivery_data"))
    missing = lake.neptune("status")
    assert missing.exit_code == 2
    assert "there is no table default.raw_delivery_data" in missing.stderr


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_watching_looks_again_until_ctrl_c(lake: Shelf, form: list[str]) -> None:
    lake.land(good(2))
    send(lake, 2)
    watch = subprocess.Popen(
        [sys.executable, "-m", "neptune_flow", "status", "--watch", "0.5", *form],
        cwd=ROOT,
        env={**os.environ, **lake.settings()},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    try:
        if form:
            looks = [json.loads(watch.stdout.readline()) for _ in range(2)]
            assert [look["lag"] for look in looks] == [0, 0]
            send(lake, 1)
            while json.loads(watch.stdout.readline())["lag"] != 1:
                pass
        else:
            for _ in range(2):
                while watch.stdout.readline() != "all that Kafka holds has landed\n":
                    assert watch.poll() is None
        watch.send_signal(signal.SIGINT)
        watch.communicate(timeout=30)
    finally:
        watch.kill()
    assert watch.returncode == 0
