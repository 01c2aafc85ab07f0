"""The column `_extra`: what a message holds and the contract does not name, as JSON text with nothing lost.

Values are copied as they are written (`1.10` stays `1.10`), so a number keeps its digits, an escape its form, and the
tokens `NaN` and `Infinity`, which Pydantic lets pass where no field asks for the value, their names. Of two equal
keys the last one counts, as in Pydantic. Inside a nested model the same holds: its unknown fields stand under its own
key; in a list of models, an element without any is `null`.

Only messages that Pydantic has accepted come here: they are JSON, of a bounded depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel

from neptune_flow.contract.columns import unwrap

Shape = Mapping[str, "Shape"] | list["Shape"] | None
"""What the contract knows of a value: an object's keys, the elements of a list, or all there is (None)."""

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])

_MARKS = re.compile(rb"~+")
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)


def member(key: str, text: str) -> str:
    """One member of the JSON object in `_extra`."""
    return f"{json.dumps(key, ensure_ascii=False)}:{text}"


class Extra:
    """Finds what a model does not name."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._shape = _shape_of_model(model)

    def of(self, value: bytes) -> str | None:
        """The unknown members of an accepted message as a JSON object, or None where there are none."""
        try:
            return _rest(value, self._shape, bytes.decode)
        except msgspec.DecodeError:
            return _rest_with_tokens(value, self._shape)


def _shape_of_model(model: type[BaseModel]) -> dict[str, Shape]:
    by_name = bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))
    shape: dict[str, Shape] = {}
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        inner = _shape_of(info.annotation)
        if isinstance(alias, str):
            shape[alias] = inner
        if alias is None or by_name:
            shape[name] = inner
    return shape


def _shape_of(annotation: Any) -> Shape:
    bare, _, _ = unwrap(annotation)
    if get_origin(bare) is list:
        element = _shape_of(get_args(bare)[0])
        return [element] if element is not None else None
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return _shape_of_model(bare)
    return None


Leaf = Callable[[bytes], str]
"""The text of a value that the contract does not name."""


def _rest(value: bytes, shape: Shape, leaf: Leaf) -> str | None:
    if value == b"null" or shape is None:
        return None
    if isinstance(shape, list):
        return _rest_of_list(value, shape[0], leaf)
    rest = []
    for key, raw in _MEMBERS.decode(value).items():
        if key not in shape:
            rest.append(member(key, leaf(bytes(raw))))
        elif (inner := shape[key]) is not None and (text := _rest(bytes(raw), inner, leaf)) is not None:
            rest.append(member(key, text))
    return f"{{{','.join(rest)}}}" if rest else None


def _rest_of_list(value: bytes, shape: Shape, leaf: Leaf) -> str | None:
    rest = [_rest(bytes(raw), shape, leaf) for raw in _ELEMENTS.decode(value)]
    return f"[{','.join(text or 'null' for text in rest)}]" if any(rest) else None


def _rest_with_tokens(value: bytes, shape: Shape) -> str | None:
    """As `_rest`, for a message with NaN or Infinity: they travel through the decoder as strings with a mark that nothing else has."""
    mark = b"~" * (1 + max(map(len, _MARKS.findall(value)), default=0))
    quoted = _TOKENS.sub(lambda found: found[0] if found[0][:1] == b'"' else b'"%s%s"' % (mark, found[0]), value)
    marked = re.compile(f'"{mark.decode()}(-?Infinity|NaN)"')
    return _rest(quoted, shape, lambda raw: marked.sub(r"\1", raw.decode()))
