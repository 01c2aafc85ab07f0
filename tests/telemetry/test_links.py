"""Links: what a header must look like, how few messages are looked at, and which commit a link belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune_flow.records import MessageBatch
from neptune_flow.telemetry.links import (
    HEADERS_LOOKED_AT,
    LINKS_OF_COMMIT_MAX,
    LINKS_OF_PARTITION_MAX,
    MESSAGES_LOOKED_AT,
    Links,
    producer_of,
)
from tests.messages import SampleMessage, batch_from

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def headers(number: int) -> list[tuple[str, bytes | None]]:
    """Of the message of this number: a span of its own."""
    return [("traceparent", f"00-{TRACE}-{number + 1:016x}-01".encode())]


def batch(count: int, first: int = 0, partition: int = 0) -> MessageBatch:
    messages = [SampleMessage(b"{}", offset=first + n, headers=headers(first + n)) for n in range(count)]
    return batch_from(messages, first, partition)


def offsets(links: Links, **ranges: tuple[int, int]) -> list[object]:
    taken = links.take({int(name[1:]): bounds for name, bounds in ranges.items()})
    return [link.attributes["messaging.kafka.offset"] for link in taken if link.attributes]


def found_in(*given: tuple[str, bytes | None]) -> bool:
    links = Links()
    links.look(batch_from([SampleMessage(b"{}", headers=list(given))]))
    return bool(links.take({0: (0, 1)}))


def test_a_sampled_producer_is_a_link_to_its_span() -> None:
    producer = producer_of(GOOD)
    assert producer is not None
    assert (f"{producer.trace_id:032x}", f"{producer.span_id:016x}") == (TRACE, SPAN)
    assert producer.is_remote
    assert producer.trace_flags.sampled


@pytest.mark.parametrize("value", [f"01-{TRACE}-{SPAN}-03-more", f"cc-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-ff"])
def test_later_versions_and_further_flags_are_read_as_far_as_they_are_known(value: str) -> None:
    assert producer_of(value.encode())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        GOOD[:-1],
        GOOD + b"0",
        GOOD + b"-more",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.upper(),
        b"ff" + GOOD[2:],
        b"0" + GOOD,
        GOOD.replace(b"-", b"_"),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}-00".encode(),
        f"00-{TRACE}-{SPAN}-02".encode(),
        "00-４bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".encode(),
        b"01" + GOOD[2:] + b"-" + b"x" * 1_000_000,
        b"\xff" * 55,
    ],
)
def test_what_is_not_valid_or_not_sampled_is_no_link(value: bytes) -> None:
    assert producer_of(value) is None


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reading_of_a_header(value: bytes) -> None:
    producer = producer_of(value)
    assert producer is None or (producer.is_valid and producer.trace_flags.sampled)


def test_only_the_header_of_the_specification_counts_and_only_if_there_is_one() -> None:
    other = f"00-{TRACE}-{'1' * 16}-01".encode()
    assert found_in(("traceparent", GOOD))
    assert found_in(("x", b"y"), ("traceparent", GOOD), ("tracestate", b"a=b"))
    assert not found_in(("traceparent", GOOD), ("traceparent", other))
    assert not found_in(("Traceparent", GOOD))
    assert not found_in(("traceparent", None))
    assert not found_in()
    assert not found_in(*[("x", b"y")] * HEADERS_LOOKED_AT, ("traceparent", GOOD))


def test_headers_that_the_client_cannot_read_are_no_link() -> None:
    class Unreadable(SampleMessage):
        def headers(self) -> list[tuple[str, bytes | None]] | None:
            raise SystemError("error return without exception set")

    links = Links()
    links.look(batch_from([Unreadable(b"{}"), SampleMessage(b"{}", offset=1, headers=headers(1))]))
    assert offsets(links, p0=(0, 2)) == [1]


@pytest.mark.parametrize(("count", "looked_at"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (1000, [0, 333, 666, 999])])
def test_a_few_messages_of_a_batch_are_looked_at_from_its_first_to_its_last(count: int, looked_at: list[int]) -> None:
    asked = []

    class Asked(SampleMessage):
        def headers(self) -> list[tuple[str, bytes | None]] | None:
            asked.append(self.offset())
            return None

    Links().look(batch_from([Asked(b"{}", offset=n) for n in range(count)]))
    assert asked == looked_at
    assert len(asked) <= MESSAGES_LOOKED_AT


def test_an_empty_batch_has_no_link() -> None:
    links = Links()
    links.look(batch(0))
    assert links.take({0: (0, 0)}) == []


def test_a_link_belongs_to_the_commit_that_takes_its_message() -> None:
    links = Links()
    links.look(batch(2, first=10))
    links.look(batch(2, first=12))
    assert offsets(links, p0=(10, 11)) == [10]
    assert offsets(links, p1=(0, 99)) == []
    assert offsets(links, p0=(11, 99)) == [11, 12, 13]
    assert offsets(links, p0=(11, 99)) == []


def test_a_partition_that_has_its_links_is_not_looked_at_until_a_commit_has_taken_them() -> None:
    links = Links()
    for first in range(0, 100, 4):
        links.look(batch(4, first))
    assert offsets(links, p0=(0, 100)) == list(range(LINKS_OF_PARTITION_MAX))
    links.look(batch(4, 100))
    assert offsets(links, p0=(100, 104)) == [100, 101, 102, 103]


def test_a_commit_of_many_partitions_has_no_more_links_than_the_limit() -> None:
    links = Links()
    for partition in range(100):
        links.look(batch(4, partition * 4, partition))
    ranges = dict.fromkeys(range(100), (0, 1000))
    assert len(links.take(ranges)) == LINKS_OF_COMMIT_MAX
    assert links.take(ranges) == []


def test_messages_of_one_span_are_one_link() -> None:
    links = Links()
    links.look(batch_from([SampleMessage(b"{}", offset=n, headers=headers(7)) for n in range(3)]))
    assert offsets(links, p0=(0, 3)) == [0]
