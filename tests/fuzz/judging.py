"""Neptune's own verdict on a batch of fuzzed messages, without a server, held against what is expected."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from neptune_flow.contract import load_contract
from neptune_flow.records import MessageBatch
from neptune_flow.validation import Validator
from tests.fuzz.messages import FuzzedMessage
from tests.fuzz.oracle import FUTURE_SKEW, Canonical, Verdict, offset_of
from tests.fuzz.subjects import Subject
from tests.messages import CREATE_TIME, SampleMessage, batch_from

TOPIC = "fuzz"


class Difference(NamedTuple):
    """What should have become of a message, and what did."""

    offset: int
    expected: Canonical
    found: Canonical


class Judging:
    """One validator, with what it has learnt of the batches before, beside the oracle."""

    def __init__(self, subject: Subject, now: datetime) -> None:
        self._verdict = Verdict(subject, TOPIC, now)
        self._now_us = round(now.timestamp() * 1e6)
        self._validator = Validator(
            load_contract(subject.contract),
            topic=TOPIC,
            kafka_columns=True,
            extra_column=True,
            future_skew_s=FUTURE_SKEW.total_seconds(),
        )

    def wrong(self, messages: Sequence[FuzzedMessage]) -> list[FuzzedMessage]:
        """The messages that are judged otherwise than expected; where the verdict stops with an error, those that stop it by themselves, or all."""
        try:
            return [messages[difference.offset] for difference in self.differences(messages)]
        except Exception:  # noqa: BLE001 - whatever it is, a message must not raise it
            alone = [m for m in messages if self.wrong([m])] if len(messages) > 1 else []
            return alone or list(messages)

    def differences(self, messages: Sequence[FuzzedMessage]) -> list[Difference]:
        """The messages that are judged otherwise than expected."""
        judged = self._validator.judge(batch(messages), self._now_us)
        found = [
            *(self._verdict.of_row(row) for row in judged.rows.to_pylist()),
            *(self._verdict.of_reject(reject) for reject in judged.rejects.to_pylist()),
        ]
        by_offset = {offset_of(one): one for one in found}
        assert len(by_offset) == len(found) == len(messages)
        expected = [self._verdict.expected(message, 0, offset) for offset, message in enumerate(messages)]
        return [
            Difference(offset, one, by_offset[offset])
            for offset, one in enumerate(expected)
            if repr(one) != repr(by_offset[offset])
        ]


def batch(messages: Sequence[FuzzedMessage]) -> MessageBatch:
    """The messages as one batch of partition 0, from offset 0 on."""
    return batch_from(
        [
            SampleMessage(
                message.value,
                offset=offset,
                key=message.key,
                timestamp=(CREATE_TIME, message.timestamp_ms),
                headers=list(message.headers) or None,
            )
            for offset, message in enumerate(messages)
        ]
    )
