"""The watch over the topic's id, where nobody answers; where somebody does, it is tested on a real Kafka (`tests/services/test_source.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from confluent_kafka.admin import AdminClient

from neptune_flow.errors import Unavailable
from neptune_flow.kafka import KafkaAddress, Topic, TopicWatch
from neptune_flow.kafka.in_process import InProcessBroker


@dataclass(frozen=True, slots=True)
class CountingAddress(KafkaAddress):
    """Counts the clients that it makes."""

    made: list[str] = field(default_factory=list)

    def admin(self) -> AdminClient:
        self.made.append("admin")
        return KafkaAddress.admin(self)


def test_no_answer_is_no_leave_to_commit_and_the_next_question_is_a_fresh_clients() -> None:
    with InProcessBroker() as broker:  # never answers this question
        address = CountingAddress(broker.bootstrap_servers, "sessions", "neptune")
        watch = TopicWatch(address, Topic("sessions", "an id", (0,)))
        for questions in (1, 2):
            with pytest.raises(Unavailable, match="does not say whether topic sessions is still the same"):
                watch.check()
            assert len(address.made) == questions


def test_a_topic_without_an_id_is_not_asked_for() -> None:
    address = CountingAddress("127.0.0.1:1", "sessions", "neptune")
    TopicWatch(address, Topic("sessions", None, (0,))).check()
    assert address.made == []
