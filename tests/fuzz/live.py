"""Fuzzed messages through the real process: produced to Kafka, landed by Neptune, and every one compared with what is expected of it.

    block ─► Kafka ─► Neptune ─► tables ─► read in batches ─► each row and reject against the digest of what is expected

Nothing is held of a message but the digest: the first 8 bytes of what its canonical form hashes to. A block goes to one Kafka partition whole, so that a message's
offset follows from its block's number, and it can be made again where it is asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from tests.fuzz.messages import BLOCK_MESSAGES, FuzzedMessage, block_of
from tests.fuzz.oracle import Canonical, Verdict
from tests.fuzz.shrink import Case, smallest_case
from tests.fuzz.subjects import Subject
from tests.services.stage import Stage

PARTITIONS = 4
READ_ROWS = 2000
"""Rows that are compared at once."""
SETTINGS = {"NEPTUNE_WINDOW_S": "60", "NEPTUNE_ALLOWED_LATENESS_S": "10", "NEPTUNE_COMMIT_AGE_S_MAX": "20"}
TOPIC_PROPERTIES = {
    # Kafka refuses what is dated far from now, unless it is told not to.
    "message_timestamp_before_max_ms": str(2**63 - 1),
    "message_timestamp_after_max_ms": str(2**63 - 1),
    "max_message_bytes": str(2 << 20),
}


class Wrong(NamedTuple):
    """A message that is not where, or what, it should be."""

    name: str
    """lost, twin or strange."""
    partition: int
    offset: int
    text: str


@dataclass
class Result:
    """How one subject's messages went."""

    subject: str
    messages: int
    kinds: Counter[str] = field(default_factory=Counter)
    """Rows, and rejects by the kind of their first reason."""
    wrong: list[Wrong] = field(default_factory=list)
    peak_bytes: int = 0
    land_s: float = 0.0


class Live:
    """One subject's topic and tables."""

    def __init__(self, stage: Stage, subject: Subject, seed: int, messages: int) -> None:
        self._stage = stage
        self._subject = subject
        self._seed = seed
        self._blocks = -(-messages // BLOCK_MESSAGES)
        self._sizes = [min(BLOCK_MESSAGES, messages - n * BLOCK_MESSAGES) for n in range(self._blocks)]
        self._verdict = Verdict(subject, stage.topic, datetime.now(UTC))
        self.result = Result(subject.name, messages)

    def block(self, number: int) -> list[FuzzedMessage]:
        return block_of(self._seed, self._subject, number, self._sizes[number])

    def produce(self) -> None:
        """Fill the topic; it is waiting when Neptune starts, so that Neptune goes at full speed."""
        self._stage.create_topic(PARTITIONS, **TOPIC_PROPERTIES)
        failures: list[KafkaError] = []
        producer = Producer(
            {
                "bootstrap.servers": self._stage.kafka.bootstrap,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": 2 << 20,
                "log_level": 0,
            }
        )

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        for number in range(self._blocks):
            for m in self.block(number):
                producer.produce(
                    self._stage.topic,
                    m.value,
                    m.key,
                    number % PARTITIONS,
                    timestamp=m.timestamp_ms,
                    headers=list(m.headers),
                    on_delivery=on_delivery,
                )
            producer.flush(60)
        assert not failures, failures[0].str()
        assert sum(self._stage.log_ends().values()) == self.result.messages

    def land(self, limit_s: float) -> None:
        """Neptune from its start until it has committed them all, then SIGTERM."""
        settings = {**SETTINGS, "NEPTUNE_CONTRACT": self._subject.contract}
        began = datetime.now(UTC)
        neptune = self._stage.start(**settings)
        neptune.wait_for(
            lambda: neptune.total("rows") + neptune.total("rejects") >= self.result.messages, "all has landed", limit_s
        )
        self.result.land_s = (datetime.now(UTC) - began).total_seconds()
        self.result.peak_bytes = peak_bytes(neptune.pid)
        code = neptune.terminate()
        assert code == 0, neptune.tail()
        assert self._stage.is_caught_up()

    def compare(self) -> Result:
        """Every message that was produced with every row and reject that landed."""
        digests = {p: np.zeros(size, np.uint64) for p, size in enumerate(self._partition_sizes())}
        for number in range(self._blocks):
            partition, first = self._place(number)
            for at, message in enumerate(self.block(number)):
                expected = self._verdict.expected(message, partition, first + at)
                digests[partition][first + at] = _digest(expected)
                self.result.kinds[_kind(expected)] += 1
        seen = {p: np.zeros(len(of), np.uint8) for p, of in digests.items()}
        for found in self._landed():
            _, partition, offset, *_ = found[1]
            if partition not in seen or not 0 <= offset < len(seen[partition]):
                self.result.wrong.append(Wrong("strange", partition, offset, f"nobody sent it: {found}"))
                continue
            seen[partition][offset] += 1
            if digests[partition][offset] != _digest(found):
                self._note("strange", partition, offset, found)
        for partition, counts in seen.items():
            for offset in np.flatnonzero(counts != 1).tolist():
                self._note("twin" if counts[offset] else "lost", partition, offset)
        return self.result

    def smallest_case(self, wrong: Wrong) -> Case | None:
        """The wrong message made small, if it is judged otherwise than expected without a server too."""
        number, at = self._block_at(wrong.partition, wrong.offset)
        block = self.block(number)
        return smallest_case(self._subject, datetime.now(UTC), [block[at]], block)

    def _place(self, number: int) -> tuple[int, int]:
        """Partition and first offset of a block."""
        return number % PARTITIONS, number // PARTITIONS * BLOCK_MESSAGES

    def _partition_sizes(self) -> list[int]:
        return [sum(self._sizes[p::PARTITIONS]) for p in range(PARTITIONS)]

    def _landed(self) -> Iterator[Canonical]:
        for suffix, canonical in (("", self._verdict.of_row), ("_quarantine", self._verdict.of_reject)):
            table = self._stage.load(suffix)
            assert table is not None
            for batch in table.scan().to_arrow_batch_reader():
                for at in range(0, batch.num_rows, READ_ROWS):
                    yield from map(canonical, batch.slice(at, READ_ROWS).to_pylist())

    def _note(self, name: str, partition: int, offset: int, found: Canonical | None = None) -> None:
        number, at = self._block_at(partition, offset)
        expected = self._verdict.expected(self.block(number)[at], partition, offset)
        self.result.wrong.append(Wrong(name, partition, offset, f"expected {expected}\n  found {found}"))

    def _block_at(self, partition: int, offset: int) -> tuple[int, int]:
        """The block of a message, and the message's place in it."""
        return offset // BLOCK_MESSAGES * PARTITIONS + partition, offset % BLOCK_MESSAGES


def peak_bytes(pid: int) -> int:
    """The most that a process has had resident (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def _digest(one: Canonical) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(repr(one).encode("utf-8", "surrogatepass"), digest_size=8).digest())
    )


def _kind(expected: Canonical) -> str:
    return "row" if expected[0] == "row" else str(expected[-1][0][1])
