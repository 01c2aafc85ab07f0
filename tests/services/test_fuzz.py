"""Bad messages through the real process: a slice of the fuzzed ones, and one of fifty megabytes. `make fuzz` runs more."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.live import Live, peak_bytes
from tests.fuzz.subjects import DELIVERY, ORDER, Subject
from tests.services.stage import Stage
from tests.services.traffic import Note

MESSAGES = 10_000
LAND_S_MAX = 180.0
MEMORY_BYTES_MAX = 512 << 20
"""The default of NEPTUNE_MEMORY_BYTES_MAX."""
LARGE_BYTES = 50_000_000
COPIES_MAX = 6
"""What one large message costs above the plan, in copies of it."""


@pytest.mark.parametrize("subject", [DELIVERY, ORDER], ids=lambda subject: subject.name)
def test_each_fuzzed_message_lands_as_the_row_or_the_reject_that_is_expected(
    subject: Subject, stage: Stage, seed: int
) -> None:
    live = Live(stage, subject, seed, MESSAGES)
    live.produce()
    live.land(LAND_S_MAX)
    result = live.compare()
    if result.wrong:
        pytest.fail(
            f"{len(result.wrong)} wrong, the first {result.wrong[0]}, made small {live.smallest_case(result.wrong[0])}"
        )
    assert result.kinds["row"] > MESSAGES // 10
    assert result.peak_bytes < MEMORY_BYTES_MAX


def test_a_message_of_fifty_megabytes_is_in_quarantine_whole(stage: Stage) -> None:
    stage.create_topic(1, max_message_bytes=str(2 * LARGE_BYTES))
    value = random.Random(1).randbytes(LARGE_BYTES)
    traffic = stage.traffic(**{"message.max.bytes": 2 * LARGE_BYTES})
    sent = traffic.send(
        [
            Note(b"small", refusal="json_invalid"),
            Note(value, refusal="value_too_large"),
            Note(None, refusal="null_value"),
        ]
    )
    neptune = stage.start()
    stage.wait_caught_up(neptune, LAND_S_MAX)
    peak = peak_bytes(neptune.pid)
    assert neptune.terminate() == 0, neptune.tail()
    stage.assert_exact(sent)
    assert peak < MEMORY_BYTES_MAX + COPIES_MAX * LARGE_BYTES
    print(f"peak {peak >> 20} MiB")
