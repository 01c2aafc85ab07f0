"""What the process knows of itself: sums, ages and samples, fed as the flow feeds them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import pytest

from neptune_flow.contract import load_contract
from neptune_flow.ledger import Entry
from neptune_flow.records import Judged
from neptune_flow.simulator import Fleet
from neptune_flow.validation import Validator
from neptune_flow.vitals import KINDS_MAX, OTHER_KIND, SAMPLE_BYTES_MAX, CommitFacts, Held, Phase, Vitals
from tests.messages import batch_of

VALIDATOR = Validator(
    load_contract("neptune_flow.contract:DeliveryData"),
    topic="sessions",
    kafka_columns=True,
    extra_column=True,
    future_skew_s=1e9,
)


def told(vitals: Vitals, values: list[bytes | None], first: int = 0, partition: int = 0) -> Judged:
    batch = batch_of(values, first, partition)
    judged = VALIDATOR.judge(batch, 1_700_000_000_000_000)
    vitals.judged(batch, judged)
    return judged


def facts(**changes: object) -> CommitFacts:
    numbers = dict.fromkeys(CommitFacts.__dataclass_fields__, 1)
    return CommitFacts(**{**numbers, "ranges": {0: (0, 4)}, "landed_s": 100.0, **changes})  # type: ignore[arg-type]


def test_each_message_counts_once_as_a_row_or_as_a_reject_of_its_first_reason() -> None:
    vitals = Vitals()
    good = [m.value for m in islice(Fleet(1, start=datetime(2023, 11, 1, tzinfo=UTC), bad_share=0.0), 3)]
    told(vitals, [*good, b"{", None], first=7, partition=2)
    told(vitals, [b"{", b"{}"], first=12, partition=2)
    assert (vitals.rows, vitals.rejects.total()) == (3, 4)
    assert vitals.rejects["null_value"] == 1
    assert vitals.rejects["json_invalid"] == 2
    assert (vitals.partitions[2].messages, vitals.partitions[2].read_next) == (7, 14)


def test_the_last_refused_message_of_a_batch_is_kept_to_be_looked_at_but_not_all_of_a_large_one() -> None:
    vitals = Vitals()
    told(vitals, [b"{", b'"' + b"x" * 5000 + b'"'], first=3, partition=1)
    told(vitals, [None], first=5, partition=1)
    large, null = vitals.samples
    assert (large.partition, large.offset, large.value) == (1, 4, b'"' + b"x" * (SAMPLE_BYTES_MAX - 1))
    assert (null.offset, null.kind, null.field, null.value) == (5, "null_value", None, None)


def test_a_contract_that_makes_up_kinds_does_not_make_up_metrics_without_end() -> None:
    vitals = Vitals()
    for number in range(KINDS_MAX + 7):
        reasons = [[{"field": None, "kind": f"kind {number}", "message": ""}]]
        rejects = told(Vitals(), [None]).rejects
        vitals._refused(
            rejects.set_column(
                rejects.schema.get_field_index("reasons"),
                "reasons",
                pa.array(reasons, rejects.schema.field("reasons").type),
            )
        )
    assert len(vitals.rejects) == KINDS_MAX + 1
    assert vitals.rejects[OTHER_KIND] == 7


def test_what_the_ledger_says_at_the_start_is_known_before_anything_is_committed() -> None:
    vitals = Vitals()
    vitals.knows({3: Entry(first=0, next=9, commit="c", watermark=5, idle=True)}, watermark_least=4, last_commit_s=12.0)
    assert (vitals.partitions[3].ledger_next, vitals.partitions[3].watermark) == (9, 5)
    assert (vitals.watermark_least, vitals.last_commit_s) == (4, 12.0)


def test_the_lag_is_what_kafka_holds_and_the_table_does_not() -> None:
    partition = Vitals().partition(0)
    assert partition.lag is None
    partition.log_end, partition.ledger_next = 12, 9
    assert partition.lag == 3
    partition.ledger_next = 13
    assert partition.lag == 0


def test_a_commit_is_added_up_and_told_to_who_listens() -> None:
    vitals = Vitals()
    heard: list[CommitFacts] = []
    vitals.on_commit.append(heard.append)
    vitals.gathered_since_s = 90.0
    first, second = facts(rows=10, ranges={0: (0, 4), 1: (5, 8)}), facts(rows=5, landed_s=200.0)
    vitals.has_committed(first)
    vitals.has_committed(second)
    assert heard == [first, second] == list(vitals.commits)
    assert (vitals.committed["commits"], vitals.committed["rows"]) == (2, 15)
    assert (vitals.partitions[1].ledger_next, vitals.last_commit_s, vitals.waiting_since_s) == (8, 200.0, None)


def test_the_oldest_message_that_waits_is_that_of_a_collector_or_of_the_committer() -> None:
    vitals = Vitals()
    assert vitals.waiting_since_s is None
    vitals.partition(0).waiting_since_s = 30.0
    vitals.partition(1).waiting_since_s = 20.0
    vitals.gathered_since_s = 25.0
    assert vitals.waiting_since_s == 20.0


def test_an_outage_lasts_from_its_first_error_to_its_answer() -> None:
    vitals = Vitals()
    vitals.waits_for("catalog", "refused")
    since_s = vitals.outages["catalog"].since_s
    vitals.waits_for("catalog", "timed out")
    assert (vitals.outages["catalog"].since_s, vitals.outages["catalog"].tries) == (since_s, 2)
    assert vitals.outages["catalog"].error == "timed out"
    vitals.waits_for("catalog", None)
    assert (vitals.outages, vitals.retries["catalog"]) == ({}, 2)


def test_time_that_a_stage_takes_counts_also_when_it_fails() -> None:
    vitals = Vitals()
    with pytest.raises(OSError, match="away"), vitals.spending("spool"):
        raise OSError("away")
    assert vitals.busy_s["spool"] > 0


def test_limits_are_asked_when_somebody_looks() -> None:
    vitals, held = Vitals(), [3]
    vitals.held["spool_bytes"] = lambda: Held(held[0], 10)
    held[0] = 4
    assert vitals.held["spool_bytes"]() == (4, 10)


def test_a_process_whose_flow_has_ended_holds_nothing_and_one_that_drains_does_not_begin() -> None:
    vitals = Vitals()
    vitals.rows, vitals.partition(0).waiting_since_s, vitals.gathered_since_s = 5, 30.0, 20.0
    vitals.waits_for("catalog", "away")
    vitals.forget()
    assert (vitals.rows, vitals.waiting_since_s, vitals.partitions, vitals.outages) == (5, None, {}, {})
    vitals.phase = Phase.DRAINING
    vitals.begin_anew()
    vitals.enter(Phase.RUNNING)
    assert vitals.phase is Phase.DRAINING
