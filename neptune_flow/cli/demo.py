"""`neptune demo` (also `make demo`, `python -m neptune_flow.demo`): reads options, lets `neptune_flow.demo` play."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import sys
from pathlib import Path

import click

from neptune_flow.cli.common import HELP, VEHICLES_MAX, Number

RATE_MIN, RATE_MAX = 0.001, 20_000.0
"""The broker keeps 5 MB of each partition: at a higher rate one pause of the flow would lose messages to retention."""


@click.command(context_settings=HELP)
@click.option(
    "--seconds",
    type=Number(0, 86_400, min_open=True),
    default=30.0,
    show_default=True,
    help="How long to produce messages.",
)
@click.option(
    "--rate",
    type=Number(RATE_MIN, RATE_MAX),
    default=2000.0,
    show_default=True,
    help="Messages per second: the broker keeps only 5 MB of each partition.",
)
@click.option(
    "--vehicles", type=click.IntRange(1, VEHICLES_MAX), default=500, show_default=True, help="Vehicles on the road."
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same vehicles.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep catalog, tables and the flow's log in this new folder.",
)
def command(*, seconds: float, rate: float, vehicles: int, seed: int, folder: Path | None) -> None:
    """Show the whole job on this machine: Kafka, catalog and storage inside Python, the flow as it is.

    Simulated vehicles send messages, some of them bad. What landed is held against what was sent. Nothing but Python is needed, and no setting is
    read.

    \b
    Exit codes: 0 everything holds; 1 something does not; 2 wrong usage; 130 interrupted before the first message.
    \b
    Examples:
      neptune demo
      neptune demo --seconds 60 --folder demo-data
    """
    from neptune_flow.demo.play import play

    sys.exit(play(folder=folder, seconds=seconds, rate=rate, vehicles=vehicles, seed=seed))
