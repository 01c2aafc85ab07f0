"""What the demonstration shows on the terminal. Formats; finds nothing out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from neptune_flow.demo.evidence import Evidence, PartitionEvidence
from neptune_flow.demo.stage import catalog_properties
from neptune_flow.iceberg.reading import FileInfo
from neptune_flow.simulator import BAD_KINDS

_FILES_MAX = 6
_TEXT_MAX = 9
"""Characters of an id in a sample row, so that the row fits 80: ids are told apart by their beginnings."""


def show(
    console: Console,
    evidence: Evidence,
    bad_by_name: dict[str, int],
    files: Sequence[FileInfo],
    sample: list[dict[str, Any]],
) -> None:
    """Everything that was found, in the order of the message's way."""
    console.print()
    console.print(Group(*_parts(evidence, bad_by_name, files, sample)))


def show_way_on(console: Console, place: Path | None) -> None:
    """How to look at the tables further; `place` is the folder that holds them, None where they are gone."""
    if place is None:
        console.print(
            "\nThe tables lay in a temporary folder and are gone now; --folder DIR keeps them to be looked at."
        )
        return
    python = Path(sys.executable)
    neptune = f"{python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python} -m neptune_flow"
    lines = (
        f"\nCatalog, tables and the flow's log are in {place}. To look further:\n",
        f"  export NEPTUNE_CATALOG_PROPERTIES={shlex.quote(catalog_properties(place))}",
        f'  {neptune} query "select status, count(*) from rows group by all"',  # noqa: S608 - a command to be shown
        f"  {neptune} quarantine list",
        f"  {neptune} verify --no-kafka",
    )
    # Not folded: lines are to be copied.
    console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)


def _parts(
    evidence: Evidence, bad_by_name: dict[str, int], files: Sequence[FileInfo], sample: list[dict[str, Any]]
) -> Iterator[RenderableType]:
    yield _sample(sample)
    yield _rejects(evidence, bad_by_name)
    yield _ledger(evidence)
    yield _files(files)
    yield _verdicts(evidence)


def _table(title: str, *columns: str, numbers: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _sample(sample: list[dict[str, Any]]) -> RenderableType:
    table = _table("\nSome rows", "vehicle_id", "status", "timestamp", "current_lat", "current_lon", "_kafka")
    for row in sample:
        kafka = row["_kafka"]
        table.add_row(
            _short(row["vehicle_id"]),
            row["status"],
            f"{row['timestamp']:%H:%M:%S.%f}"[:-3],
            f"{row['current_lat']:.5f}",
            f"{row['current_lon']:.5f}",
            f"{kafka['topic']}/{kafka['partition']}/{kafka['offset']}",
        )
    return table


def _rejects(evidence: Evidence, bad_by_name: dict[str, int]) -> RenderableType:
    numbers = ("produced", "in quarantine")
    table = _table("\nRejects by reason", "reason", *numbers, "what was bad", numbers=numbers)
    for reason in sorted({*evidence.bad, *evidence.reasons}):
        kinds = [k.name for k in BAD_KINDS if k.reason == reason and bad_by_name.get(k.name)]
        table.add_row(
            reason, f"{evidence.bad.get(reason, 0):,}", f"{evidence.reasons.get(reason, 0):,}", ", ".join(kinds)
        )
    return table


def _ledger(evidence: Evidence) -> RenderableType:
    numbers = ("partition", "first", "next", "rows", "rejects", "left out", "lost", "late")
    table = _table("\nLedger", *numbers, "complete until", "exact", numbers=numbers)
    for part in evidence.partitions:
        entry = part.entry
        counts = (
            part.partition,
            entry.first,
            entry.next,
            entry.rows,
            entry.rejects,
            entry.left_out,
            entry.lost,
            entry.late,
        )
        table.add_row(*(f"{count:,}" for count in counts), _watermark(part), _mark(part.is_exact))
    return table


def _watermark(part: PartitionEvidence) -> str:
    if part.entry.watermark is None:
        return ""
    return f"{datetime.fromtimestamp(part.entry.watermark / 1e6, UTC):%H:%M:%S}"


def _files(files: Sequence[FileInfo]) -> RenderableType:
    numbers = ("rows", "KB")
    total = sum(f.size_bytes for f in files)
    title = f"\nData files: {len(files)}, {sum(f.record_count for f in files):,} rows, {total / 1000:,.0f} KB"
    table = _table(title, *numbers, "day", "path", numbers=numbers)
    for file in files[:_FILES_MAX]:
        day = "" if file.day is None else str(date(1970, 1, 1) + timedelta(days=file.day))
        table.add_row(
            f"{file.record_count:,}", f"{file.size_bytes / 1000:,.0f}", day, "…/" + file.path.rsplit("/", 1)[-1]
        )
    if len(files) > _FILES_MAX:
        table.add_row("…", "…", "", f"and {len(files) - _FILES_MAX} more")
    return table


def _verdicts(evidence: Evidence) -> RenderableType:
    table = _table("\nChecked against the tables themselves", "", "what has to hold", "what was found")
    for verdict in evidence.verdicts():
        table.add_row(_mark(verdict.holds), verdict.claim, verdict.found)
    return table


def _mark(holds: bool) -> Text:
    return Text("yes", style="green") if holds else Text("NO", style="bold red")


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
