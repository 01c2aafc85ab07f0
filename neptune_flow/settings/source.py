"""From the environment to validated groups: names, files and forms. Gathers every problem instead of stopping at the first.

A secret setting `NAME` may come from the file that `NAME_FILE` names. Properties may come from both, as long as no property
is in both: the visible ones from the environment, the secret ones from a mounted file. A problem never shows a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from neptune_flow.settings.fields import Doc, Group, all_docs
from neptune_flow.settings.values import Properties

G = TypeVar("G", bound=Group)

_OWN_PREFIX = "NEPTUNE_"
_SERVICE_LINK = re.compile(r"NEPTUNE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)")
"""Names that Kubernetes puts into every pod beside a service called `neptune` or `neptune-…`; they are no settings.
One of a setting's own name (NEPTUNE_HTTP_PORT, beside `neptune-http`) holds an address, which the setting never does."""
_FILE_BYTES_MAX = 2**20
"""A secret or a set of properties is small; a larger file is the wrong file."""
_SHOWN_CHARACTERS_MAX = 100
_USER_INFO = re.compile(r"\S*@")
"""What stands before the @ of an address may be a password."""


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """A problem for each name that begins like Neptune's own and is none."""
    docs = list(all_docs())
    known = {doc.name for doc in docs} | {f"{doc.name}_FILE" for doc in docs if doc.secret}
    names = sorted(
        n for n in environ if n.startswith(_OWN_PREFIX) and n not in known and not _SERVICE_LINK.fullmatch(n)
    )
    return [f"{name} is no setting{_nearest(name, known)}" for name in names]


def _nearest(name: str, known: Iterable[str]) -> str:
    """The prefix that all names share says nothing about what was meant, so it does not count."""
    bare = {n.removeprefix(_OWN_PREFIX): n for n in sorted(known)}
    found = difflib.get_close_matches(name.removeprefix(_OWN_PREFIX), bare, n=1, cutoff=0.6)
    return f"; meant {bare[found[0]]}?" if found else ""


def read_group(group: type[G], environ: Mapping[str, str], problems: list[str]) -> G | None:
    """One group of settings, or None after adding to the problems."""
    before = len(problems)
    docs = [doc for _, doc in group.docs()]
    values: dict[str, Any] = {}
    for doc in docs:
        text = _text(doc, environ, problems)
        if text is not None:
            values[doc.name] = text
    try:
        read = group.model_validate(values)
    except ValidationError as error:
        problems.extend(_explain(error, docs, values))
        return None
    return read if len(problems) == before else None


def _text(doc: Doc, environ: Mapping[str, str], problems: list[str]) -> str | Properties | None:
    direct = environ.get(doc.name)
    if direct is not None and "://" in direct and _SERVICE_LINK.fullmatch(doc.name):
        direct = None
    file = environ.get(f"{doc.name}_FILE") if doc.secret else None
    if file is None:
        return direct
    try:
        content = _read(Path(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(f"{doc.name}_FILE: file {file} cannot be read: {reason}")
        return None
    if direct is None:
        return content
    if doc.name.endswith("_PROPERTIES"):
        return _merged(doc, direct, content, problems)
    problems.append(f"{doc.name} and {doc.name}_FILE are both given; allowed: one of them")
    return None


def _read(path: Path) -> str:
    with path.open("rb") as stream:
        raw = stream.read(_FILE_BYTES_MAX + 1)
    if len(raw) > _FILE_BYTES_MAX:
        raise ValueError(f"it is larger than {_FILE_BYTES_MAX} bytes")
    try:
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not text:
        raise ValueError("it is empty")
    return text


def _merged(doc: Doc, direct: str, content: str, problems: list[str]) -> Properties | None:
    parts: dict[str, Properties] = {}
    for name, text in ((doc.name, direct), (f"{doc.name}_FILE", content)):
        try:
            parts[name] = Properties.from_json(text)
        except ValueError as error:
            problems.append(f"{name} {_reason(error)}; allowed: {doc.allowed}")
    if len(parts) < 2:
        return None
    first, second = parts.values()
    twice = sorted(set(first) & set(second))
    if twice:
        problems.append(f"{doc.name} and {doc.name}_FILE both hold {', '.join(twice)}; allowed: each property once")
        return None
    return Properties({**first, **second})


def _explain(error: ValidationError, docs: Iterable[Doc], values: Mapping[str, Any]) -> list[str]:
    by_name = {doc.name: doc for doc in docs}
    seen: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=True):
        doc = by_name[str(item["loc"][0])]
        if doc.secret:
            cause = item.get("ctx", {}).get("error")
            state = _reason(cause) if isinstance(cause, ValueError) else "has the wrong form"
        else:
            state = f"is {_quoted(values.get(doc.name))}"
        seen.setdefault(doc.name, f"{doc.name} {state}; allowed: {doc.allowed}")
    return list(seen.values())


def _reason(error: ValueError) -> str:
    """Why a secret text was refused; a JSON error tells its position and never the text."""
    message = getattr(error, "msg", None)
    return f"is no JSON: {message} at character {getattr(error, 'pos', 0)}" if message else str(error)


def _quoted(value: object) -> str:
    text = _USER_INFO.sub("•••@", str(value))
    short = text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "…"
    return repr(short)
