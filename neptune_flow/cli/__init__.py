"""The command `neptune`: each subcommand is a module here that reads options, calls the room that does the work, and prints.

Settings come from the environment, as the flow's do. What a machine may read goes to standard output; words for people about the run
(logs, errors, progress) go to standard error. An error that Neptune knows ends the command with one message of up to three lines; the exit
codes are the same for all commands (`common`). A command's module is imported when that command, or the list of all, is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from neptune_flow import __version__

COMMANDS: Mapping[str, str] = {
    "ledger": "neptune_flow.cli.ledger",
    "verify": "neptune_flow.cli.verify",
}
"""The module of each command; it holds the command as `command`."""


class Commands(click.Group):
    """Subcommands that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="neptune")
def main() -> None:
    """Neptune lands a Kafka topic in an Iceberg table, each message exactly once.

    The commands here look at what has landed and mend it by hand. They read the same environment variables as the flow, which is started
    with `python dataflow.py`.

    \b
    Exit codes of every command:
      0  all is well; or it is done
      1  something is wrong, and is named; or it was not agreed to
      2  wrong usage; or it could not be looked or be done, and the message says why
    """
