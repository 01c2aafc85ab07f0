"""The producers' traces: W3C `traceparent` headers of a few messages, as links of the commit that takes them.

Looking costs time for each message, so few are looked at: a sample of each batch, and none of a partition that has its links. What a header
says is not trusted: it is a link if it is exactly what the specification allows and says that the producer's trace is sampled, else it is nothing.
(https://www.w3.org/TR/trace-context/#traceparent-header; `tracestate` is not kept.)

Look at a batch only after it was judged: the client can read a message's headers only once where a name in them is not UTF-8, and the quarantine
must have them first (`validation.rejects`).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry.trace import Link, SpanContext, TraceFlags

from neptune_flow.records import Message, MessageBatch

MESSAGES_LOOKED_AT = 4
"""Of a batch: the first, the last, and those evenly between."""
HEADERS_LOOKED_AT = 50
"""Of a message."""
LINKS_OF_PARTITION_MAX = 8
LINKS_OF_COMMIT_MAX = 32

_HEADER = "traceparent"
_BYTES_MAX = 256
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_VERSION = b"00"
_NO_VERSION = b"ff"


class _Found(NamedTuple):
    offset: int
    producer: SpanContext


def producer_of(value: bytes) -> SpanContext | None:
    """The producer's span that a header's value names; None where it is not valid, or not sampled."""
    form = _FORM.fullmatch(value) if len(value) <= _BYTES_MAX else None
    if form is None:
        return None
    version, trace_id, span_id, flags, more = form.groups()
    if version == _NO_VERSION or (version == _VERSION and more is not None):
        return None
    sampled = int(flags, 16) & TraceFlags.SAMPLED
    found = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(sampled))
    return found if sampled and found.is_valid else None


class Links:
    """What was found and is not committed yet, by Kafka partition; workers add, the committer takes."""

    def __init__(self) -> None:
        self._found: dict[int, list[_Found]] = {}
        self._changing = threading.Lock()

    def look(self, batch: MessageBatch) -> None:
        """Find the producers of a few of the batch's messages."""
        found = self._found.get(batch.partition, [])
        count = len(batch.messages)
        if not count or len(found) >= LINKS_OF_PARTITION_MAX:
            return
        steps = MESSAGES_LOOKED_AT - 1
        for number in sorted({(count - 1) * step // steps for step in range(steps + 1)}):
            producer = _look_at(batch.messages[number])
            if producer is not None:
                self._add(batch.partition, _Found(int(batch.offsets[number]), producer))

    def take(self, ranges: Mapping[int, tuple[int, int]]) -> list[Link]:
        """The links of the messages in these ranges of offsets; what lies below them is dropped, what lies above stays."""
        links: dict[tuple[int, int], Link] = {}
        with self._changing:
            for partition, (_, next_offset) in ranges.items():
                found = self._found.pop(partition, [])
                if later := [f for f in found if f.offset >= next_offset]:
                    self._found[partition] = later
                for offset, producer in found:
                    if offset < next_offset and len(links) < LINKS_OF_COMMIT_MAX:
                        links.setdefault((producer.trace_id, producer.span_id), _link(partition, offset, producer))
        return list(links.values())

    def _add(self, partition: int, found: _Found) -> None:
        with self._changing:
            kept = self._found.setdefault(partition, [])
            if len(kept) < LINKS_OF_PARTITION_MAX:
                kept.append(found)


def _link(partition: int, offset: int, producer: SpanContext) -> Link:
    return Link(
        producer,
        {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset},
    )


def _look_at(message: Message) -> SpanContext | None:
    try:
        headers = message.headers()
    except (SystemError, UnicodeDecodeError):
        return None
    named = [value for name, value in (headers or ())[:HEADERS_LOOKED_AT] if name == _HEADER]
    # Two of them contradict each other.
    return producer_of(named[0]) if len(named) == 1 and isinstance(named[0], bytes) else None
