"""An outage of Kafka while reading: when it begins, when it ends, and that log, metrics and limit have one clock."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import pytest

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.client import close
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.outage import OutageWatch
from neptune_flow.telemetry import configure_logging
from neptune_flow.vitals import Vitals

NOBODY = "127.0.0.1:1"
TIMEOUT_S = 1.0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    monkeypatch.setattr("neptune_flow.kafka.outage.PROBE_INTERVAL_S", 0.0)
    monkeypatch.setattr("neptune_flow.kafka.outage.PROBE_TIMEOUT_S", TIMEOUT_S)
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    yield stream
    configure_logging("WARNING", "json")


def test_an_outage_begins_with_the_question_that_was_not_answered_and_is_told_once(log: io.StringIO) -> None:
    address, vitals = KafkaAddress(NOBODY, "sessions", "neptune"), Vitals()
    consumer = address.consumer(error_cb=lambda _error: None)
    watch = OutageWatch(address, 60.0, time.monotonic, vitals)
    asked_s = time.time()
    watch.after_poll(consumer, is_silent=True)
    assert time.time() - asked_s >= TIMEOUT_S
    assert vitals.outages["kafka"].since_s == pytest.approx(asked_s, abs=0.5)
    watch.begin("the client says so, too")
    assert watch.is_known
    (line,) = (json.loads(text) for text in log.getvalue().splitlines())
    assert (line["event"], line["servers"], line["limit_s"]) == ("kafka_away", NOBODY, 60.0)
    assert vitals.retries == {"kafka": 1}
    close(consumer)


def test_an_outage_that_lasts_longer_than_its_limit_ends_the_reading(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune_flow.kafka.outage.PROBE_INTERVAL_S", 5.0)
    now_s = [0.0]
    address, vitals = KafkaAddress(NOBODY, "sessions", "neptune"), Vitals()
    consumer = address.consumer(error_cb=lambda _error: None)
    watch = OutageWatch(address, 9.0, lambda: now_s[0], vitals)
    for now_s[0] in (5.0, 10.0):
        watch.after_poll(consumer, is_silent=True)
    now_s[0] = 15.0
    with pytest.raises(Unavailable, match="has been away for 10 s"):
        watch.after_poll(consumer, is_silent=True)
    close(consumer)


def test_the_wait_of_the_client_counts_and_the_end_is_told_with_the_whole_of_it(log: io.StringIO) -> None:
    vitals = Vitals()
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        address = KafkaAddress(broker.bootstrap_servers, "sessions", "neptune")
        consumer = address.consumer(error_cb=lambda _error: None)
        watch = OutageWatch(address, 60.0, time.monotonic, vitals)
        began_s = time.time()
        watch.begin("all brokers are down")
        since_s = vitals.outages["kafka"].since_s
        assert began_s <= since_s <= time.time()
        time.sleep(0.3)
        watch.after_poll(consumer, is_silent=True)
        back = json.loads(log.getvalue().splitlines()[-1])
        assert (back["event"], vitals.outages) == ("kafka_back", {})
        assert back["away_s"] == pytest.approx(time.time() - since_s, abs=0.2)
        close(consumer)
