"""Which partitions are idle: read to the log's end, and without a message for the idle timeout.

That closes a partition's open window, and what comes for it afterwards is late. So silence alone is no proof: messages may wait in Kafka while it is
away, or while the flow stands still in front of some other outage. Kafka is asked where the log ends, and only if all of it has been read the partition is idle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from neptune_flow.errors import Unavailable
from neptune_flow.kafka.client import KafkaAddress
from neptune_flow.kafka.topic import log_range

ASK_TIMEOUT_S = 2.0
"""No answer for so long means "not known"; the flow stands still meanwhile."""

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
        self._unsure: set[int] = set()
        """Silent ones whose log's end was not told, or not read yet; others are asked about first."""
        self._look_at_s = -math.inf
        """Nobody becomes idle before."""

    def heard(self, partition: int) -> None:
        """The reading of a partition begins, or its position has moved: it is not idle."""
        self._heard_at_s[partition] = self._clock_s()
        self._unsure.discard(partition)
        self._look_at_s = min(self._look_at_s, self._heard_at_s[partition] + self._idle_timeout_s)

    def forget(self, partition: int) -> None:
        """It is idle, or not read any more."""
        self._heard_at_s.pop(partition, None)
        self._unsure.discard(partition)

    def find(self, consumer: Any, position_of: Callable[[int], int]) -> Iterator[int]:
        """Those that have become idle since; to be called when the client has handed over all that it holds.

        Raises:
            AccessDenied: the credentials do not allow the question any more.
        """
        now_s = self._clock_s()
        if now_s < self._look_at_s:
            return
        silent = [p for p, heard_at_s in self._heard_at_s.items() if now_s - heard_at_s >= self._idle_timeout_s]
        for partition in sorted(silent, key=lambda p: p in self._unsure):
            if self._log_end(consumer, partition) != position_of(partition):
                self._unsure.add(partition)
                self._look_at_s = now_s + ASK_INTERVAL_S
                return
            self.forget(partition)
            yield partition
        self._look_at_s = min(self._heard_at_s.values(), default=math.inf) + self._idle_timeout_s

    def _log_end(self, consumer: Any, partition: int) -> int | None:
        try:
            return log_range(consumer, self._address, partition, ASK_TIMEOUT_S)[1]
        except Unavailable:
            return None
