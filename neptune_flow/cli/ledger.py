"""`neptune ledger show` and `neptune ledger set`: reads options, asks before anything is landed, prints. What they do is in `mend`."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from neptune_flow.cli.common import HELP, OFFSET, PARTITION, WELL, WRONG, load_settings

if TYPE_CHECKING:
    from neptune_flow.mend.describe import Facts
    from neptune_flow.mend.plan import Change, Plan
    from neptune_flow.settings import Settings

LOOKS_MAX = 3
"""What looks wrong may be a commit that fell between the looks at the two tables: it is told once two looks in a row agree, or after so many."""

WAIT_S_MAX = 20.0
"""So long a command waits for catalog and Kafka: somebody sits before it."""
SOURCES = ["earliest", "latest", "rows", "ledger"]
"""The names of `mend.basis.Source` but for `offsets`, which --offsets means."""


@click.group(context_settings=HELP)
def command() -> None:
    """Look at the tables' ledgers, and set them by hand.

    The ledger is what a table remembers of its topic: per Kafka partition the next offset that it has not taken, and totals. Neptune resumes
    from it. Where topic and tables tell different stories Neptune stops (exit 65) and names the command that mends it.
    """


@command.command(context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--kafka/--no-kafka", "with_kafka", default=True, help="Whether to ask Kafka for the log's range.")
def show(*, as_json: bool, with_kafka: bool) -> None:
    """Show both tables' ledgers beside Kafka's log, and whatever Neptune would stop at. Changes nothing.

    Exit codes: 0 all fits; 1 something is wrong, and is named with what mends it; 2 wrong usage, or catalog or tables could not be looked at.
    Without an answer from Kafka the tables are shown alone.

    \b
    Examples:
      neptune ledger show
      neptune ledger show --json | jq '.problems'
    """
    settings = load_settings()
    facts = _look(settings, with_kafka=with_kafka)
    for _ in range(LOOKS_MAX - 1):
        problems = facts["problems"]
        if not problems or (facts := _look(settings, with_kafka=with_kafka))["problems"] == problems:
            break
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_shown(facts)))
    sys.exit(WRONG if facts["problems"] else WELL)


def _look(settings: Settings, *, with_kafka: bool) -> Facts:
    from neptune_flow.inspection.opening import log_or_why
    from neptune_flow.mend.describe import describe
    from neptune_flow.mend.scene import open_tables

    tables = open_tables(settings)
    if tables.rows is None and tables.quarantine is None:
        tables.both()
    log, why = log_or_why(settings) if with_kafka else (None, "not asked")
    return describe(tables, log, settings.kafka.topic) | ({"kafka_error": why} if why else {})


def _offsets(context: click.Context, option: click.Parameter, text: str | None) -> dict[int, int]:
    try:
        pairs = [pair.split("=") for pair in text.split(",")] if text else []
        offsets = {PARTITION(int(p), option, context): OFFSET(int(o), option, context) for p, o in pairs}
    except ValueError:
        raise click.BadParameter("give it as partition=offset, such as 0=1200,1=977") from None
    if len(offsets) != len(pairs):
        raise click.BadParameter("a partition is named twice")
    return offsets


@command.command("set", context_settings=HELP)
@click.option("--from", "source", type=click.Choice(SOURCES), help="Where Neptune shall go on: see above.")
@click.option("--offsets", callback=_offsets, help="Where Neptune shall go on, as partition=offset: 0=1200,1=977")
@click.option(
    "--partition", "partitions", type=PARTITION, multiple=True, help="Only this Kafka partition; may be repeated."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def set_(*, source: str | None, offsets: dict[int, int], partitions: tuple[int, ...], dry_run: bool, yes: bool) -> None:
    """Set the offsets from which Neptune goes on. Stop Neptune first.

    \b
    --from ledger    the newest ledger in the table's history: after a rollback that is meant to stay
    --from rows      after the last offset that the rows hold: after a table was dropped, rebuilt or copied
    --from earliest  the first message that Kafka still holds: after a topic was created anew
    --from latest    the log's end: what Kafka holds until there is not taken
    --offsets        numbers of your own, as from the tool that moved the rows

    First it says what this does, then it asks, and lands the new ledger as a commit of its own: the table's history shows it, and whoever
    still writes is stopped. For each partition it says:

    \b
    lost              messages that no table will hold, and that were not counted as lost before
    deleted by Kafka  messages that were never taken, and that Kafka does not hold any more
    taken again       offsets that were taken, and will be read again
    doubled           of these, rows that the table holds already, and that will be there twice

    A range, as in 2-5, means at least and at most: which of the offsets that no table holds were messages is not always known.

    Exit codes: 0 done, or nothing done with --dry-run; 1 not agreed to; 2 wrong usage, or it could not be looked or be done.

    \b
    Examples:
      neptune ledger set --from ledger --dry-run
      neptune ledger set --offsets 0=1200,1=977
    """
    from neptune_flow.mend.basis import Source, Wish
    from neptune_flow.mend.land import land
    from neptune_flow.mend.prepare import prepare
    from neptune_flow.mend.scene import ask_kafka, open_tables
    from neptune_flow.patience import Patience
    from neptune_flow.vitals import CATALOG, KAFKA

    if (source is None) == (not offsets):
        raise click.UsageError("say where to go on: either --from or --offsets")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: add --yes, or --dry-run to see what would happen")
    wish = Wish(Source(source) if source else Source.OFFSETS, offsets, frozenset(partitions))
    settings = load_settings()
    patience = Patience(min(settings.start_wait_s_max, WAIT_S_MAX))
    rows, quarantine = patience.call(CATALOG, lambda: open_tables(settings)).both()
    log = patience.call(KAFKA, lambda: ask_kafka(settings))
    plan = prepare(wish, log, rows, quarantine, patience)
    click.echo("\n".join(_planned(plan, rows.table.name)))
    if dry_run:
        return
    if not yes and not click.confirm("Set the ledger?"):
        sys.exit(WRONG)
    snapshot = land(plan, rows, quarantine, patience, settings.snapshots_max)
    click.echo(f"the ledger is set: snapshot {snapshot} of {rows.table.name}")


def _planned(plan: Plan, table: str) -> list[str]:
    shown = [_change(c) for c in plan.changes]
    heads = ("partition", "goes on at", "instead of", "lost", "deleted by Kafka", "taken again", "doubled")
    lost = _range(sum(c.given_up_least for c in plan.changes), sum(c.given_up + c.deleted for c in plan.changes))
    doubled = sum(c.doubled or 0 for c in plan.changes)
    more = " or more" if any(c.doubled is None for c in plan.changes) else ""
    lines = [f"{table}: the ledger would be set from {plan.source.value}", *_aligned([heads, *shown])]
    return [*lines, f"in all {lost} messages lost, {doubled}{more} rows doubled", *(f"- {n}" for n in plan.notes)]


def _change(change: Change) -> tuple[object, ...]:
    doubled = "?" if change.doubled is None else change.doubled
    before = "-" if change.before is None else change.before
    lost = _range(change.given_up_least, change.given_up)
    return change.partition, change.after, before, lost, _range(0, change.deleted), change.again, doubled


def _range(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least}-{most}"


def _shown(facts: Facts) -> list[str]:
    rows, quarantine, kafka = facts["tables"]["rows"], facts["tables"]["quarantine"], facts["kafka"]
    lines = [line for table in (rows, quarantine) for line in _table(table)]
    if kafka:
        lines.append(f"Kafka: topic {kafka['topic']}, id {kafka['topic_id']}")
    if "kafka_error" in facts:
        lines.append(f"no log beside them: {facts['kafka_error']}")
    lines += ["", *_aligned(_partitions(rows, quarantine, kafka))]
    for problem in facts["problems"]:
        lines += ["", f"wrong: {problem['what']}", *(f"{k}: {problem[k]}" for k in ("detail", "hint") if problem[k])]
    return lines if facts["problems"] else [*lines, "", "nothing is wrong"]


def _table(table: Facts | None) -> list[str]:
    if table is None:
        return ["(a table is missing)"]
    if not table["partitions"]:
        return [f"{table['name']}: no ledger (snapshot {table['head']}, tag at {table['tag']})"]
    by_hand = f", set by hand: {table['set_by_hand']}" if table["set_by_hand"] else ""
    return [
        f"{table['name']}: topic {table['topic']}, id {table['topic_id']}",
        f"  ledger in snapshot {table['ledger_snapshot']} of {table['committed_at']}{by_hand}",
        f"  newest snapshot {table['head']}, tag at {table['tag']}",
    ]


def _partitions(rows: Facts | None, quarantine: Facts | None, kafka: Facts | None) -> list[tuple[object, ...]]:
    ours, theirs = ((table or {}).get("partitions", {}) for table in (rows, quarantine))
    log = kafka["partitions"] if kafka else {}
    heads = (
        "partition",
        "first",
        "next",
        "rows",
        "rejects",
        "left out",
        "lost",
        "watermark",
        "quarantine",
        "Kafka",
        "lag",
    )
    lines: list[tuple[object, ...]] = [heads]
    for p in sorted({*ours, *theirs, *log}, key=int):
        entry, held, ends = (found.get(p) for found in (ours, theirs, log))
        keys = ("first", "next", "rows", "rejects", "left_out", "lost", "watermark")
        known = [_or_dash(entry, key) for key in keys]
        verdicts = f"{held['rejects']} up to {held['next']}" if held else "-"
        in_kafka = f"{ends['first']}-{ends['end']}" if ends else "-"
        lag = ends["end"] - entry["next"] if ends and entry else "-"
        lines.append((p, *known, verdicts, in_kafka, lag))
    return lines


def _or_dash(entry: Mapping[str, object] | None, key: str) -> object:
    value = entry.get(key) if entry else None
    return "-" if value is None else value


def _aligned(lines: Sequence[Sequence[object]]) -> list[str]:
    widths = [max(len(str(cell)) for cell in column) for column in zip(*lines, strict=True)]
    return ["  ".join(str(cell).rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
