"""The forms a setting's text can take, and the types they become. Knows no setting's name; reads no environment.

A form that a text does not have is a ValueError, whose words never repeat the text: `source` decides whether it may be shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_BYTES = re.compile(r"(\d+)\s*([A-Za-z]*)")
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?\b|secret|token|credential|(^|[.\-_])(access|account|private|api|signing|ssl)?[.\-_]?key"
    r"([.\-_]?(id|pem))?$|jaas|sas[.\-_]|connection[.\-_]string|authorization|cookie|\.pem$|auth$",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\],]+)(?::(\d{1,5}))?")
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NAME = re.compile(r"[^\x00-\x1f\x7f/]{1,255}")
_CONTRACT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MASK = "•••"


def looks_secret(name: str) -> bool:
    """Whether a property or key of this name probably holds a secret."""
    return _SECRET_NAME.search(name) is not None


def parse_bytes(text: object) -> int:
    """`1048576`, `512MiB`, `1GiB`, `500MB` to bytes."""
    match = _BYTES.fullmatch(str(text).strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError("is no number of bytes")
    return int(match[1]) * _UNITS[match[2].upper()]


def format_bytes(count: int) -> str:
    """The inverse of parse_bytes, in the largest binary unit that divides it."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return str(count)


def _start_from(text: object) -> str | datetime:
    word = str(text).strip()
    if word.lower() in {"earliest", "latest", "group"}:
        return word.lower()
    if not re.match(r"\d{4}-\d{2}-\d{2}", word):
        raise ValueError("is neither a word nor a time")
    moment = datetime.fromisoformat(word)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _servers(text: str) -> str:
    for server in text.split(","):
        match = _HOST.fullmatch(server.strip())
        if match is None or (match[1] and not 0 < int(match[1]) < 65536):
            raise ValueError("is no list of host:port")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("is no address of a server")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name")
    return text.rstrip("/")


def _url_or_none(text: str) -> str | None:
    return _url(text) if text else None


def _secret_or_none(text: str) -> SecretStr | None:
    return SecretStr(text) if text else None


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError("has not the form that is allowed")
        return text

    return AfterValidator(check)


def _namespace(text: object) -> tuple[str, ...]:
    levels = tuple(str(text).split("."))
    if not all(levels):
        raise ValueError("has an empty level")
    return levels


class Properties(Mapping[str, str]):
    """Properties to pass through, as a frozen mapping; its repr shows names, never values."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Properties({', '.join(sorted(self._items))})"

    @staticmethod
    def from_json(text: str) -> Properties:
        """Properties from a flat JSON object; numbers and booleans become their text."""
        document = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(document, dict):
            raise ValueError("is no JSON object")
        return Properties({name: _property(name, value) for name, value in document.items()})


def secrets_in(properties: Mapping[str, str]) -> Iterator[str]:
    """Values that must never be shown: those of secret-looking names, and the passwords and secret options inside addresses."""
    for name, value in properties.items():
        if looks_secret(name):
            yield value
            # Of `client:secret`, as OAuth2 credentials are written, and of a header's `Bearer token`, the second half alone is one too.
            yield from (half for mark in (":", " ") if (half := value.partition(mark)[2].strip()))
        elif "://" in value:
            yield from _secrets_in_address(value)


def _secrets_in_address(address: str) -> Iterator[str]:
    try:
        parts = urlsplit(address)
        if parts.password:
            yield from {parts.password, unquote(parts.password)}
    except ValueError:
        return  # no address after all
    yield from (text for name, text in parse_qsl(parts.query) if looks_secret(name))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("names a property twice")
    return document


def _property(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"property {name!r} is no text, number or boolean")


def _properties(text: object) -> Properties:
    return text if isinstance(text, Properties) else Properties.from_json(str(text))


def _lower(text: object) -> str:
    return str(text).lower()


def _upper(text: object) -> str:
    return str(text).upper()


ByteCount = Annotated[int, BeforeValidator(parse_bytes)]
StartFrom = Annotated[Literal["earliest", "latest", "group"] | datetime, BeforeValidator(_start_from)]
Servers = Annotated[str, AfterValidator(_servers)]
Url = Annotated[str, AfterValidator(_url)]
OptionalUrl = Annotated[str | None, AfterValidator(_url_or_none)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_secret_or_none)]
Name = Annotated[str, _matching(_NAME)]
TopicName = Annotated[str, _matching(_TOPIC)]
BucketName = Annotated[str, _matching(_BUCKET)]
ContractPath = Annotated[str, _matching(_CONTRACT)]
Namespace = Annotated[tuple[str, ...], BeforeValidator(_namespace)]
PassedThrough = Annotated[Properties, BeforeValidator(_properties)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
LogFormat = Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)]
