"""`neptune simulate`: produces what it says, with traces where they are asked for."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Message, TopicPartition

from neptune_flow.cli import main
from neptune_flow.kafka.in_process import InProcessBroker

ROOT = Path(__file__).parents[2]
W3C = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]")


def simulate(broker: InProcessBroker, *options: str) -> str:
    # It does not answer who asks it to make a topic.
    broker.make_topic("trips")
    env = {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "KAFKA_TOPIC": "trips"}
    done = CliRunner(env=env).invoke(main, ["simulate", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def messages(broker: InProcessBroker, count: int) -> list[Message]:
    own = {"group.id": "t", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, **own})
    consumer.assign([TopicPartition("trips", p, 0) for p in range(4)])
    found = consumer.consume(count, timeout=10)
    consumer.close()
    assert len(found) == count
    return found


def contexts(broker: InProcessBroker, count: int) -> list[str]:
    """The `traceparent` of each message that has one."""
    headers = [dict(message.headers() or []) for message in messages(broker, count)]
    return [value.decode() for h in headers if isinstance(value := h.get("traceparent"), bytes)]


def test_traces_are_w3c_contexts_of_which_a_part_is_sampled(broker: InProcessBroker) -> None:
    simulate(broker, "--count", "400", "--rate", "max", "--traces", "0.25")
    found = contexts(broker, 400)
    assert all(W3C.fullmatch(context) for context in found)
    assert len({context[3:35] for context in found}) == 400
    assert 60 <= sum(context.endswith("-01") for context in found) <= 140


@pytest.mark.parametrize(("share", "flags"), [("0", "00"), ("1", "01")])
def test_none_or_all_are_sampled(broker: InProcessBroker, share: str, flags: str) -> None:
    simulate(broker, "--count", "20", "--rate", "max", "--traces", share)
    assert [context[-2:] for context in contexts(broker, 20)] == [flags] * 20


def test_without_traces_no_header_is_added(broker: InProcessBroker) -> None:
    said = simulate(broker, "--count", "20", "--rate", "max", "--bad-share", "0")
    assert said == "20 messages to topic trips, 0 of them bad:\n"
    assert contexts(broker, 20) == []


def test_ctrl_c_ends_it_in_order_with_the_count(broker: InProcessBroker) -> None:
    broker.make_topic("trips")
    process = subprocess.Popen(
        [sys.executable, "-m", "neptune_flow", "simulate", "--rate", "100"],
        cwd=ROOT,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "KAFKA_TOPIC": "trips"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        messages(broker, 1)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert " messages to topic trips, " in output
