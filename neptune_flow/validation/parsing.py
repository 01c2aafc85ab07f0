"""From the contents of cells to values, a column at a time: steps 3 to 5 of the argument in `layout`.

Each function says yes or no to each text; a text to which one says no goes to Pydantic.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from neptune_flow.contract.columns import INSTANT
from neptune_flow.validation.chunk import Indices
from neptune_flow.validation.pieces import Mask
from neptune_flow.validation.rejects import INSTANT_US_MAX, INSTANT_US_MIN

INSTANT_BYTES_MIN, INSTANT_BYTES_MAX = 19, 32
"""The shortest and the longest of the shapes."""

_SHAPES = pa.array(
    f"0000-00-00{separator}00:00:00{fraction}{zone}"
    for separator, fraction, zone in product(
        "T ", ("", *(f".{'0' * digits}" for digits in range(1, 7))), ("", "Z", "+00:00", "-00:00")
    )
)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_MINUS, _POINT, _SLASH, _ZERO, _NINE, _PLUS, _ZULU = b"-./09+Z"
_CLOCK_PLACES = np.array([0, 2, 5, 8, 11, 14, 17])[:, None]
"""From the begin of a time to the pairs of digits of its century, year, month, day, hour, minute and second."""
_OFFSET_PLACES = np.array([-5, -2])[:, None]
"""From the end of a time to the hours and minutes of its offset, where it has one."""
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, *[0] * 243], np.uint8)
"""Days of each month; of what is no month, none."""


class Strings:
    """Texts of cells: a compact string array without nulls, its offsets and its bytes."""

    __slots__ = ("array", "data", "offsets")

    def __init__(self, array: pa.Array) -> None:
        _, offsets, data = array.buffers()
        self.array = array
        self.offsets = np.frombuffer(offsets, np.int32, len(array) + 1)
        self.data = np.frombuffer(data or b"", np.uint8)

    def part(self, start: int, stop: int) -> Strings:
        """The texts from `start` to before `stop`; their bytes are not copied, and no others are held by the buffers."""
        offsets = self.offsets[start : stop + 1]
        data = self.data[offsets[0] : offsets[-1]]
        buffers = [None, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(data)]
        return Strings(pa.Array.from_buffers(pa.string(), stop - start, buffers))

    def only(self, which: Mask) -> pa.Array:
        """The texts of `which`, null in the place of others; nothing is copied."""
        _, offsets, data = self.array.buffers()
        is_valid = pa.py_buffer(np.packbits(which, bitorder="little"))
        return pa.Array.from_buffers(pa.string(), len(which), [is_valid, offsets, data])

    def places(self, at: Indices) -> Indices:
        """Which texts these places of bytes belong to."""
        return np.searchsorted(self.offsets, at, side="right") - 1


def are_numbers(texts: Strings) -> Mask:
    """Step 3 but for the parsing; no text is empty."""
    data, begins, lasts = texts.data, texts.offsets[:-1], texts.offsets[1:] - 1
    leads = begins + (data[begins] == _MINUS)
    good: Mask = (leads <= lasts) & (data[lasts] >= _ZERO)
    leads = np.minimum(leads, lasts)
    lead = data[leads]
    good &= (lead > _ZERO) | ((lead == _ZERO) & ((leads == lasts) | (data[np.minimum(leads + 1, lasts)] == _POINT)))
    others = data - _MINUS > _NINE - _MINUS
    if others.any():
        good[texts.places(np.flatnonzero(others))] = False
    return good


def parse_numbers(texts: Strings, good: Mask, kind: pa.DataType) -> npt.NDArray[Any]:
    """The rest of step 3: the numbers of the texts in `good`, of which `are_numbers` is true; zero in the place of others.

    Clears `good` where a text is no number of this kind.
    """
    values = _cast(texts, good, kind)
    if values is None:
        good &= _have_one_part(texts, points_max=0 if kind == pa.int64() else 1)
        values = _cast(texts, good, kind)
    return _none_of(good) if values is None else values


def instants(texts: Strings) -> tuple[pa.Array, Mask]:
    """Step 4: the texts as instants, and which of them are meant."""
    good = _have_shapes(texts)
    times = _read_instants(texts, good)
    if times is None:
        good &= _are_on_calendar(texts)
        times = _read_instants(texts, good)
    if times is None:
        times = _none_of(good)
    good &= (times >= INSTANT_US_MIN) & (times <= INSTANT_US_MAX)
    return array(INSTANT, times), good


def times_us(instants: pa.Array) -> npt.NDArray[np.int64]:
    """The instants, none of them null, as microseconds since the epoch; they are not copied."""
    times: npt.NDArray[np.int64] = instants.to_numpy(zero_copy_only=True).view(np.int64)
    return times


def array(kind: pa.DataType, values: npt.NDArray[Any]) -> pa.Array:
    """A column of these values, which are not copied; none is null."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _cast(texts: Strings, which: Mask, kind: pa.DataType) -> npt.NDArray[Any] | None:
    """What Arrow reads in the texts of `which`, zero in the place of others; None where it cannot read one of them."""
    try:
        values = pc.cast(texts.array if which.all() else texts.only(which), kind)
    except pa.ArrowInvalid:
        return None
    numbers: npt.NDArray[Any] = pc.fill_null(values if kind == pa.float64() else values.view(pa.int64()), 0).to_numpy()
    return numbers


def _none_of(good: Mask) -> npt.NDArray[np.int64]:
    """The values where none is good: should Arrow ever read less than the looks at the bytes promise, Pydantic reads them all."""
    good[:] = False
    return np.zeros(len(good), np.int64)


def _have_one_part(texts: Strings, points_max: int) -> Mask:
    """Which of the texts hold no minus but in front, no slash, and not more points."""
    data, count = texts.data, len(texts.array)
    points = np.bincount(texts.places(np.flatnonzero(data == _POINT)), minlength=count)
    good: Mask = points <= points_max
    inside = np.flatnonzero((data == _MINUS) | (data == _SLASH))
    places = texts.places(inside)
    good[places[(inside > texts.offsets[places]) | (data[inside] == _SLASH)]] = False
    return good


def _read_instants(texts: Strings, good: Mask) -> npt.NDArray[np.int64] | None:
    """Microseconds of the texts in `good`, zero for others; None where one of them is no time."""
    ends = texts.offsets[1:]
    signs = texts.data[ends - 6]
    zoned: Mask = (texts.data[ends - 1] == _ZULU) | (signs == _PLUS) | (signs == _MINUS)
    times = None
    for which, kind in ((good & ~zoned, pa.timestamp("us")), (good & zoned, INSTANT)):
        if which.any():
            read = _cast(texts, which, kind)
            if read is None:
                return None
            times = read if times is None else times + read
    return np.zeros(len(good), np.int64) if times is None else times


def _have_shapes(texts: Strings) -> Mask:
    digits = pa.py_buffer(texts.data.tobytes().translate(_DIGITS_TO_ZERO))
    shapes = pa.Array.from_buffers(pa.string(), len(texts.array), [None, pa.py_buffer(texts.offsets), digits])
    good: Mask = pc.is_in(shapes, value_set=_SHAPES).to_numpy(zero_copy_only=False)
    return good


def _are_on_calendar(texts: Strings) -> Mask:
    """Which of these texts, where they are of a shape, name a day that there is, a time of day, and an offset of less than a day."""
    begins, ends = texts.offsets[:-1], texts.offsets[1:]
    century, year, month, day, hour, minute, second = _pairs(texts, begins + _CLOCK_PLACES)
    is_leap = np.where(year == 0, century, year) % 4 == 0
    good: Mask = (day >= 1) & (day <= _DAYS[month] + (is_leap & (month == 2)))
    good &= (hour <= 23) & (minute <= 59) & (second <= 59)
    signs = texts.data[ends - 6]
    hours, minutes = _pairs(texts, ends + _OFFSET_PLACES)
    good &= ((signs != _PLUS) & (signs != _MINUS)) | ((hours <= 23) & (minutes <= 59))
    return good


def _pairs(texts: Strings, places: Indices) -> npt.NDArray[np.uint8]:
    """The numbers of two digits at these places of bytes."""
    tens, ones = texts.data[places] - _ZERO, texts.data[places + 1] - _ZERO
    pairs: npt.NDArray[np.uint8] = tens * 10 + ones
    return pairs
