"""The simulator's command: produces what it says it produced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from neptune_flow.kafka.in_process import InProcessBroker


@pytest.fixture
def broker() -> Iterator[InProcessBroker]:
    with InProcessBroker() as started:
        yield started


def simulate(broker: InProcessBroker | None, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    address = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers} if broker else {}
    return subprocess.run(
        [sys.executable, "-m", "neptune_flow.simulator", *arguments],
        env={**os.environ, **address, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_produces_the_count_to_the_topic_of_the_settings(broker: InProcessBroker) -> None:
    done = simulate(broker, "--count", "300", "--bad-share", "0.5", KAFKA_TOPIC="trips")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("300 messages to topic trips, ")
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "t"})
    ends = [consumer.get_watermark_offsets(TopicPartition("trips", p), timeout=10)[1] for p in range(4)]
    consumer.close()
    assert sum(ends) == 300


def test_a_wrong_setting_ends_it_with_the_code_for_it() -> None:
    done = simulate(None, "--count", "1", KAFKA_TOPIC="a b")
    assert done.returncode == 78
    assert "KAFKA_TOPIC is 'a b'" in done.stderr


@pytest.mark.parametrize("arguments", [("--count", "0"), ("--rate", "-1"), ("--bad-share", "2"), ("--start", "now")])
def test_a_wrong_argument_is_refused(arguments: tuple[str, str]) -> None:
    assert simulate(None, *arguments).returncode == 2
