"""`neptune contract show` and `neptune contract diff`: the columns that the model makes, and how they lie in the table."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from neptune_flow.cli.common import (
    HELP,
    WELL,
    WRONG,
    as_json_option,
    console,
    echo_json,
    load_settings,
    plain_table,
)

if TYPE_CHECKING:
    from neptune_flow.iceberg.comparison import Comparison


@click.group(context_settings=HELP)
def command() -> None:
    """Show the columns that the contract makes, and hold the table against them."""


@command.command(context_settings=HELP)
@as_json_option
def show(*, as_json: bool) -> None:
    """Show the columns that the contract (NEPTUNE_CONTRACT) makes: type, null or not, constraints, and from where they come.

    Asks nobody: neither Kafka nor catalog need be there.

    \b
    Exit codes: 0 done; 2 wrong usage, or the contract cannot become a table.
    \b
    Examples:
      neptune contract show
      NEPTUNE_CONTRACT=my_package.my_module:MyModel neptune contract show --json
    """
    from neptune_flow.inspection.columns import columns, make

    settings = load_settings()
    made = make(settings)
    found = columns(made, settings.catalog.table)
    contract = made.contract
    if as_json:
        document = {"contract": contract.name, "fingerprint": contract.fingerprint, "event_time": contract.event_time}
        echo_json(document | {"columns": [asdict(column) for column in found]})
        return
    click.echo(f"contract {contract.name}, fingerprint {contract.fingerprint}, event time {contract.event_time}\n")
    table = plain_table(("column", "type", "null", "constraints", "from"))
    for column in found:
        null = "yes" if column.is_nullable else ""
        table.add_row(column.name, column.type, null, ", ".join(column.constraints), column.origin)
    console().print(table)


@command.command(context_settings=HELP)
@click.option("--all", "with_same", is_flag=True, help="Show the columns that are the same, too.")
@as_json_option
def diff(*, with_same: bool, as_json: bool) -> None:
    """Hold the table and its quarantine against the columns that the contract makes. Changes nothing.

    A column that only the table has is fine if it is optional: Neptune's rows have no value there. A column that is missing in the table, or has
    another type, is refused at the start: add it with your catalog's tools, as an optional one, or choose another ICEBERG_TABLE.

    \b
    Exit codes: 0 Neptune would land in these tables, or there are none yet; 1 it would refuse one, and the reason is
    named; 2 wrong usage, or it could not be looked.
    \b
    Examples:
      neptune contract diff
      neptune contract diff --json | jq '.tables[].columns[] | select(.verdict != "same")'
    """
    from neptune_flow.iceberg import Lake
    from neptune_flow.inspection.columns import compare_rejects, compare_rows, make

    settings = load_settings()
    made, lake = make(settings), Lake.of(settings)
    found = [c for compare in (compare_rows, compare_rejects) if (c := compare(settings, made, lake)) is not None]
    is_refused = any(compared.refusal for compared in found)
    if as_json:
        echo_json({"refused": is_refused, "tables": [_document(compared) for compared in found]})
    elif not found:
        click.echo("there is no table yet: the start makes both")
    else:
        for compared in found:
            _show(compared, with_same=with_same)
    sys.exit(WRONG if is_refused else WELL)


def _document(compared: Comparison) -> dict[str, object]:
    why = compared.refusal
    columns = [{"name": c.name, "contract": c.ours, "table": c.theirs, "verdict": c.verdict} for c in compared.columns]
    refusal = {"what": why.primary, "detail": why.detail, "hint": why.hint} if why else None
    return {"table": compared.table, "refusal": refusal, "columns": columns}


def _show(compared: Comparison, *, with_same: bool) -> None:
    shown = [c for c in compared.columns if with_same or c.verdict != "same"]
    same = len(compared.columns) - sum(c.verdict != "same" for c in compared.columns)
    click.echo(f"{compared.table}: {same} of {len(compared.columns)} columns are the same")
    if shown:
        table = plain_table(("column", "contract", "table", ""))
        for column in shown:
            table.add_row(column.name, column.ours or "-", column.theirs or "-", column.verdict)
        console().print(table)
    if compared.refusal:
        click.secho(str(compared.refusal), fg="red")
    click.echo()
