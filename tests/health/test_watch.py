"""Probes and movement: what is remembered of each answer, of none, and of a flow that stands still."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from confluent_kafka import Producer

from neptune_flow.errors import NeptuneError, Unavailable
from neptune_flow.health import HealthWatch, State, Verdict
from neptune_flow.health.probes import ANSWER_S_MAX, AWAY_INTERVAL_S, PROBE_INTERVAL_S, Probe
from neptune_flow.health.watch import NOT_LOOKED_S_MAX, Movement, _steps
from neptune_flow.iceberg import Lake
from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.kafka.probe import TopicProbe
from neptune_flow.settings import Settings
from neptune_flow.telemetry import configure_logging
from neptune_flow.vitals import Phase, Vitals

LIMIT_S = 20.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_probe_turns_with_what_its_service_answers_and_keeps_since_when() -> None:
    errors: list[Exception | None] = [None, None, Unavailable("it is away", detail="in detail"), Unavailable("still")]

    def ask() -> None:
        if error := errors.pop(0):
            raise error

    probe = Probe("kafka", ask)
    assert probe.service(time.time()).state is State.UNKNOWN
    probe.ask_once()
    first = probe.service(time.time())
    probe.ask_once()
    second = probe.service(time.time())
    assert (first.state, second.state, first.since_s) == (State.UP, State.UP, second.since_s)
    assert second.latency_ms is not None
    probe.ask_once()
    away = probe.service(time.time())
    assert (away.state, away.error, away.latency_ms) == (State.AWAY, "it is away", None)
    probe.ask_once()
    assert probe.service(time.time())._replace(error="it is away") == away


def test_a_defect_in_a_question_does_not_look_like_a_service_that_is_well_and_quotes_nothing() -> None:
    def ask() -> None:
        raise ValueError("with a secret in it")

    probe = Probe("catalog", ask)
    probe.ask_once()
    found = probe.service(time.time())
    assert (found.state, found.error) == (State.AWAY, "the question failed with ValueError")


def test_a_question_that_hangs_counts_as_not_answered_and_holds_up_no_other() -> None:
    release = threading.Event()
    hangs = Probe("storage", lambda: release.wait(LIMIT_S))
    asking = threading.Thread(target=hangs.ask_once)
    asking.start()
    well = Probe("catalog", lambda: None)
    well.ask_once()
    now_s = time.time()
    assert hangs.service(now_s).state is State.UNKNOWN
    late = hangs.service(now_s + ANSWER_S_MAX + 5)
    assert (late.state, late.error) == (State.AWAY, f"no answer for {ANSWER_S_MAX + 5:.0f} s")
    assert well.service(now_s).state is State.UP
    release.set()
    asking.join()
    assert hangs.service(time.time()).state is State.UP


def test_a_service_that_is_away_is_asked_sooner_and_one_whose_answer_takes_the_processor_more_seldom() -> None:
    answers = [0.3, None, 0.3, 0.3]

    def ask() -> None:
        busy_s = answers.pop(0)
        if busy_s is None:
            raise Unavailable("away")
        until_s = time.thread_time() + busy_s
        while time.thread_time() < until_s:
            pass

    probe = Probe("catalog", ask)
    probe.ask_once()
    assert probe.pause_s() == PROBE_INTERVAL_S
    probe.ask_once()
    assert probe.pause_s() == AWAY_INTERVAL_S
    probe.ask_once()
    probe.ask_once()
    assert 15 <= probe.pause_s() < 30


def test_kafka_is_asked_with_a_client_of_its_own_that_is_made_anew_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("neptune_flow.kafka.probe.PROBE_TIMEOUT_S", 3.0)
    with InProcessBroker() as broker:
        address = KafkaAddress(broker.bootstrap_servers, "sessions", "neptune")
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        probe = TopicProbe(address)
        assert set(probe.ask()) == {0, 1, 2, 3}
        producer.produce("sessions", b"value", partition=2)
        producer.flush()
        assert probe.ask() == {0: 0, 1: 0, 2: 1, 3: 0}
        del producer
    for _ in range(2):
        with pytest.raises(Unavailable, match="no answer"):
            probe.ask()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    catalog = f'{{"type": "sql", "uri": "sqlite:///{tmp_path}/catalog.db", "warehouse": "file://{tmp_path}"}}'
    return Settings.load({"NEPTUNE_CATALOG_PROPERTIES": catalog, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"})


def test_nothing_is_asked_while_the_process_starts_and_each_service_is_asked_when_it_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune_flow.health.probes.AWAY_INTERVAL_S", 0.05)
    monkeypatch.setattr("neptune_flow.kafka.probe.PROBE_TIMEOUT_S", 0.2)
    vitals = Vitals()
    watch = HealthWatch(settings, vitals)
    watch.start()
    time.sleep(0.3)
    assert {s.state for s in watch.verdict().services.values()} == {State.UNKNOWN}
    vitals.phase = Phase.RUNNING
    wait_for(lambda: watch.verdict().services["catalog"].state is State.AWAY, "the table is missed")
    found = watch.verdict().services
    assert found["catalog"].error == "table default.raw_delivery_data does not exist"
    assert found["storage"].state is State.UNKNOWN, "nobody knows yet where the table lies"
    day = pa.schema([pa.field("day", pa.date32())])
    Lake.of(settings).ensure_table(("default",), "raw_delivery_data", day, day_column="day")
    wait_for(lambda: watch.verdict().services["storage"].state is State.UP, "storage is asked")
    assert watch.verdict().services["catalog"].state is State.UP
    wait_for(lambda: watch.verdict().services["kafka"].state is State.AWAY, "Kafka is away")
    assert vitals.away_since() == {
        "kafka": watch.verdict().services["kafka"].since_s,
        "storage": None,
        "catalog": None,
    }
    assert watch.verdict().reasons[0].startswith("kafka has been away for ")


def test_the_log_says_once_that_reading_is_paused_and_once_that_it_goes_on(settings: Settings) -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    vitals = Vitals(phase=Phase.RUNNING)
    watch = HealthWatch(settings, vitals)
    paused = "reading is paused for 16 s until storage is back: 7 messages wait in Kafka"
    for why in ("", paused, paused, "", ""):
        watch._tell_reading(Verdict(live=True, ready=not why, state="running", reasons=(), services={}, paused=why))
    configure_logging("WARNING", "json")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(e["event"], e.get("reason")) for e in lines] == [("reading_paused", paused), ("reading_resumed", None)]


def _asked_again(vitals: Vitals) -> None:
    vitals.waits_for("catalog", "away")


def _committed(vitals: Vitals) -> None:
    vitals.committed["commits"] += 1


def _moved_time(vitals: Vitals) -> None:
    vitals.partition(0).watermark = 5


def _drains(vitals: Vitals) -> None:
    vitals.phase = Phase.DRAINING


def test_the_lag_of_partitions_that_this_process_reads_grows_while_its_flow_hears_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune_flow.health.probes.PROBE_INTERVAL_S", 0.05)
    with InProcessBroker() as broker:
        broker.make_topic("sessions")
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})
        vitals = Vitals(phase=Phase.RUNNING)
        mine, others = vitals.partition(0), vitals.partition(1)
        mine.log_end = mine.ledger_next = others.ledger_next = 0
        HealthWatch(settings.model_copy(update={"kafka": kafka}), vitals).start()
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        for partition in (0, 1, 0):
            producer.produce("sessions", b"value", partition=partition)
        producer.flush()
        wait_for(lambda: mine.lag == 2, "the probe tells the log's end")
        assert others.lag is None
        del producer


def test_a_flow_stands_still_until_any_step_leaves_a_trace() -> None:
    now_s = [0.0]
    vitals = Vitals(phase=Phase.RUNNING)
    movement = Movement(lambda: _steps(vitals), clock_s=lambda: now_s[0])

    def still_s_after(seconds: float) -> float:
        now_s[0] += seconds
        return movement.still_s()

    assert still_s_after(0) == 0
    assert still_s_after(10) == 10
    assert still_s_after(10) == 20
    vitals.partition(0).messages = 1
    assert still_s_after(10) == 0
    for move in (_asked_again, _committed, _moved_time, _drains):
        assert still_s_after(10) == 10
        move(vitals)
        assert still_s_after(1) == 0


def test_a_process_that_was_frozen_as_a_whole_is_not_blamed_for_it() -> None:
    now_s = [0.0]
    movement = Movement(lambda: "the same", clock_s=lambda: now_s[0])
    now_s[0] = NOT_LOOKED_S_MAX
    assert movement.still_s() == 0, "the first look"
    now_s[0] += NOT_LOOKED_S_MAX
    assert movement.still_s() == NOT_LOOKED_S_MAX
    now_s[0] += NOT_LOOKED_S_MAX + 3600
    assert movement.still_s() == 0


def test_the_errors_of_neptune_are_told_in_their_first_sentence_alone() -> None:
    def ask() -> None:
        raise NeptuneError("the catalog does not answer", detail="http://user:password@host", hint="look")

    probe = Probe("catalog", ask)
    probe.ask_once()
    assert probe.service(time.time()).error == "the catalog does not answer"
