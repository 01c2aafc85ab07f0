"""Ranges that lie near each other are read as one; what Kafka then delivers is tested on a real one (`tests/services/test_verify.py`)."""

from __future__ import annotations

from neptune_flow.kafka.ranges import GAP_OFFSETS_MAX, merged


def test_near_ranges_become_one_and_far_ones_stay_apart() -> None:
    near, far = 10 + GAP_OFFSETS_MAX, 20 + 2 * GAP_OFFSETS_MAX + 1
    assert list(merged([(0, 10), (near, near + 10), (far, far + 1)])) == [(0, near + 10), (far, far + 1)]


def test_no_range_is_none_and_one_stays_itself() -> None:
    assert list(merged([])) == []
    assert list(merged([(3, 4)])) == [(3, 4)]
