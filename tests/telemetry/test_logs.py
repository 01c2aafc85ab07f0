"""Logs: the form of a line, and that no secret is ever in one."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neptune_flow.settings.values import MASK
from neptune_flow.telemetry import configure_logging, get_logger, logs, register_secret

PLANTED = 'p"l\\an té/d+%'


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    logs._secrets.clear()
    configure_logging("WARNING", "json")


def _lines(level: str, form: str, act: Callable[[], object]) -> str:
    stream = io.StringIO()
    configure_logging(level, form, stream=stream)
    act()
    return stream.getvalue()


def _event(level: str, act: Callable[[], object]) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(_lines(level, "json", act))
    return event


def _raise_and_log(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        get_logger("neptune.test").exception("failed")


def test_an_event_is_one_json_line_with_time_level_logger_event_and_its_facts() -> None:
    event = _event("INFO", lambda: get_logger("neptune.sink").info("committed", rows=3, took_s=0.5))
    time = datetime.fromisoformat(event.pop("time"))
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert event == {"level": "info", "logger": "neptune.sink", "event": "committed", "rows": 3, "took_s": 0.5}


def test_a_line_of_the_standard_library_has_the_same_form() -> None:
    event = _event("INFO", lambda: logging.getLogger("urllib3.pool").warning("retry %d of %s", 2, "x"))
    del event["time"]
    assert event == {"level": "warning", "logger": "urllib3.pool", "event": "retry 2 of x"}


def test_a_python_warning_becomes_a_line() -> None:
    with warnings.catch_warnings():
        logging.captureWarnings(False)
        warnings.simplefilter("always")
        event = _event("INFO", lambda: warnings.warn("old call", stacklevel=1))
    assert event["level"] == "warning"
    assert "old call" in event["event"]


def test_without_a_terminal_auto_is_json_and_console_is_readable() -> None:
    def act() -> None:
        get_logger("neptune.x").info("hello there", rows=1)

    assert json.loads(_lines("INFO", "auto", act))["event"] == "hello there"
    assert "hello there" in (console := _lines("INFO", "console", act))
    assert "rows=1" in console


def test_other_loggers_are_silent_below_warning_and_neptune_below_its_level() -> None:
    def act() -> None:
        logging.getLogger("pyiceberg").info("chatter")
        get_logger("neptune.x").debug("detail")

    assert _lines("INFO", "json", act) == ""
    assert [json.loads(line)["event"] for line in _lines("DEBUG", "json", act).splitlines()] == ["chatter", "detail"]


def test_configuring_again_replaces_the_stream_instead_of_adding_one() -> None:
    first = io.StringIO()
    configure_logging("INFO", "json", stream=first)
    assert _lines("INFO", "json", lambda: get_logger("neptune.x").info("once")).count("once") == 1
    assert first.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda s: get_logger("neptune.x").info(f"words {s} words"), id="event"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", address=f"http://a:{s}@b"), id="value"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", deep={"a": [{"b": (s,)}]}), id="nested"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", **{s: 1}), id="key"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", error=ValueError(s)), id="exception value"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", text=repr({"x": s})), id="repr of a dict"),
        pytest.param(lambda s: get_logger("neptune.x").info("e", text=json.dumps({"x": s})), id="json in a text"),
        pytest.param(lambda s: logging.getLogger("other").warning("word %s", s), id="standard library argument"),
        pytest.param(_raise_and_log, id="traceback"),
    ],
)
def test_a_registered_secret_is_in_no_line(form: str, act: Callable[[str], object]) -> None:
    assert "plant" in _lines("INFO", form, lambda: act("plant"))
    register_secret(PLANTED)
    line = _lines("INFO", form, lambda: act(PLANTED))
    assert MASK in line
    assert "an té" not in line
    assert "an t\\u" not in line


def test_a_percent_encoded_secret_is_in_no_line() -> None:
    register_secret(PLANTED)
    line = _lines(
        "INFO", "json", lambda: get_logger("neptune.x").info("e", url="s3://k:p%22l%5Can%20t%C3%A9%2Fd%2B%25@h")
    )
    assert "an%20t" not in line


def test_a_secret_that_holds_another_is_masked_whole() -> None:
    register_secret("hunter")
    register_secret("hunter-two")
    assert "two" not in _lines("INFO", "json", lambda: get_logger("neptune.x").info("hunter-two"))


@pytest.mark.parametrize(
    "key",
    ["password", "sasl.password", "s3.secret-access-key", "token", "credential", "secret_key", "header.Authorization"],
)
def test_the_value_of_a_key_that_looks_secret_is_masked(key: str) -> None:
    line = _lines("INFO", "json", lambda: get_logger("neptune.x").info("e", **{key: "plain"}, props={key: "plain"}))
    assert "plain" not in line
    assert key in line


@pytest.mark.parametrize("key", ["rows", "topic", "partition", "next", "sasl.mechanism", "ssl.ca.location", "bucket"])
def test_an_ordinary_key_is_shown(key: str) -> None:
    assert "plain" in _lines("INFO", "json", lambda: get_logger("neptune.x").info("e", **{key: "plain"}))


def test_a_key_of_several_lines_is_masked_line_by_line_but_not_the_words_around_it() -> None:
    register_secret(
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----\n"
    )
    line = _lines(
        "INFO", "json", lambda: get_logger("neptune.x").info("-----BEGIN PRIVATE KEY----- AgEGCCqGSM49AwEHBG0w")
    )
    assert f"-----BEGIN PRIVATE KEY----- {MASK}" in line


def test_a_short_secret_does_not_blind_the_log() -> None:
    register_secret("a")
    assert "again" in _lines("INFO", "json", lambda: get_logger("neptune.x").info("again"))


def test_a_value_that_json_does_not_know_is_shown_as_text() -> None:
    event = _event("INFO", lambda: get_logger("neptune.x").info("e", when=datetime(2025, 1, 2, tzinfo=UTC), raw=b"ab"))
    assert event["when"] == "2025-01-02 00:00:00+00:00"
    assert event["raw"] == "b'ab'"


def test_numbers_stay_numbers_even_where_a_secret_has_their_digits() -> None:
    register_secret("1234")
    assert _event("INFO", lambda: get_logger("neptune.x").info("e", rows=1234))["rows"] == 1234
