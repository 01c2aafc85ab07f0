"""`neptune run`: the flow as containers start it. Its options are Bytewax's, its exit codes the flow's (`errors`)."""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from neptune_flow.cli.common import HELP
from neptune_flow.early import leaving_on_signals

_OF_A_CLUSTER = ("process_id", "addresses", "recovery_directory")
_OF_A_CLUSTERS_ENVIRONMENT = ("BYTEWAX_ADDRESSES", "BYTEWAX_PROCESS_ID", "BYTEWAX_RECOVERY_DIRECTORY")


@click.command(context_settings=HELP)
@click.option(
    "-w",
    "--workers-per-process",
    type=click.IntRange(1, 1024),
    envvar="BYTEWAX_WORKERS_PER_PROCESS",
    help="Workers (threads) of this process.",
)
@click.option(
    "-i", "--process-id", type=click.IntRange(0, 65_535), help="Number of this process in its cluster, from 0."
)
@click.option("-a", "--addresses", help='All processes of the cluster: "host0:2101;host1:2101"')
@click.option(
    "-r",
    "--recovery-directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a recovery store, made where it is missing: open windows are restored instead of being read again.",
)
@click.option(
    "-s",
    "--snapshot-interval",
    type=click.IntRange(0, 86_400),
    envvar="BYTEWAX_SNAPSHOT_INTERVAL",
    help="Seconds between commits at most. Default: 1.",
)
@click.option(
    "-b",
    "--backup-interval",
    type=click.IntRange(0, 31_622_400),
    help="Seconds for which old recovery data is kept. Default: 0.",
)
@click.option(
    "--group/--no-group",
    "in_group",
    envvar="NEPTUNE_GROUP_MODE",
    default=False,
    help="Share the topic with the other processes of KAFKA_CONSUMER_GROUP. Default: NEPTUNE_GROUP_MODE, else no.",
)
def command(*, in_group: bool, **options: object) -> None:
    """Land the topic in the table, until SIGTERM or SIGINT.

    The same flow as `python dataflow.py` and `python -m bytewax.run dataflow:flow -s 1`. No option is needed: Neptune resumes from the table.
    On SIGTERM or SIGINT it takes no more, commits what is there and ends, within NEPTUNE_DRAIN_S_MAX. Each option can come from the environment
    variable of Bytewax's, such as BYTEWAX_WORKERS_PER_PROCESS; in group mode only workers and snapshot interval can.

    With --group it joins the consumer group, lands the Kafka partitions that it is assigned, and hands them over when processes come and go:
    start as many as you like. Without, it lands the whole topic, alone or as a member of a Bytewax cluster (-i, -a).

    \b
    Exit codes:
       0  drained
       1  a defect
       2  wrong usage
      65  topic and tables tell different stories; the log names the command that mends it
      69  Kafka, storage or catalog was away longer than its limit
      70  offsets are missing that Kafka cannot explain
      71  the machine's clock was set back
      73  the drain took longer than its limit; nothing is lost
      74  the recovery store does not fit the table
      75  another process landed the same partitions
      76  another process of the cluster has ended
      77  Kafka, storage or catalog refuses the credentials
      78  a setting, the contract or a table does not fit
    \b
    Examples:
      neptune run
      neptune run --group
      neptune run -w 2
      neptune run -r /data/recovery
      neptune run -i 0 -a "host0:2101;host1:2101"
    """
    with leaving_on_signals():
        if in_group:
            _run_group(options)
        else:
            _run_all(options)


def _run_all(options: Mapping[str, object]) -> None:
    from neptune_flow.runner import run_package

    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    run_package([word for name, value in given.items() for word in (f"--{name}", str(value))])


def _run_group(options: Mapping[str, Any]) -> None:
    foreign = [f"--{name.replace('_', '-')}" for name in _OF_A_CLUSTER if options[name] is not None]
    foreign += [name for name in _OF_A_CLUSTERS_ENVIRONMENT if name in os.environ]
    if foreign:
        raise click.UsageError(
            f"{', '.join(foreign)}: not in group mode, where each process stands for itself, and resumes from the table"
        )
    from neptune_flow.launch import run_group

    chosen = {"workers": options["workers_per_process"], "epoch_s": options["snapshot_interval"]}
    run_group(**{name: value for name, value in chosen.items() if value is not None})
