"""The command line itself: help is instant and complete, the reference is what it says, shells complete it, both ways to start it are one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from neptune_flow import __version__
from neptune_flow.cli import COMMANDS, main
from neptune_flow.cli.ledger import SOURCES
from neptune_flow.cli.reference import markdown
from neptune_flow.mend.basis import Source

ROOT = Path(__file__).parents[2]
HEAVY = {"pyarrow", "pyiceberg", "pydantic", "bytewax", "confluent_kafka", "duckdb", "numpy", "rich", "structlog"}


def commands(group: click.Group = main, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))
        else:
            yield (*names, name)


def python(*words: str, cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_the_help_of_each_command_has_its_exit_codes_and_examples(words: tuple[str, ...]) -> None:
    said = CliRunner().invoke(main, [*words, "--help"]).stdout
    assert "Exit codes:" in said
    assert f"neptune {' '.join(words)}" in said.split("Examples:")[1]


def test_every_example_is_a_command_that_click_understands() -> None:
    """Each word of an example up to the first argument names a command, each option is one of it."""
    import shlex

    for words in commands():
        said = CliRunner().invoke(main, [*words, "--help"]).stdout
        command: click.Command = main
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        for line in said.split("Examples:")[1].split("Options:")[0].splitlines():
            if "neptune " in line:
                parts = shlex.split(line[line.index("neptune ") :].split(" | ")[0].split(" > ")[0])
                assert tuple(parts[1 : 1 + len(words)]) == words
                assert {part for part in parts if part.startswith("-") and part != "-"} <= known | {"--help"}


def test_the_reference_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    assert page == markdown(), "run: python -m neptune_flow.cli.reference > docs/commands.md"


@pytest.mark.parametrize("words", [["--help"], ["query", "--help"], ["quarantine", "list", "--help"], ["--version"]])
def test_help_imports_nothing_that_is_heavy(words: list[str]) -> None:
    program = f"""
import sys
from neptune_flow.cli import main
try:
    main({words!r}, standalone_mode=False)
finally:
    print("imported:", *sorted({{name.split(".")[0] for name in sys.modules}}))
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split("imported:")[1].split())


def test_the_module_and_the_version_are_those_of_the_command(tmp_path: Path) -> None:
    done = python("-m", "neptune_flow", "--version", cwd=tmp_path)
    assert done.stdout == f"neptune, version {__version__}\n"


def test_every_command_is_listed() -> None:
    said = CliRunner().invoke(main, ["--help"]).stdout.split("Commands:")[1]
    assert [line.split()[0] for line in said.splitlines() if line.strip()] == list(COMMANDS)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_this_command(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"_NEPTUNE_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("neptune qu", {"quarantine", "query"}),
        ("neptune quarantine ", {"list", "show", "export"}),
        ("neptune query --format pa", {"parquet"}),
        ("neptune status --w", {"--watch"}),
    ],
)
def test_what_the_shell_asks_is_answered(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    asked = {"_NEPTUNE_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    program = "import sys; sys.argv = ['neptune']; from neptune_flow.cli import main; main(prog_name='neptune')"
    done = python("-c", program, environ=asked)
    assert {line.split(",")[1] for line in done.stdout.splitlines()} == offered


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """A real bash loads the script, and completes a command that lies on its path."""
    program = tmp_path / "neptune"
    program.write_text(f"#!{sys.executable}\nfrom neptune_flow.cli import main\nmain(prog_name='neptune')\n")
    program.chmod(0o755)
    script = tmp_path / "completion.bash"
    script.write_text(CliRunner().invoke(main, ["completion", "bash"]).stdout)
    lines = (
        f"source {script}; COMP_WORDS=(neptune ver); COMP_CWORD=1; _neptune_completion neptune; echo ${{COMPREPLY[@]}}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", lines],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["verify"], done.stderr


def test_sources_of_a_ledger_are_those_that_mending_knows() -> None:
    assert sorted(SOURCES) == sorted(source.value for source in Source if source is not Source.OFFSETS)
