"""Whatever is typed, no command answers with a traceback: it is done, or wrong usage, or what could not be done is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import IO

import click
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neptune_flow.cli import main
from tests.cli.shelf import NOBODY, Shelf, good, spoiled
from tests.cli.test_help import ROOT, commands

NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1", "0.5", "1e-320", "1e300", "9" * 25, str(2**31), str(2**63), "٣", "1_0")
TIMES = ("0001-01-01", "9999-12-31", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59", "2025-02-30", "infinity")
PLACES = ("0:0", "0:", f"{2**31}:0", f"0:{2**63}", "0=1,0=2", f"0={2**63}", "0=inf", "=", "0=1=2")
FILES = ("/", ".", "", "..", "/proc/none/x", "x" * 300, "a/b/c", "out.parquet", "out.csv")
SQL = (
    "select 'infinity'::timestamptz t, '-infinity'::date d, 'infinity'::timestamp u",
    "select '290000-01-01'::date d, interval '300000 years' i, 170141183460469231731687303715884105727 n",
    "select 1e308 * 10 x, 'nan'::float y, '\\xFF'::blob z, [null, 'infinity'::timestamp] l, {'a': 'infinity'::date} s",
    "select * from rows where event_date = 'infinity'::date",
)
WORDS = ("", "-", "--", "\udcff", "\u202e", "%s", "{}", "é" * 300)
ANYTHING = NUMBERS + TIMES + PLACES + FILES + SQL + WORDS
LEFT_OUT = {("run",), ("demo",), ("simulate",)}
"""What works for long once its words are right: only their words are tried."""
WAITING = {("check",), ("ledger", "set")}
"""Where Kafka is waited for."""


def leaf(words: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


@st.composite
def lines(draw: st.DrawFn, which: list[tuple[str, ...]]) -> tuple[tuple[str, ...], list[str]]:
    """A command, and words behind it: some of its options with values that may fit or not."""
    names = draw(st.sampled_from(which))
    words: list[str] = []
    for parameter in leaf(names).params:
        if isinstance(parameter, click.Argument):
            words.append(draw(st.sampled_from(ANYTHING)))
        elif draw(st.integers(0, 3)) == 0:
            words.append(draw(st.sampled_from(parameter.opts + parameter.secondary_opts)))
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                choices = tuple(getattr(parameter.type, "choices", ()))
                words.append(draw(st.sampled_from(choices or ANYTHING)))
    return names, words


@given(lines(sorted(commands())))
@settings(max_examples=300, deadline=None)
def test_words_that_do_not_fit_are_wrong_usage_and_nothing_else(line: tuple[tuple[str, ...], list[str]]) -> None:
    names, words = line
    with suppress(click.ClickException, click.exceptions.Exit):
        leaf(names).make_context(names[-1], list(words))


@pytest.mark.parametrize("names", sorted(commands()), ids=" ".join)
def test_a_number_that_is_none_or_has_no_end_is_no_number(names: tuple[str, ...]) -> None:
    for option in leaf(names).params:
        if isinstance(option.type, click.IntRange | click.FloatRange):
            for text in ("nan", "inf", "-inf", "1e309"):
                with pytest.raises(click.BadParameter):
                    leaf(names).make_context(names[-1], [option.opts[0], text])


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Some rows and rejects; a broker is nowhere. The working directory is a folder of its own."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.land([*good(5), spoiled(order_id=None), b"no json", None])
    with chdir(tmp_path_factory.mktemp("here")):
        yield shelf


def without_kafka(names: tuple[str, ...], words: list[str]) -> list[str]:
    """The words, so that Kafka is not waited for."""
    options = {option for parameter in leaf(names).params for option in parameter.secondary_opts}
    return ["--no-kafka", *(w for w in words if w != "--kafka")] if "--no-kafka" in options else words


def assert_answered(done: Result) -> None:
    assert done.exception is None or isinstance(done.exception, SystemExit), (done.exception, done.output)
    assert done.exit_code in (0, 1, 2)
    assert "Traceback" not in done.output


@given(lines(sorted(set(commands()) - LEFT_OUT)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_only_reads_answers_anything_without_a_traceback(
    stocked: Shelf, line: tuple[tuple[str, ...], list[str]]
) -> None:
    names, words = line
    if names not in WAITING and "--watch" not in words:
        assert_answered(stocked.neptune(*names, *without_kafka(names, words)))


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("sql", SQL)
def test_values_that_python_cannot_hold_are_told_as_such(stocked: Shelf, sql: str, form: str) -> None:
    done = stocked.neptune("query", sql, "--format", form)
    assert_answered(done)
    assert done.exit_code == 0 or "::varchar" in done.stderr or "Parquet cannot hold" in done.stderr


def test_a_pipe_that_is_named_as_output_is_written_to_and_not_replaced(stocked: Shelf, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    done = stocked.neptune("query", "select 1 n", "--format", "jsonl", "-o", str(pipe))
    assert done.exit_code == 0, done.output
    assert os.read(reading, 100) == b'{"n": 1}\n'
    os.close(reading)
    assert pipe.is_fifo()


def test_a_link_that_is_named_as_output_stays_a_link(stocked: Shelf, tmp_path: Path) -> None:
    link, file = tmp_path / "link.jsonl", tmp_path / "file"
    link.symlink_to(file)
    file.write_bytes(b"before")
    assert stocked.neptune("query", "select 1 n", "-o", str(link)).exit_code == 0
    assert (link.is_symlink(), file.read_bytes()) == (True, b'{"n": 1}\n')


def command(
    *words: str, out: int | IO[bytes] = subprocess.PIPE, python: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *python, "-m", "neptune_flow", *words],
        cwd=ROOT,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": NOBODY},
        stdout=out,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("words", [("--help",), ("contract", "show"), ("contract", "show", "--json")], ids=" ".join)
def test_a_disk_that_is_full_is_told_in_one_line(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        process = command(*words, out=full)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, b"the output cannot be written: No space left on device\n")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    process = command("contract", "show")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("module", ["click.core", "neptune_flow.cli.status", "pyarrow.lib", "neptune_flow.iceberg"])
def test_ctrl_c_while_it_begins_ends_a_command_with_2_and_at_most_one_word(module: str) -> None:
    process = command("status", "--no-kafka", python=("-X", "importtime"))
    assert process.stderr is not None
    for line in process.stderr:
        if line.split()[-1].decode() == module:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    words = [line for line in said.splitlines() if not line.startswith(b"import time:")]
    assert (process.returncode, words) in ((2, []), (2, [b"interrupted"]))
