"""The command `neptune`: each subcommand is a module here that reads options, calls the room that does the work, and prints.

Settings come from the environment, as the flow's do. What a machine may read goes to standard output; words for people about the run
(logs, errors, progress) go to standard error. An error that Neptune knows ends the command with one message of up to three lines; the exit
codes are the same for all commands (`common`), but for `run`, which has the flow's.

Help and shell completion must be instant. So a command's module is imported when that command, or the list of all, is asked for, and imports at
its head nothing that is heavy: settings and rooms are imported where they are used.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click

from neptune_flow import __version__
from neptune_flow.cli.common import exit_code_of

COMMANDS: Mapping[str, str] = {
    "run": "neptune_flow.cli.run",
    "demo": "neptune_flow.cli.demo",
    "simulate": "neptune_flow.cli.simulate",
    "check": "neptune_flow.cli.check",
    "status": "neptune_flow.cli.status",
    "quarantine": "neptune_flow.cli.quarantine",
    "query": "neptune_flow.cli.query",
    "contract": "neptune_flow.cli.contract",
    "verify": "neptune_flow.cli.verify",
    "ledger": "neptune_flow.cli.ledger",
    "completion": "neptune_flow.cli.completion",
}
"""The module of each command, in the order in which help lists them; it holds the command as `command`."""


class Commands(click.Group):
    """Subcommands that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As every group does; words that are no text at all are wrong usage."""
        for word in args:
            if not word.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in word):
                raise click.UsageError(f"{word!a} is no UTF-8")
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Read the command line and run it; help that cannot be written is told, too."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            sys.exit(exit_code_of(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; whatever it raises ends it with its exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, SystemExit):
            raise
        except BaseException as error:
            if ctx.invoked_subcommand == "run":
                raise
            ctx.exit(exit_code_of(error))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="neptune")
def main() -> None:
    """Neptune lands a Kafka topic in an Iceberg table, each message exactly once.

    `neptune run` does it; the other commands look at what has landed, explain what was refused, and mend by hand. All read the same
    environment variables (`python -m neptune_flow.settings` lists them).

    \b
    Exit codes of every command but `run`, which has the flow's:
      0  all is well; or it is done
      1  something is wrong, and is named; or it was not agreed to
      2  wrong usage; or it could not be looked or be done, and the message says why
    \b
    Examples:
      neptune demo                          the whole job on this machine, half a minute
      neptune check                         could Neptune land with these settings?
      neptune run                           land, until SIGTERM
      neptune status --watch 2              does data land, how fresh, how complete
      neptune quarantine list --summary     what is refused, and why
      neptune query "select count(*) from rows"
    """
    # A contract of one's own may lie in the working directory; behind all else, so that no file there hides a library's.
    with suppress(FileNotFoundError):
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
