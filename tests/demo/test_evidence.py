"""The demonstration's checks find what they are there to find: a twin, a loss, a stranger, a total that is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from neptune_flow.demo.evidence import Evidence, PartitionEvidence, count_reasons, examine, offsets_by_partition
from neptune_flow.ledger import Entry

ENTRY = Entry(first=100, next=110, commit="c", rows=7, rejects=2, left_out=1)


def offsets(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


ROWS = offsets(100, 101, 102, 104, 105, 106, 108)
REJECTS = offsets(103, 109)


def evidence_of(part: PartitionEvidence) -> Evidence:
    return Evidence(sent=9, bad={"missing": 2}, reasons={"missing": 2}, partitions=(part,))


def failed(evidence: Evidence) -> list[str]:
    return [verdict.claim for verdict in evidence.verdicts() if not verdict.holds]


def test_tables_that_hold_what_the_ledger_says_are_exact() -> None:
    part = examine(ENTRY, 0, 110, ROWS, REJECTS)
    assert part.is_exact
    assert (part.twins, part.lost, part.strange) == (0, 0, 0)
    assert failed(evidence_of(part)) == []


@pytest.mark.parametrize(
    ("rows", "rejects", "what"),
    [
        (offsets(*ROWS, 104), REJECTS, "twins"),
        (offsets(*ROWS, 103), REJECTS, "twins"),
        (ROWS[:-1], REJECTS, "lost"),
        (ROWS, REJECTS[1:], "lost"),
        (offsets(*ROWS, 110), REJECTS, "strange"),
        (offsets(*ROWS, 99), REJECTS, "strange"),
    ],
)
def test_a_twin_a_loss_and_a_stranger_are_found(
    rows: npt.NDArray[np.int64], rejects: npt.NDArray[np.int64], what: str
) -> None:
    part = examine(ENTRY, 0, 110, rows, rejects)
    assert getattr(part, what) == 1
    assert not part.is_exact
    assert failed(evidence_of(part))


def test_a_loss_is_not_hidden_by_a_twin() -> None:
    part = examine(ENTRY, 0, 110, offsets(*ROWS[:-1], 100), REJECTS)
    assert (part.twins, part.lost, part.is_exact) == (1, 1, False)


def test_a_row_that_the_ledger_counts_as_a_reject_is_found() -> None:
    assert not examine(ENTRY, 0, 110, offsets(*ROWS, 103), offsets(109)).is_exact


def test_totals_that_do_not_add_up_are_found() -> None:
    assert not examine(replace(ENTRY, left_out=0), 0, 110, ROWS, REJECTS).is_exact


def test_a_ledger_behind_the_log_is_told() -> None:
    assert failed(evidence_of(examine(ENTRY, 0, 111, ROWS, REJECTS))) == ["the ledger ends where Kafka's log ends"]


def test_a_bad_message_refused_for_another_reason_is_told() -> None:
    evidence = replace(evidence_of(examine(ENTRY, 0, 110, ROWS, REJECTS)), reasons={"missing": 1, "json_invalid": 1})
    assert failed(evidence) == ["every bad message is in quarantine, for its reason, and no good one"]


def test_a_message_too_few_is_told() -> None:
    evidence = replace(evidence_of(examine(ENTRY, 0, 110, ROWS, REJECTS)), sent=10)
    assert failed(evidence) == ["every message produced is in a table"]


def test_no_partition_at_all_does_not_pass() -> None:
    assert failed(Evidence(sent=0, bad={}, reasons={}, partitions=()))


def test_offsets_are_told_apart_by_partition() -> None:
    found = offsets_by_partition(pa.array([1, 0, 1], pa.int32()), pa.array([5, 6, 7], pa.int64()))
    assert {number: list(values) for number, values in found.items()} == {0: [6], 1: [5, 7]}


def test_a_reason_counts_once_for_each_reject() -> None:
    reasons = pa.array([[{"kind": "missing"}, {"kind": "missing"}], [{"kind": "missing"}, {"kind": "float_type"}]])
    assert count_reasons(reasons) == {"missing": 2, "float_type": 1}
