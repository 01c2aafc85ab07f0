"""`neptune completion`: the line that teaches a shell to complete `neptune`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from neptune_flow.cli.common import HELP

VARIABLE = "_NEPTUNE_COMPLETE"
"""What the shell sets when it asks."""


@click.command(context_settings=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes `neptune`: commands, options and their values.

    \b
    Exit codes: 0 done, 2 wrong usage.
    \b
    Examples:
      neptune completion bash > ~/.local/share/bash-completion/completions/neptune
      neptune completion zsh > ~/.zfunc/_neptune          (a folder of $fpath)
      neptune completion fish > ~/.config/fish/completions/neptune.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None  # noqa: S101 - click knows the three
    click.echo(completer(context.find_root().command, {}, "neptune", VARIABLE).source())
