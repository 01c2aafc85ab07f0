"""The report for people names the fault, its place and its offsets, and ends with one sentence."""

from __future__ import annotations

from io import StringIO

import numpy as np
from rich.console import Console

from neptune_flow.ledger import Entry
from neptune_flow.verify.offsets import Ranges, bitmap, span
from neptune_flow.verify.report import Fault, Kind, PartitionReport, Report, TableReport
from neptune_flow.verify.text import RANGES_SHOWN, ranges_text, show

TABLES = (TableReport("default.events", 1, 3, 1200, 0), TableReport("default.events_quarantine", 2, 1, 7, 0))
ENTRY = Entry(first=0, next=1210, commit="c", rows=1200, rejects=7, left_out=3)
PARTITION = PartitionReport(4, ENTRY, 1200, 7, 3, 0)


def text(report: Report) -> str:
    output = StringIO()
    show(Console(file=output, width=80, highlight=False), report)
    return output.getvalue()


def test_a_whole_table_is_said_to_be_whole() -> None:
    lines = text(Report("sessions", TABLES, (PARTITION,), (), (), False)).splitlines()
    assert lines[1].split() == ["4", "0", "1,210", "1,200", "7", "3", "0", "3", "0"]
    assert (
        lines[-1]
        == "Whole: 1,200 rows and 7 rejects of 1 Kafka partitions, each message that the ledger has taken once."
    )


def test_a_fault_is_one_line_with_its_place_and_its_offsets_and_one_with_its_hint() -> None:
    twins = Ranges.of(span(17, 18) | span(25, 32))
    fault = Fault(Kind.TWIN, "default.events", "8 messages more than once in the table", 4, twins, "look there")
    lines = text(Report("sessions", TABLES, (PARTITION,), (fault,), ("Kafka was not asked",), False)).splitlines()
    assert lines[-4:] == [
        "twin     default.events, partition 4: 8 messages more than once in the table: 17, 25-31",
        "         hint: look there",
        "note     Kafka was not asked",
        "Not whole: 1 faults (1 twin) in 1,200 rows and 7 rejects of 1 Kafka partitions.",
    ]


def test_many_ranges_are_cut_short() -> None:
    shown = ranges_text(Ranges.of(bitmap(np.arange(0, 100, 2))))
    assert shown.count(",") == RANGES_SHOWN - 1
    assert shown.endswith("22 and more")
