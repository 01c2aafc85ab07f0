"""JSON values that hold no others, as they are written: strings with escapes, and values without a quotation mark.

What this says yes to is JSON, whatever layout it is found in.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from neptune_flow.validation.parsing import Strings, are_numbers, parse_numbers
from neptune_flow.validation.pieces import Mask

BARE_BYTES_MAX = 4096
"""No integer of fewer digits is too long for Pydantic."""
BARE_DEPTH_MAX = 2
"""Lists in lists of a bare value: as deep as the places of a polygon."""

_SCALAR = r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)"


def _with_lists(of: str) -> str:
    return rf"(?:{_SCALAR}|\{{ *\}}|\[ *(?:{of}(?: *, *{of})* *)?\])"


BARE = _with_lists(_with_lists(_SCALAR))
"""A bare value: one that holds no quotation mark and no control character; Python and Arrow (RE2) read the expression alike."""
_BACKSLASH, _BETWEEN = b"\\", '","'


def are_bare(contents: Strings) -> Mask:
    """Which contents, none of them empty, are bare values. Most are numbers, which is sooner found."""
    good = are_numbers(contents)
    parse_numbers(contents, good, pa.float64())
    if not good.all():
        others = pc.match_substring_regex(contents.array.filter(pa.array(~good)), rf"\A{BARE}\z")
        good[~good] = others.to_numpy(zero_copy_only=False)
    return good


def without_escapes(contents: Strings) -> tuple[pa.Array, Mask]:
    """The texts that these contents of strings mean, and which contents mean one: what Pydantic's own parser says.

    Each stands between two neighbouring marks.
    """
    good = np.ones(len(contents.array), np.bool_)
    if _BACKSLASH not in contents.data.tobytes():
        return contents.array, good
    escaped = pc.match_substring(contents.array, _BACKSLASH)
    texts = _meanings(contents.array.filter(escaped))
    good[escaped.to_numpy(zero_copy_only=False)] = [text is not None for text in texts]
    meant = pa.array([text or "" for text in texts], pa.string())
    return pc.replace_with_mask(contents.array, escaped, meant), good


def _meanings(contents: pa.Array) -> list[str | None]:
    """As one list, since no content ends its string; where one is bad, each for itself."""
    whole = pa.ListArray.from_arrays(pa.array([0, len(contents)], pa.int32()), contents)
    try:
        texts: list[str | None] = from_json(f'["{pc.binary_join(whole, _BETWEEN)[0].as_py()}"]')
    except ValueError:
        texts = [_meaning(content) for content in contents.to_pylist()]
    return texts


def _meaning(content: str) -> str | None:
    try:
        text: str = from_json(f'"{content}"')
    except ValueError:
        return None
    return text
