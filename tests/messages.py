"""A message as Kafka's client hands it over, for tests that need no broker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neptune_flow.records import MessageBatch

CREATE_TIME = 1
"""Kafka's kind of a timestamp that the producer set."""


class SampleMessage:
    """Has the shape of `confluent_kafka.Message`, as far as `records.Message` asks for it."""

    __slots__ = ("_headers", "_key", "_offset", "_timestamp", "_value")

    def __init__(
        self,
        value: bytes | None,
        *,
        offset: int = 0,
        key: bytes | None = None,
        timestamp: tuple[int, int] = (CREATE_TIME, 1_700_000_000_000),
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        self._value = value
        self._key = key
        self._offset = offset
        self._timestamp = timestamp
        self._headers = headers

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers


def batch_of(values: Sequence[bytes | None], first: int = 0, partition: int = 0) -> MessageBatch:
    """The message batch of these values at the offsets from `first` on."""
    return batch_from([SampleMessage(value, offset=first + n) for n, value in enumerate(values)], first, partition)


def batch_from(messages: Sequence[SampleMessage], first: int = 0, partition: int = 0) -> MessageBatch:
    """The message batch of these messages, which lie at the offsets from `first` on."""
    return MessageBatch(
        partition=partition,
        first=first,
        next=first + len(messages),
        messages=messages,
        offsets=np.array([message.offset() for message in messages], np.int64),
        values=[message.value() for message in messages],
    )
