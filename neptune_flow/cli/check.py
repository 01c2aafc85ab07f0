"""`neptune check`: prints what `inspection.check` finds, line by line as it is found."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from neptune_flow.cli.common import HELP, WELL, WRONG, Number, as_json_option, echo_json, load_settings

if TYPE_CHECKING:
    from neptune_flow.inspection.check import Finding

LIMIT_S = 20.0
"""So long one question may take: a request's limit, and what its client takes to notice."""


@click.command(context_settings=HELP)
@click.option(
    "--limit-s",
    type=Number(0.1, 3600),
    default=LIMIT_S,
    show_default=True,
    help="Limit of each question, seconds.",
)
@as_json_option
def command(*, limit_s: float, as_json: bool) -> None:
    """Say whether Neptune could land with these settings. Changes nothing.

    Looks at settings, contract, Kafka, topic, storage, catalog, both tables and their ledgers: each is a line, with what is wrong and how to mend
    it. What does not depend on a failure is looked at all the same. Nothing is written, so whether the storage may be written to is only known
    after the start.

    \b
    Exit codes: 0 all is well, 1 something is wrong and named, 2 wrong usage or a defect.
    \b
    Examples:
      neptune check
      neptune check --json | jq '.findings[] | select(.state != "ok")'
    """
    from neptune_flow.inspection.check import State, check

    findings: list[Finding] = []
    for finding in check(load_settings, limit_s):
        findings.append(finding)
        if not as_json:
            _show(finding)
    is_well = all(finding.state is State.OK for finding in findings)
    if as_json:
        told = [
            {"what": f.what, "state": f.state.value, "said": f.said, "detail": f.detail, "hint": f.hint}
            for f in findings
        ]
        echo_json({"well": is_well, "findings": told})
    sys.exit(WELL if is_well else WRONG)


def _show(finding: Finding) -> None:
    colour = {"ok": "green", "wrong": "red", "not looked": "yellow"}[finding.state.value]
    state = click.style(f"{finding.state.value:<10}", fg=colour, bold=finding.state.value == "wrong")
    click.echo(f"{state}  {finding.what:<10}  {finding.said}")
    for name, text in (("detail", finding.detail), ("hint", finding.hint)):
        for number, line in enumerate(text.strip().splitlines()):
            click.echo(f"{'':24}{f'{name}: ' if number == 0 else '  '}{line.strip()}")
