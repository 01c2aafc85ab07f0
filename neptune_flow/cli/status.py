"""`neptune status`: prints what `inspection.status` finds, once or again and again."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from neptune_flow.cli.common import (
    HELP,
    WELL,
    WRONG,
    Number,
    as_json_option,
    console,
    echo_json,
    load_settings,
    plain_table,
    span,
    when,
)
from neptune_flow.errors import NeptuneError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from neptune_flow.inspection.status import Status
    from neptune_flow.settings import Settings


@click.command(context_settings=HELP)
@click.option(
    "--commits", "commits_max", type=click.IntRange(0), default=5, show_default=True, help="Last commits to show."
)
@click.option("--kafka/--no-kafka", "with_kafka", default=True, help="Whether to ask Kafka for what waits.")
@click.option("--watch", "watch_s", type=Number(0.5, 86_400), help="Look again after so many seconds, until Ctrl-C.")
@as_json_option
def command(*, commits_max: int, with_kafka: bool, watch_s: float | None, as_json: bool) -> None:
    """Say whether data lands, how fresh and how complete it is.

    Read from the tables and from Kafka alone: no running Neptune is needed, and none is disturbed. Per Kafka partition: the ledger's next offset,
    the log's end, what waits between them and since when. "Complete up to" is the least watermark: no on-time row older than it is expected
    any more. With --json and --watch each look is one line.

    \b
    Exit codes: 0 well; 1 there is no table yet, or Neptune would stop here, or a message has waited for longer than NEPTUNE_COMMIT_AGE_S_MAX
    and 10 s, or Kafka does not answer; 2 wrong usage, or it could not be looked.
    \b
    Examples:
      neptune status
      neptune status --watch 2
      neptune status --json | jq '{lag, freshness_s, complete_up_to}'
    """
    from neptune_flow.inspection.status import look

    settings = load_settings()
    if watch_s is not None:
        _watch(settings, commits_max, watch_s, with_kafka=with_kafka, as_json=as_json)
        sys.exit(WELL)
    status = look(settings, commits_max=commits_max, with_kafka=with_kafka)
    if as_json:
        echo_json(status.to_json())
    else:
        console().print(*_shown(status), sep="\n")
    sys.exit(WELL if status.is_well else WRONG)


def _watch(settings: Settings, commits_max: int, watch_s: float, *, with_kafka: bool, as_json: bool) -> None:
    """Look until Ctrl-C; a service that is away for a while ends nothing."""
    from rich.console import Group
    from rich.live import Live

    screen = console()
    try:
        if as_json:
            for found in _looks(settings, commits_max, watch_s, with_kafka=with_kafka):
                document = {"error": str(found)} if isinstance(found, NeptuneError) else found.to_json()
                click.echo(json.dumps(document, ensure_ascii=False))
            return
        with Live(console=screen, auto_refresh=False) if screen.is_terminal else nullcontext() as live:
            for found in _looks(settings, commits_max, watch_s, with_kafka=with_kafka):
                parts = [str(found)] if isinstance(found, NeptuneError) else list(_shown(found))
                if live:
                    live.update(Group(*parts), refresh=True)
                else:
                    screen.print(*parts, "", sep="\n")
    except KeyboardInterrupt:
        return


def _looks(
    settings: Settings, commits_max: int, watch_s: float, *, with_kafka: bool
) -> Iterator[Status | NeptuneError]:
    from neptune_flow.inspection.status import look

    while True:
        try:
            yield look(settings, commits_max=commits_max, with_kafka=with_kafka)
        except NeptuneError as error:
            yield error
        time.sleep(watch_s)


def _shown(status: Status) -> Iterator[RenderableType]:
    from rich.text import Text

    from neptune_flow.inspection.opening import NO_TABLE_HINT

    yield Text(status.verdict, style="bold green" if status.is_well else "bold red")
    if not status.has_table:
        yield Text(f"  hint: {NO_TABLE_HINT}")
    for problem in status.problems:
        for name, text in problem.items():
            if text:
                yield Text(f"  {name}: {text}")
    share = status.quarantine_share
    yield (
        f"topic {status.topic} into {status.table}; last commit {span(status.freshness_s)} ago; "
        f"complete up to {when(_ms(status.complete_up_to))}; refused {'-' if share is None else f'{share:.2%}'}"
    )
    yield ""
    yield _partitions(status)
    if status.commits:
        yield ""
        yield _commits(status)


def _partitions(status: Status) -> RenderableType:
    numbers = ("partition", "next", "Kafka's end", "lag", "waits", "rows", "rejects", "late", "lost")
    table = plain_table((*numbers, "watermark", "idle"), numbers=numbers)
    for p in status.partitions:
        waits = None if p.waiting_since_ms is None else max(0.0, (status.now_ms - p.waiting_since_ms) / 1000)
        cells = (p.partition, p.next, p.end, p.lag)
        table.add_row(
            *("-" if cell is None else f"{cell:,}" for cell in cells),
            span(waits),
            *(f"{cell:,}" for cell in (p.rows, p.rejects, p.late, p.lost)),
            when(_ms(p.watermark)),
            "yes" if p.is_idle else "",
        )
    return table


def _commits(status: Status) -> RenderableType:
    numbers = ("rows", "rejects", "late", "lost", "files", "KB")
    table = plain_table(("commit", *numbers, "by", "snapshot"), numbers=numbers)
    for c in status.commits:
        cells = (c.rows, c.rejects, c.late, c.lost, c.files, c.file_bytes // 1000)
        table.add_row(when(c.at_ms), *(f"{cell:,}" for cell in cells), c.by, str(c.snapshot_id))
    return table


def _ms(time_us: int | None) -> float | None:
    return None if time_us is None else time_us / 1000
