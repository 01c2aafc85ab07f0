"""A report for people. Formats; finds nothing out."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from neptune_flow.verify.offsets import Range, Ranges
from neptune_flow.verify.report import Fault, PartitionReport, Report

RANGES_SHOWN = 12
"""So many ranges of a fault are written out; `--json` has more."""


def show(console: Console, report: Report) -> None:
    """The partitions, the faults, what was not judged, and one closing sentence."""
    console.print(Group(*_parts(report)), soft_wrap=True)


def ranges_text(offsets: Ranges) -> str:
    """As in `17, 25-31 and more`; both ends included."""
    shown = ", ".join(_range(r) for r in offsets.shown[:RANGES_SHOWN])
    return shown + (" and more" if offsets.has_more or len(offsets.shown) > RANGES_SHOWN else "")


def closing(report: Report) -> str:
    """The verdict in one sentence."""
    rows, rejects = (sum(t.rows for t in tables) for tables in (report.tables[:1], report.tables[1:]))
    read = f"{rows:,} rows and {rejects:,} rejects of {len(report.partitions)} Kafka partitions"
    if not report.is_whole:
        counts = ", ".join(f"{count} {kind.value}" for kind, count in report.counts().items() if count)
        return f"Not whole: {len(report.faults)} faults ({counts}) in {read}."
    if report.is_part:
        return f"No fault in {read}; whether all messages are there cannot be told from some days alone."
    return f"Whole: {read}, each message that the ledger has taken once."


def _parts(report: Report) -> Iterator[RenderableType]:
    if report.partitions:
        yield _partitions(report.partitions)
        yield ""
    for fault in report.faults:
        yield from _fault(fault)
    for note in report.notes:
        yield Text(f"note     {note}", style="dim")
    yield Text(closing(report), style="bold green" if report.is_whole else "bold red")


def _partitions(partitions: tuple[PartitionReport, ...]) -> Table:
    numbers = ("partition", "first", "next", "rows", "rejects", "left out", "lost", "missing", "faults")
    table = Table(header_style="dim", box=None, pad_edge=False)
    for column in numbers:
        table.add_column(column, justify="right")
    for part in partitions:
        entry = part.entry
        said = (entry.first, entry.next) if entry else (None, None)
        away = (entry.left_out, entry.lost) if entry else (None, None)
        counts = (part.partition, *said, part.rows, part.rejects, *away, part.missing, part.faults)
        table.add_row(*map(_number, counts), style="red" if part.faults else "")
    return table


def _fault(fault: Fault) -> Iterator[RenderableType]:
    where = fault.table if fault.partition is None else f"{fault.table}, partition {fault.partition}"
    offsets = f": {ranges_text(fault.offsets)}" if fault.offsets else ""
    yield Text.assemble((f"{fault.kind.value:<8}", "bold red"), f" {where}: {fault.what}{offsets}")
    if fault.hint:
        yield Text(f"         hint: {fault.hint}")


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _range(found: Range) -> str:
    first, next = found
    return str(first) if next == first + 1 else f"{first}-{next - 1}"
