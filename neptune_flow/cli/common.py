"""What the commands share: settings and logs as the flow has them, one form for errors, and one set of exit codes.

    0  all is well; or it is done
    1  something is wrong, and is named; or a person did not agree
    2  wrong usage; or it could not be looked or be done, and the message says why

A defect or an interruption must not look like something that was found: it ends with 2 as well. The flow's own exit codes (`errors`) are for those
who start it again; a command is given by somebody who reads what it says. What a command raises becomes its exit code in one place (`exit_code_of`).
"""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from neptune_flow.errors import NeptuneError, Unavailable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from neptune_flow.settings import Settings

WELL, WRONG, COULD_NOT = 0, 1, 2
"""The exit codes; see the module's head."""

EXIT_CODES = "Exit codes: 0 done; 2 wrong usage, or it could not be done, and the message says why."

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
"""Context settings of each command."""

PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or a pipe: nothing is to be cut off there."""

PARTITION = click.IntRange(0, 2**31 - 1)
OFFSET = click.IntRange(0, 2**63 - 1)
"""What Kafka's numbers can be."""
COUNT_MAX = 2**31 - 1
VEHICLES_MAX = 1_000_000
"""The simulator keeps each in memory."""

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def load_settings() -> Settings:
    """The settings of the environment; logs from here on are warnings and errors alone, to standard error.

    Raises:
        SettingsError: a setting is unknown or cannot be.
    """
    from neptune_flow.settings import Settings
    from neptune_flow.telemetry import configure_logging, register_secret

    settings = Settings.load()
    for secret in settings.secrets():
        register_secret(secret)
    configure_logging("WARNING", settings.log_format)
    return settings


class Number(click.FloatRange):
    """A number of this range; what is no number or has no end is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be used here", param, ctx)
        return number


CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""How the system says that a disk is full, or broken."""


def exit_code_of(error: BaseException) -> int:
    """The exit code of a command that ended with this error, which is told: in up to four lines if Neptune knows it, else with its traceback."""
    match error:
        case NeptuneError():
            click.echo(str(error), err=True)
            if isinstance(error, Unavailable):
                click.echo("`neptune check` asks each service by itself, and tells which one to begin with", err=True)
        case BrokenPipeError():
            # Who reads has seen enough (`| head`).
            _forget_output()
            return WELL
        case OSError() if error.errno in CANNOT_WRITE:
            click.echo(f"the output cannot be written: {error.strerror}", err=True)
            _forget_output()
        case KeyboardInterrupt():
            click.echo("interrupted", err=True)
        case _:
            from neptune_flow.telemetry import get_logger

            log = get_logger("neptune.cli")
            log.error("defect", exc_info=error)
    return COULD_NOT


def _forget_output() -> None:
    """Or Python would complain at its end, when it flushes what is left."""
    sys.stdout = None


def echo_json(document: object) -> None:
    """Print a document for a machine."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def console() -> Console:
    """Standard output; coloured and as wide as the terminal, where it is one."""
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            # Rich would end the process with 1.
            raise BrokenPipeError

    screen = Screen(highlight=False, soft_wrap=False)
    return screen if screen.is_terminal else Screen(highlight=False, width=PLAIN_WIDTH)


def plain_table(heads: Sequence[str], *, numbers: Sequence[str] = ()) -> Table:
    """A table without lines; `numbers` are the columns that stand to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
    return table


def when(time_ms: float | None) -> str:
    """A time for a person, UTC."""
    return "-" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float | None) -> str:
    """A duration for a person: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    if seconds is None:
        return "-"
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / length:.{0 if length < 3600 else 1}f} {unit}"
    return f"{seconds / 86_400:.1f} d"
