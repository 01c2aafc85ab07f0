"""Structured logs on stderr, one line per event. No other module formats a line.

    log = get_logger("neptune.sink")
    log.info("committed", rows=120_000, files=3, duration_ms=41)

An event is a few plain words, its facts are keys with the unit last. Lines of the standard library's loggers (librdkafka,
PyIceberg, urllib3) take the same form. JSON lines have `time` (UTC), `level`, `logger`, `event`, then the facts.

Secrets: the value of a key whose name looks secret is masked, and so is every registered secret wherever it stands in a
line, also in an exception's text, escaped or percent-encoded. Masking comes after everything else that can add text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, Processor

from neptune_flow.settings.values import MASK, looks_secret

__all__ = ["configure_logging", "get_logger", "mask", "register_secret"]

_SECRET_CHARACTERS_MIN = 4
"""A shorter text is found in every line by chance; masking it would hide the log and not the secret."""
_DEPTH_MAX = 8
"""Nested deeper, a value is shown as its text."""

_secrets: dict[str, None] = {}
"""Every form of every registered secret, longest first, so that no part of a longer one stays."""
_LINE_CHARACTERS_MIN = 16
"""Of a secret of several lines, a key in PEM form, each line of this length is one, too."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for events; names are `neptune.<module>`."""
    return structlog.stdlib.get_logger(name)


def register_secret(secret: str) -> None:
    """From now on this text appears in no line. Texts of fewer than four characters cannot be masked."""
    if len(secret) < _SECRET_CHARACTERS_MIN:
        return
    lines = [line for line in secret.splitlines() if len(line) >= _LINE_CHARACTERS_MIN and not line.startswith("-----")]
    forms = {form for text in (secret, *lines) for form in _forms(text)}
    ordered = sorted({*_secrets, *forms}, key=len, reverse=True)
    _secrets.clear()
    _secrets.update(dict.fromkeys(ordered))


def _forms(secret: str) -> Iterator[str]:
    """The text itself, escaped and percent-encoded."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)


def configure_logging(level: str = "INFO", form: str = "auto", *, stream: TextIO | None = None) -> None:
    """Sends all logs of the process to the stream (default: stderr).

    Args:
        level: least level of Neptune's own lines. Other loggers speak from WARNING on, at DEBUG from INFO on.
        form: `json`, `console`, or `auto`: console on a terminal, JSON elsewhere.
        stream: for tests.
    """
    # A process may be started with stderr closed.
    out = stream or sys.stderr or open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    as_console = form == "console" or (form == "auto" and out.isatty())
    handler = _Handler(out)
    handler.setFormatter(_formatter(as_console=as_console, colors=out.isatty()))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO if level == "DEBUG" else max(logging.WARNING, _number(level)))
    logging.getLogger("neptune").setLevel(_number(level))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_common(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that configure_logging owns; handlers of others stay where they are."""


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level]


def _common() -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]


def _formatter(*, as_console: bool, colors: bool) -> structlog.stdlib.ProcessorFormatter:
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="time", sort_keys=False)
        if as_console
        else structlog.processors.JSONRenderer(ensure_ascii=False, allow_nan=True)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _mask_secrets,
            _order,
            renderer,
        ],
    )


def _order(_: Any, __: str, event: EventDict) -> EventDict:
    head = {key: event.pop(key) for key in ("time", "level", "logger", "event") if key in event}
    return {**head, **event}


def _mask_secrets(_: Any, __: str, event: EventDict) -> MutableMapping[str, Any]:
    return {mask(key): MASK if looks_secret(key) else _masked(value, 0) for key, value in event.items()}


def _masked(value: object, depth: int) -> object:
    """The value, plain enough for JSON, with no secret in it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _DEPTH_MAX and isinstance(value, Mapping):
        return {mask(str(k)): MASK if looks_secret(str(k)) else _masked(v, depth + 1) for k, v in value.items()}
    if depth < _DEPTH_MAX and isinstance(value, list | tuple | set | frozenset):
        return [_masked(item, depth + 1) for item in value]
    return mask(value if isinstance(value, str) else str(value))


def mask(text: str) -> str:
    """The text without any registered secret."""
    for secret in tuple(_secrets):
        text = text.replace(secret, MASK)
    return text
