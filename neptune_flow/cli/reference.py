"""The reference of all commands, `docs/commands.md`: `python -m neptune_flow.cli.reference` prints it, a test keeps it true."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from neptune_flow.cli import main

HEAD = """# The commands

`neptune --help` and each command's `--help` say what is here. `python -m neptune_flow` is the same as `neptune`; as a package (`pip install .`) it is
on the path. All commands read the settings of the environment, as the flow does.

This page is what `python -m neptune_flow.cli.reference` prints."""


def markdown() -> str:
    """The page."""
    # Click breaks lines at the terminal's width, and here at its own limit.
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "120"
    try:
        parts = [HEAD, *(f"## {name}\n\n```text\n{text}\n```" for name, text in _helps(main, "neptune", None))]
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n\n".join(parts) + "\n"


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = command.make_context(name.rsplit(maxsplit=1)[-1], ["--help"], parent, resilient_parsing=True)
    yield name, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None  # noqa: S101 - it is listed
            yield from _helps(found, f"{name} {child}", context)


if __name__ == "__main__":
    click.echo(markdown(), nl=False)
