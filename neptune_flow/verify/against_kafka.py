"""What Kafka says of the offsets that no table holds: which of them it still delivers, and how far it could be asked.

An offset that Kafka delivers was never left out, so a message is lost. Offsets below the log's first are gone for good; about them Kafka
says nothing. The ranges may lie all over a topic (each transaction leaves a marker), so what is read is bounded, and what was not asked is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyroaring import BitMap64

from neptune_flow.kafka import KafkaAddress
from neptune_flow.kafka.ranges import Ranges, merged
from neptune_flow.verify.offsets import between, bitmap, ranges_of


@dataclass(slots=True)
class Answer:
    """What Kafka says of one partition."""

    log_end: int
    delivered: BitMap64 = field(default_factory=BitMap64)
    """Offsets that no table holds and that Kafka delivers."""
    asked: int = 0
    gone: int = 0
    """Offsets below the first that Kafka still holds."""
    not_asked: int = 0
    """Offsets that the bound left out."""


def ask(address: KafkaAddress, missing: Mapping[int, BitMap64], messages_max: int) -> dict[int, Answer]:
    """Ask for the missing offsets of each partition.

    Raises:
        Unavailable, AccessDenied: Kafka did not answer, or refused.
    """
    with Ranges(address, messages_max) as kafka:
        return {partition: _ask(kafka, partition, offsets) for partition, offsets in missing.items()}


def _ask(kafka: Ranges, partition: int, offsets: BitMap64) -> Answer:
    low, high = kafka.held(partition)
    answer = Answer(log_end=high)
    wanted = between(offsets, low, max(high, low))
    answer.gone = offsets.range_cardinality(0, low)
    asked_to = low
    for first, next in merged(ranges_of(wanted)):
        for found in kafka.delivered(partition, first, next):
            answer.delivered |= bitmap(found) & wanted
            asked_to = int(found[-1]) + 1 if len(found) else asked_to
        if kafka.is_exhausted:
            break
        asked_to = next
    else:
        asked_to = high
    answer.asked = wanted.range_cardinality(0, asked_to)
    answer.not_asked = len(wanted) - answer.asked
    return answer
