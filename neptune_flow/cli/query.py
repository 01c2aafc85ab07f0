"""`neptune query`: prints the answer of `inspection.query` as a table, JSON, CSV or Parquet."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from neptune_flow.cli.common import COULD_NOT, HELP, WELL, load_settings
from neptune_flow.cli.files import destination, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

SNAPSHOT = click.IntRange(0, 2**63 - 1)
TABLE_ROWS = 100
"""Rows that a table on the terminal shows unless told otherwise."""
PIECE_ROWS = 64
UNFOLDED = 100_000
"""Columns that no line of such a table reaches."""
FORMATS = ("table", "json", "jsonl", "csv", "parquet")


@click.command(context_settings=HELP)
@click.argument("sql")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: by the file's name; table on the terminal.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, in place only once it is whole. Default: standard output.",
)
@click.option(
    "--snapshot", "snapshot_id", type=SNAPSHOT, help="As the table was at this snapshot. Default: as it is now."
)
@click.option(
    "--limit", type=click.IntRange(0), help=f"Rows at most. Default: {TABLE_ROWS} for a table, else all of them."
)
def command(*, sql: str, form: str | None, output: Path | None, snapshot_id: int | None, limit: int | None) -> None:
    """Ask the tables a question in SQL (DuckDB's), given here or, with -, on standard input. Changes nothing.

    The tables are `rows` and `quarantine`, or their own names (raw_delivery_data, "default".raw_delivery_data). Only the columns and files that
    the statement needs are read. Times are UTC; a struct's field is reached with a dot (_kafka.offset), a field that the contract does not name with
    _extra->>'name'. DuckDB takes half of NEPTUNE_MEMORY_BYTES_MAX; what is larger spills into a temporary folder.

    \b
    Exit codes: 0 done; 2 wrong usage, an error in the statement, or it could not be looked.
    \b
    Examples:
      neptune query "select status, count(*) from rows where event_date = '2025-03-01' group by all"
      neptune query "select max(timestamp) from rows" --snapshot 4711
      neptune query "select r.kind, count(*) from (select unnest(reasons) r from quarantine) group by all"
      neptune query "from rows where vehicle_id = 'v-17'" -o vehicle.parquet
    """
    from neptune_flow.inspection.query import BadQuery, answer

    form = form or _form_of(output)
    sql = sys.stdin.read() if sql == "-" else sql
    limit = TABLE_ROWS if limit is None and form == "table" else limit
    settings = load_settings()
    try:
        with answer(settings, sql, snapshot_id) as reader, destination(output) as stream:
            _WRITERS[form](reader.schema, _limited(reader, limit), stream)
    except BadQuery as error:
        click.echo(str(error), err=True)
        sys.exit(COULD_NOT)
    sys.exit(WELL)


def _form_of(output: Path | None) -> str:
    suffix = output.suffix[1:] if output else ""
    return suffix if suffix in FORMATS else "table"


def _limited(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The batches, cut off after so many rows; that there are more is told."""
    left = limit
    for batch in batches:
        if left is not None and batch.num_rows > left:
            yield batch.slice(0, left)
            click.echo(f"these are the first {limit} rows; --limit shows more", err=True)
            return
        yield batch
        left = None if left is None else left - batch.num_rows


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[object, ...]]:
    """Each row's values, in the order of the columns; few rows at once are objects of Python's."""
    for batch in batches:
        for begin in range(0, batch.num_rows, PIECE_ROWS):
            piece = batch.slice(begin, PIECE_ROWS)
            yield from zip(*map(_values, piece.schema.names, piece.columns), strict=True)


def _values(name: str, column: pa.Array) -> list[object]:
    from neptune_flow.inspection.query import BadQuery

    try:
        values: list[object] = column.to_pylist()
    except (ValueError, OverflowError):
        raise BadQuery(
            f"{name} has a time outside of the years 1 to 9999: ask for it as text, {name}::varchar"
        ) from None
    return values


def _write_table(schema: pa.Schema, batches: Iterator[pa.RecordBatch], stream: BinaryIO) -> None:
    """A line for each row; on a terminal that is too narrow for them a line for each value."""
    from rich.console import Console
    from rich.text import Text

    from neptune_flow.cli.common import plain_table
    from neptune_flow.inspection.values import is_number, text_of

    names = [_on_screen(name) for name in schema.names]
    rows = [[_on_screen(text_of(value)) for value in row] for row in _rows(batches)]
    table = plain_table(names, numbers=[n for n, field in zip(names, schema, strict=True) if is_number(field.type)])
    for row in rows:
        table.add_row(*map(Text, row))
    screen = Console()
    width = Console(width=UNFOLDED).measure(table).maximum
    if stream is not sys.stdout.buffer or not screen.is_terminal:
        with _text(stream) as text:
            Console(file=text, width=max(width, 1), color_system=None).print(table)
    elif width <= screen.width or not rows:
        screen.print(table)
    else:
        for number, row in enumerate(rows, 1):
            screen.rule(f"row {number}", align="left", style="dim")
            one = plain_table(("", ""))
            one.show_header = False
            for name, value in zip(names, row, strict=True):
                one.add_row(Text(name, style="dim"), value and Text(value))
            screen.print(one)


def _on_screen(text: str) -> str:
    """Lines stay; what would move a terminal's cursor or colour it does not: messages are anybody's."""
    from neptune_flow.inspection.marking import printable

    return "\n".join(map(printable, text.split("\n")))


def _write_json(schema: pa.Schema, batches: Iterator[pa.RecordBatch], stream: BinaryIO) -> None:
    first = True
    for line in _json_lines(schema, batches):
        stream.write((b"[\n" if first else b",\n") + line)
        first = False
    stream.write(b"[]\n" if first else b"\n]\n")


def _write_jsonl(schema: pa.Schema, batches: Iterator[pa.RecordBatch], stream: BinaryIO) -> None:
    for line in _json_lines(schema, batches):
        stream.write(line + b"\n")


def _json_lines(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
    from neptune_flow.inspection.values import json_of

    for row in _rows(batches):
        yield json_of(dict(zip(schema.names, row, strict=True))).encode()


def _write_csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], stream: BinaryIO) -> None:
    import csv

    from neptune_flow.inspection.values import text_of

    with _text(stream) as text:
        writer = csv.writer(text)
        writer.writerow(schema.names)
        for row in _rows(batches):
            writer.writerow(["" if value is None else text_of(value) for value in row])


@contextmanager
def _text(stream: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """Text into the stream, which stays open."""
    text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    try:
        yield text
    finally:
        text.detach()


def _write_parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch], stream: BinaryIO) -> None:
    import pyarrow as pa

    from neptune_flow.inspection.query import BadQuery

    try:
        write_parquet(stream, schema, batches)
    except pa.ArrowException as error:
        raise BadQuery(f"Parquet cannot hold the answer: {error}") from None


_WRITERS: dict[str, Callable[[pa.Schema, Iterator[pa.RecordBatch], BinaryIO], None]] = {
    "table": _write_table,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
