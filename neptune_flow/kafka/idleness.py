"""Which partitions are idle: read to the log's end, and without a message for the idle timeout.

That closes a partition's open window, and what comes for it afterwards is late. So silence alone is no proof: messages may wait in Kafka while it is
away, or while the flow stands still in front of some other outage. Kafka is asked where the log ends, and only if all of it has been read the partition is idle.
What a transaction holds that is still open counts as part of the log.

Nobody waits for the answer: one question for all partitions that are silent, of a client of its own (one that fetches answers late), and its answer
is looked at when it has come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec  # type: ignore[attr-defined]

from neptune_flow.kafka.client import KafkaAddress

ASK_TIMEOUT_S = 2.0
"""No answer for so long means "not known"."""

ASK_INTERVAL_S = 5.0
"""After a log's end that is not known or not read yet, nobody is asked again for so long."""


class IdleWatch:
    """Finds the partitions of one reader that have become idle."""

    def __init__(self, address: KafkaAddress, idle_timeout_s: float, clock_s: Callable[[], float]) -> None:
        self._address = address
        self._idle_timeout_s = idle_timeout_s
        self._clock_s = clock_s
        self._heard_at_s: dict[int, float] = {}
        """Of those that are not idle."""
        self._look_at_s = -math.inf
        """Nobody becomes idle before."""
        self._admin: AdminClient | None = None
        self._asked: Mapping[TopicPartition, Future[ListOffsetsResultInfo]] = {}

    def heard(self, partition: int) -> None:
        """The reading of a partition begins, or its position has moved: it is not idle."""
        now_s = self._heard_at_s[partition] = self._clock_s()
        self._look_at_s = min(self._look_at_s, now_s + self._idle_timeout_s)

    def forget(self, partition: int) -> None:
        """It is idle, or not read any more."""
        self._heard_at_s.pop(partition, None)

    def find(self, position_of: Callable[[int], int]) -> Iterable[int]:
        """Those that have become idle since; to be called when the client has handed over all that it holds."""
        if self._asked:
            return self._answered(position_of)
        if self._clock_s() >= self._look_at_s:
            self._ask(self._silent())
        return ()

    def _silent(self) -> list[int]:
        now_s = self._clock_s()
        return [p for p, heard_at_s in self._heard_at_s.items() if now_s - heard_at_s >= self._idle_timeout_s]

    def _next_idle_at_s(self) -> float:
        return min(self._heard_at_s.values(), default=math.inf) + self._idle_timeout_s

    def _ask(self, silent: list[int]) -> None:
        if silent:
            self._admin = self._admin or self._address.admin()
            self._asked = self._admin.list_offsets(
                {TopicPartition(self._address.topic, p): OffsetSpec.latest() for p in silent},  # type: ignore[no-untyped-call]
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=ASK_TIMEOUT_S,
            )
        self._look_at_s = self._next_idle_at_s()

    def _answered(self, position_of: Callable[[int], int]) -> Iterable[int]:
        if not all(answer.done() for answer in self._asked.values()):
            return ()
        ends = {part.partition: _end(answer) for part, answer in self._asked.items()}
        self._asked = {}
        idle = [p for p in self._silent() if p in ends and ends[p] == position_of(p)]
        for partition in idle:
            self.forget(partition)
        self._look_at_s = self._next_idle_at_s()
        if len(idle) < len(ends):
            self._look_at_s = max(self._look_at_s, self._clock_s() + ASK_INTERVAL_S)
        return idle


def _end(answer: Future[ListOffsetsResultInfo]) -> int | None:
    """Negative where the partition's leader did not answer."""
    try:
        return answer.result().offset
    except KafkaException:
        return None
