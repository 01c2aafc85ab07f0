"""Which offsets of given ranges Kafka delivers, read as the flow reads: committed messages only. Values are thrown away.

Ranges that lie near each other are read as one, since a jump costs a round trip and what the client had fetched ahead; what lies between them
comes along and is the caller's to leave out. `messages_max` bounds all that one Ranges delivers, however many ranges are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, TopicPartition

from neptune_flow.errors import AccessDenied, Unavailable
from neptune_flow.kafka.client import KafkaAddress, LastError, error_of
from neptune_flow.kafka.topic import OUT_OF_RANGE, log_range

Range = tuple[int, int]
"""`[first, next)`."""

GAP_OFFSETS_MAX = 2000
"""Ranges so near are read as one: about what one fetch brings anyway."""

CALL_MESSAGES_MAX = 1000
PREFETCH_KBYTES = 4096
"""What the client fetches ahead is lost at each jump."""

SILENCE_S_MAX = 30.0
"""A partition that delivers neither a message nor its end for so long is given up: a broker that is there answers in milliseconds."""


class Ranges:
    """Reads ranges of one topic; close it, or use it in a `with` block. All calls come from one thread."""

    def __init__(self, address: KafkaAddress, messages_max: int) -> None:
        self._address = address
        self._left = messages_max
        self._why = LastError()
        self._consumer = address.consumer(
            error_cb=self._why, properties={"queued.max.messages.kbytes": PREFETCH_KBYTES}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    @property
    def is_exhausted(self) -> bool:
        """Whether `messages_max` messages have been delivered: nothing more is read."""
        return self._left <= 0

    def held(self, partition: int) -> Range:
        """The offsets from the first that Kafka still holds to the log's end.

        Raises:
            Unavailable, AccessDenied: the broker did not answer, or refused.
        """
        return log_range(self._consumer, self._address, partition)

    def delivered(self, partition: int, first: int, next: int) -> Iterator[npt.NDArray[np.int64]]:
        """The offsets in `[first, next)` that Kafka delivers, ascending, in pieces. Ends early once it is exhausted.

        Raises:
            Unavailable, AccessDenied: the broker did not answer, or refused.
        """
        position = first
        self._assign(partition, position)
        heard_s = time.monotonic()
        while position < next and not self.is_exhausted:
            messages: Sequence[Any] = self._consumer.consume(CALL_MESSAGES_MAX, timeout=1.0)
            offsets = np.array([m.offset() for m in messages if m.error() is None], dtype=np.int64)
            if len(offsets):
                position = int(offsets[-1]) + 1
                self._left -= len(offsets)
                yield offsets[offsets < next]
            for error in filter(None, (m.error() for m in messages)):
                position = self._after(error, partition, position, next)
            heard_s = self._check_silence(partition, time.monotonic() if messages else heard_s)
        self._consumer.unassign()

    def _assign(self, partition: int, position: int) -> None:
        self._consumer.assign([TopicPartition(self._address.topic, partition, position)])

    def _after(self, error: KafkaError, partition: int, position: int, next: int) -> int:
        """Where the reading goes on after an event that is no message."""
        if error.code() == KafkaError._PARTITION_EOF:
            return next
        if error.code() in OUT_OF_RANGE:
            position = max(position, self.held(partition)[0])
            self._assign(partition, position)
        elif isinstance(problem := error_of(error, self._address, "reading"), AccessDenied):
            raise problem
        return position

    def _check_silence(self, partition: int, heard_s: float) -> float:
        if time.monotonic() - heard_s > SILENCE_S_MAX:
            raise Unavailable(
                f"Kafka at {self._address.bootstrap_servers}, topic {self._address.topic}: "
                f"partition {partition} delivers nothing for {SILENCE_S_MAX:g} s",
                detail=self._why.text,
            )
        return heard_s


def merged(ranges: Iterable[Range]) -> Iterator[Range]:
    """Ascending ranges, with those that lie near each other as one."""
    current: Range | None = None
    for first, next in ranges:
        if current is not None and first - current[1] <= GAP_OFFSETS_MAX:
            current = (current[0], next)
            continue
        if current is not None:
            yield current
        current = (first, next)
    if current is not None:
        yield current
