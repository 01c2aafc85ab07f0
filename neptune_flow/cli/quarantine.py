"""`neptune quarantine list|show|export`: prints what `inspection.rejects` finds. Nothing is masked: it is the reader's own terminal."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from neptune_flow.cli.common import (
    EXIT_CODES,
    HELP,
    OFFSET,
    PARTITION,
    WELL,
    WRONG,
    as_json_option,
    console,
    echo_json,
    load_settings,
    plain_table,
)
from neptune_flow.cli.files import destination, write_parquet
from neptune_flow.cli.progress import bar

if TYPE_CHECKING:
    from collections import Counter

    import pyarrow as pa

    from neptune_flow.inspection.rejects import Reject, Summary, Wanted

F = TypeVar("F", bound=Callable[..., None])
TIME = click.DateTime(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"])
MESSAGE_CHARS_MAX = 100
"""Of a reason's text in a list."""


@click.group(context_settings=HELP)
def command() -> None:
    """Look at refused messages: which, why, and the whole of one."""


def _filters(function: F) -> F:
    """The options that choose rejects."""
    for option in (
        click.option(
            "--day",
            "days",
            type=click.DateTime(["%Y-%m-%d"]),
            metavar="DAY",
            multiple=True,
            help="Of this UTC day; repeatable.",
        ),
        click.option("--until", type=TIME, metavar="TIME", help="Whose Kafka time is before this one (UTC)."),
        click.option(
            "--since",
            type=TIME,
            metavar="TIME",
            help="Whose Kafka time is this one or later: 2025-03-01, 2025-03-01T12:00 (UTC).",
        ),
        click.option(
            "--partition", "partitions", type=PARTITION, multiple=True, help="Of this Kafka partition; repeatable."
        ),
        click.option("--field", "fields", multiple=True, help="Refused for this field, or one within; repeatable."),
        click.option("--reason", "kinds", multiple=True, help="Refused for a reason of this kind; repeatable."),
    ):
        function = option(function)
    return function


def _wanted(filters: dict[str, Any]) -> Wanted:
    from neptune_flow.inspection.rejects import Wanted

    def utc(moment: datetime | None) -> datetime | None:
        return moment.replace(tzinfo=UTC) if moment else None

    return Wanted(
        kinds=filters["kinds"],
        fields=filters["fields"],
        partitions=filters["partitions"],
        since=utc(filters["since"]),
        until=utc(filters["until"]),
        days=tuple(day.date() for day in filters["days"]),
    )


@command.command("list", context_settings=HELP)
@_filters
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rejects to show, the newest.")
@click.option("--summary", is_flag=True, help="Count by kind, field, partition and day instead.")
@as_json_option
def list_(*, limit: int, summary: bool, as_json: bool, **filters: Any) -> None:
    """List refused messages with their reasons, the newest first; or count them.

    Filters of different options must all hold, of the same option any. Times are Kafka's. With a day, or a time, only the files that can hold it
    are read.

    \b
    Exit codes: 0 done, also where nothing was found; 2 wrong usage, or it could not be looked.
    \b
    Examples:
      neptune quarantine list
      neptune quarantine list --summary --day 2025-03-01
      neptune quarantine list --reason missing --field order_id --since 2025-03-01T12:00
    """
    from neptune_flow.inspection import rejects

    picture = rejects.open_quarantine(load_settings())
    with bar("reading rejects", picture.rows) as advance:
        columns = rejects.COUNTED if summary else rejects.LISTED
        found = rejects.batches(picture, _wanted(filters), columns, advance)
        counted = rejects.count(found) if summary else None
        listed = rejects.newest(found, limit)
    if counted:
        _echo_summary(counted, as_json=as_json)
    elif as_json:
        echo_json([rejects.to_json(reject) for reject in listed])
    else:
        _show_list(listed, limit)


def _show_list(found: list[Reject], limit: int) -> None:
    if not found:
        click.echo("no such reject")
        return
    table = plain_table(("message", "time (UTC)", "field", "reason"))
    for reject in found:
        place = f"{reject['partition']}:{reject['offset']}"
        time = f"{reject['timestamp']:%Y-%m-%d %H:%M:%S}" if reject["timestamp"] else "-"
        for reason in reject["reasons"]:
            text = f"{reason['kind']}: {reason['message']}"
            cut = text if len(text) <= MESSAGE_CHARS_MAX else text[: MESSAGE_CHARS_MAX - 1] + "…"
            table.add_row(place, time, _plain(reason["field"] or "(message)"), _plain(cut))
            place = time = ""
    console().print(table)
    if len(found) == limit:
        click.echo(f"these are the newest {limit}; --limit shows more, --summary counts all", err=True)


def _plain(text: str) -> Any:
    """Text that is not read as markup, without what would move the cursor."""
    from rich.text import Text

    from neptune_flow.inspection.marking import printable

    return Text(printable(text))


def _echo_summary(summary: Summary, *, as_json: bool) -> None:
    parts: dict[str, Counter[Any]] = {
        "kinds": summary.kinds,
        "fields": summary.fields,
        "partitions": summary.partitions,
        "days": summary.days,
    }
    if as_json:
        counts = {name: {str(key): n for key, n in counter.most_common()} for name, counter in parts.items()}
        echo_json({"rejects": summary.rejects, **counts})
        return
    click.echo(f"{summary.rejects:,} rejects")
    for name, counter in parts.items():
        if counter:
            table = plain_table(("messages", name.removesuffix("s")), numbers=("messages",))
            for key, number in counter.most_common():
                table.add_row(f"{number:,}", _plain(str(key)))
            click.echo()
            console().print(table)


class _Place(click.ParamType[tuple[int, int]]):
    """`PARTITION:OFFSET`."""

    name = "partition:offset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        partition, _, offset = str(value).partition(":")
        if not (partition.isdecimal() and offset.isdecimal()):
            self.fail("give it as partition:offset, such as 2:1733", param, ctx)
        return PARTITION(partition, param, ctx), OFFSET(offset, param, ctx)


@command.command(context_settings=HELP)
@click.argument("place", type=_Place(), metavar="PARTITION:OFFSET")
@click.option(
    "--raw", is_flag=True, help="Write the message's value to standard output, byte for byte, and nothing else."
)
@as_json_option
def show(*, place: tuple[int, int], raw: bool, as_json: bool) -> None:
    """Show one refused message whole: why, headers, key, and its value with the failing fields marked.

    \b
    Exit codes: 0 done; 1 the quarantine has no such message; 2 wrong usage, or it could not be looked.
    \b
    Examples:
      neptune quarantine show 2:1733
      neptune quarantine show 2:1733 --raw | xxd | head
    """
    from neptune_flow.inspection import rejects

    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other")
    found = rejects.find(rejects.open_quarantine(load_settings()), *place)
    if not found:
        click.echo(f"the quarantine has no message {place[0]}:{place[1]}", err=True)
        sys.exit(WRONG)
    if raw:
        sys.stdout.buffer.write(found[0]["value"] or b"")
    elif as_json:
        echo_json([rejects.to_json(reject) for reject in found])
    else:
        for reject in found:
            click.echo("\n".join(_lines(reject)))


def _lines(reject: Reject) -> Iterator[str]:
    from neptune_flow.inspection.marking import printable, show_value

    time = f"{reject['timestamp']:%Y-%m-%d %H:%M:%S.%f}"[:-3] if reject["timestamp"] else "no time"
    yield click.style(f"{reject['topic']} {reject['partition']}:{reject['offset']}", bold=True) + f"  {time}"
    yield f"refused by {reject['contract']}"
    for reason in reject["reasons"]:
        yield click.style(
            printable(f"  {reason['field'] or '(message)'}: {reason['kind']}: {reason['message']}"), fg="red"
        )
    yield f"key: {_shown(reject['key'])}"
    for header in reject["headers"] or ():
        yield f"header {printable(header['name'])}: {_shown(header['value'])}"
    value = reject["value"]
    yield "value:" if value is None else f"value, {len(value):,} bytes:"
    for line in show_value(value, reject["reasons"]):
        yield f"  {line.text}" + (click.style(f"  ◄ {printable(line.mark)}", fg="red", bold=True) if line.mark else "")


def _shown(content: bytes | None) -> str:
    from neptune_flow.inspection.marking import printable

    return "null" if content is None else printable(content.decode(errors="backslashreplace"))


@command.command(context_settings=HELP, epilog=EXIT_CODES)
@_filters
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "parquet"]), help="Default: by the file's name, else jsonl."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, in place only once it is whole. Default: standard output.",
)
def export(*, form: str | None, output: Path | None, **filters: Any) -> None:
    """Write refused messages with their reasons to a file, to be mended and sent again, or looked at elsewhere.

    JSON Lines hold keys, values and headers as text; what is not UTF-8 is base 64, under the name with `_base64` behind it. Parquet holds the bytes
    as they are. However many there are, they are never all in memory.

    \b
    Examples:
      neptune quarantine export -o rejects.parquet
      neptune quarantine export --reason json_invalid | jq -r .value
    """
    from neptune_flow.inspection import rejects

    picture = rejects.open_quarantine(load_settings())
    form = form or ("parquet" if output and output.suffix == ".parquet" else "jsonl")
    with bar("reading rejects", picture.rows) as advance, destination(output) as stream:
        batches = rejects.batches(picture, _wanted(filters), advance=advance)
        write = write_parquet if form == "parquet" else _write_jsonl
        written = write(stream, picture.schema, batches)
    click.echo(f"{written:,} rejects written" + (f" to {output}" if output else ""), err=True)
    sys.exit(WELL)


def _write_jsonl(stream: BinaryIO, _schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    from neptune_flow.inspection.rejects import to_json

    written = 0
    for batch in batches:
        for row in batch.to_pylist():
            stream.write(json.dumps(to_json(row), ensure_ascii=False).encode() + b"\n")
        written += batch.num_rows
    return written
