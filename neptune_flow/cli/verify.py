"""`neptune verify`: reads options, lets `neptune_flow.verify` work, prints."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from neptune_flow.cli.common import HELP, WELL, WRONG, console, load_settings
from neptune_flow.cli.progress import bars

if TYPE_CHECKING:
    from rich.progress import Progress

    from neptune_flow.verify.run import Watcher

KAFKA_MESSAGES_MAX = 10_000_000
"""Messages that Kafka is asked for at most: some minutes. Only offsets that no table holds are asked for, so it is rarely reached."""

DATE = click.DateTime(["%Y-%m-%d"])
EPOCH = date(1970, 1, 1)


@click.command(context_settings=HELP)
@click.option("--day", type=DATE, help="Read only the files of this event day.")
@click.option("--since", type=DATE, help="Read only the files of this event day and later ones.")
@click.option(
    "--kafka/--no-kafka", default=None, help="Insist on asking Kafka, or do not ask. Default: ask if it answers."
)
@click.option(
    "--kafka-messages-max",
    type=click.IntRange(1),
    default=KAFKA_MESSAGES_MAX,
    show_default=True,
    help="Read no more messages than this from Kafka.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def command(
    day: datetime | None, since: datetime | None, kafka: bool | None, kafka_messages_max: int, as_json: bool
) -> None:
    """Check that each message that was landed is in the tables once.

    Reads from every data file of the table and its quarantine where its messages come from, and holds it against the ledger: offsets from the
    first to the ledger's are rows, rejects, left out by Kafka, or lost to retention, and none is there twice. Of offsets that no table
    holds, Kafka is asked whether it still has them. May be run while Neptune runs. Changes nothing.

    With --day or --since only part of the table is read: it is judged whether anything is there twice or should not be there,
    not whether anything is missing.

    \b
    Faults:
      lost     a message is in no table, or its file is gone or cannot be read
      twin     a message is there more than once
      skip     the ledger's numbers are not those of the tables, or ran back
      strange  what Neptune did not put there, or would not go on with
    \b
    Exit codes: 0 whole, 1 faults were found and named, 2 it could not be looked.
    \b
    Examples:
      neptune verify
      neptune verify --day 2025-03-01
      neptune verify --no-kafka --json | jq '.faults'
    """
    from neptune_flow.verify.run import verify
    from neptune_flow.verify.task import open_task
    from neptune_flow.verify.text import show

    if day and since:
        raise click.UsageError("--day and --since exclude each other")
    task = open_task(load_settings(), _event_days(day, since), kafka, kafka_messages_max)
    with _progress() as watcher:
        report = verify(task, watcher)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    else:
        show(console(), report)
    sys.exit(WELL if report.is_whole else WRONG)


@contextmanager
def _progress() -> Iterator[Watcher]:
    """A bar on standard error, where that is a terminal."""
    with bars() as progress:
        yield _Bar(progress)


class _Bar:
    """Shows how far it is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def begin(self, what: str, rows: int | None) -> None:
        self._progress.reset(self._task, description=what, total=rows)

    def advance(self, rows: int) -> None:
        self._progress.advance(self._task, rows)


def _event_days(day: datetime | None, since: datetime | None) -> tuple[int, int | None] | None:
    """First and last, as days since 1970-01-01."""
    first = day or since
    if first is None:
        return None
    number = (first.date() - EPOCH).days
    return number, number if day else None
