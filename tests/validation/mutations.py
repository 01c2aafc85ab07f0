"""Messages that are nearly right: a seeded source of the input on which fast decoders and Pydantic disagree."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

NUMBERS = (
    *(
        "0",
        "-0",
        "-0.0",
        "0.0",
        "00",
        "-00",
        "01.5",
        "-01",
        "1.",
        "-1.",
        ".5",
        "-.5",
        "+1",
        "1e2",
        "1E+1",
        "1e-5",
        "1.e5",
        "1e",
        "-",
    ),
    *(
        "--1",
        "1-",
        "1-2",
        "1.2.3",
        "1..2",
        "1/2",
        "1_0",
        "0x1f",
        "1 ",
        " 1",
        "NaN",
        "nan",
        "Infinity",
        "-Infinity",
        "inf",
        "1e999",
    ),
    *(
        "90",
        "90.0",
        "-90",
        "90.00000000000001",
        "90.000000000000001",
        "180",
        "180.00000000000003",
        "-180",
        "91",
        "-180.5",
    ),
    *("9007199254740992", "9007199254740993", "9007199254740993.0", "12345678901234567890", "1" * 30, "0." + "1" * 30),
    *(
        "true",
        "false",
        "null",
        '"40.7"',
        '""',
        "[]",
        "{}",
        "[1]",
        '{"a":1}',
        "",
        "4",
        "0.1",
        "-77.123456789012345",
        "1,2",
    ),
)
BARE = (
    *(
        "[1, 2]",
        "[ ]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[[1, 2], [3]]",
        "[[[1]]]",
        "[[[[1]]]]",
        "[null,true,false]",
        "[[],{}]",
    ),
    *("{ }", "{},{}", "{1}", "1]", "[1", "[1],[2", "1],[2", "1}", "1},{", '1, "x": 2', "tru", "True", "nul", "nulll"),
    *(
        "truefalse",
        "1\t",
        "\n1",
        "[1\n]",
        "-1e-7",
        "0e0",
        "1e+400",
        "[1e999]",
        "[NaN]",
        "1" * 4096,
        "1" * 4097,
        "1" * 4301,
    ),
)
"""Values without a quotation mark, and such as are nearly so."""
TIMES = (
    *(
        "2024-02-29T23:59:59.999999",
        "2023-02-29T00:00:00",
        "2024-02-30T00:00:00",
        "1900-02-29T00:00:00",
        "2000-02-29 12:00:00Z",
    ),
    *(
        "2024-01-01T24:00:00",
        "2024-01-01T23:59:60Z",
        "2024-13-01T00:00:00",
        "2024-00-01T00:00:00",
        "2024-01-00T00:00:00",
    ),
    *(
        "0000-01-01T00:00:00",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01T00:00:00",
    ),
    *(
        "2024-01-01T00:00:00+23:59",
        "2024-01-01T00:00:00-23:59",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+05:60",
    ),
    *(
        "2024-01-01T00:00:00.1234567",
        "2024-01-01T00:00:00.1",
        "2024-01-01T00:00:00.",
        "2024-01-01T00:00:00,5",
        "2024-01-01T00:00:00.12Z",
    ),
    *(
        "2024-01-01",
        "2024-01-01T00",
        "2024-01-01T00:00",
        "2024-01-01T00:00Z",
        "2024-01-01t00:00:00z",
        "2024-01-01_00:00:00",
    ),
    *(
        "2024-01-01T00+02:00",
        "2024-01-01 00+23:59",
        "2024-01-01T00:00:00+0200",
        "2024-01-01T00:00:00+02",
        "2024-01-01T00:00:00 Z",
        " 2024-01-01T00:00:00",
        "2024-01-01T00:00:00\\u005a",
    ),
    *("1704067200", "1704067200.5", "-1", "1e9", "", "now", "2024-01-01T00:00:00−02:00", "２024-01-01T00:00:00"),
)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "a,b",
        "a:b",
        "{",
        "}",
        "[1]",
        "null",
        "é",
        "😀",
        "\x7f",
        "\\n",
        "\\u0041",
        "\\u0000",
        "\\ud800",
        "\\ud83d\\ude00",
    ),
    *(
        "\\u00E9",
        "\\uD83D\\uDE00",
        "\\udc00\\ud800",
        "\\ud800x",
        "\\u12",
        "\\u00zz",
        "\\U0041",
        "\\x41",
        "\\'",
        "\\b\\f\\r\\t\\n",
    ),
    *(
        "\\\\",
        "\\\\\\",
        "\\\\\\\\",
        'x\\"y',
        '\\\\"',
        '\\\\\\"',
        '\\"\\"',
        '\\",\\"',
        "é\\u00e9😀\\/",
        "\\u0000\\u001f",
    ),
    *("\\", '\\"', '"', '","b":"', "\t", "\n", "\x00", "\x1f", "x" * 300, "/", "\\/", "\\q", '","status":"y', "' --"),
)
_BYTES = b'"\\,:{}[]0123456789.-+eE \t\n\r\x00\x1f\x7f\x80\xc3\xff/truefalsnN_'


def change_byte(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) or 1)
    return value[:at] + bytes([rng.choice(_BYTES)]) + value[at + 1 :]


def insert_bytes(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) + 1)
    return value[:at] + bytes(rng.choices(_BYTES, k=rng.choice((1, 1, 2)))) + value[at:]


def delete_bytes(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value) or 1)
    return value[:at] + value[at + rng.choice((1, 1, 2, 9)) :]


def double_part(rng: random.Random, value: bytes) -> bytes:
    """A part of the message twice: keys that repeat, two objects, commas too many."""
    start = rng.randrange(len(value) or 1)
    stop = rng.choice((value.find(b",", start) + 1, value.find(b'"', start) + 1, len(value), start + 3))
    at = rng.choice((stop, stop, rng.randrange(len(value) or 1)))
    return value[:at] + value[start:stop] + value[at:]


def cut_short(rng: random.Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value) or 1)]


BYTE_WAYS = (change_byte, change_byte, insert_bytes, delete_bytes, double_part, cut_short)
"""Mutations that know nothing of the message, each with the weight of a structured one."""


class Mutations:
    """Mutates messages; the same seed gives the same ones."""

    def __init__(
        self,
        seed: int,
        bases: Sequence[bytes],
        numbers: Sequence[bytes],
        times: Sequence[bytes],
        texts: Sequence[bytes],
    ) -> None:
        self._rng = random.Random(seed)
        self._bases = bases
        self._numbers, self._times, self._texts = numbers, times, texts
        self._ways: list[Callable[[bytes], bytes]] = [
            *[self._number] * 4,
            *[self._time] * 3,
            *[self._text] * 3,
            self._random_number,
            self._random_time,
            self._bare,
            self._random_text,
            self._escape,
            *[partial(way, self._rng) for way in BYTE_WAYS],
            self._swap,
        ]

    def message(self) -> bytes:
        """A base with one mutation, sometimes two or three."""
        value = self._rng.choice(self._bases)
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            value = self._rng.choice(self._ways)(value)
        return value

    def _content(self, value: bytes, keys: Sequence[bytes], content: str, quoted: bool) -> bytes:
        """The message with another content in the place of one key's value, its neighbours left as they are."""
        key = self._rng.choice(keys)
        at = value.find(b'"' + key + b'"')
        begin = value.find(b":", at) + 1
        while value[begin : begin + 1] in (b" ", b"\n"):
            begin += 1
        end = (
            value.find(b'"', begin + 1) + 1
            if quoted
            else min((e for e in (value.find(s, begin) for s in (b",", b"}", b"\n")) if e > 0), default=begin)
        )
        text = content.encode("utf-8", "surrogatepass")
        return value[:begin] + (b'"' + text + b'"' if quoted else text) + value[end:] if at >= 0 else value

    def _number(self, value: bytes) -> bytes:
        return self._content(value, self._numbers, self._rng.choice(NUMBERS), quoted=False)

    def _random_number(self, value: bytes) -> bytes:
        digits = self._rng.choice((1, 5, 15, 16, 17, 18, 19, 20))
        number = str(self._rng.randrange(10**digits))
        at = self._rng.randrange(len(number) + 1)
        content = self._rng.choice(("", "-")) + number[:at] + self._rng.choice(("", ".", ".")) + number[at:]
        return self._content(value, self._numbers, content, quoted=False)

    def _time(self, value: bytes) -> bytes:
        return self._content(value, self._times, self._rng.choice(TIMES), quoted=True)

    def _random_time(self, value: bytes) -> bytes:
        rng = self._rng
        fraction = rng.choice(("", f".{rng.randrange(10 ** rng.randrange(1, 8))}"))
        zone = rng.choice(("", "Z", f"{rng.choice('+-')}{rng.randrange(26):02}:{rng.randrange(62):02}"))
        day = f"{rng.choice((1, 1969, 1970, 2024, 9999)):04}-{rng.randrange(14):02}-{rng.randrange(33):02}"
        content = f"{day}{rng.choice('T ')}{rng.randrange(26):02}:{rng.randrange(62):02}:{rng.randrange(62):02}{fraction}{zone}"
        return self._content(value, self._times, content, quoted=True)

    def _text(self, value: bytes) -> bytes:
        return self._content(value, self._texts, self._rng.choice(TEXTS), quoted=True)

    def _bare(self, value: bytes) -> bytes:
        return self._content(value, self._numbers, self._rng.choice(BARE), quoted=False)

    def _random_text(self, value: bytes) -> bytes:
        content = "".join(
            self._rng.choices(
                ("\\", "\\", '\\"', "u", "00", "d8", "e9", "n", "/", "é", '"', "\\u"), k=self._rng.randrange(9)
            )
        )
        return self._content(value, self._texts, content, quoted=True)

    def _escape(self, value: bytes) -> bytes:
        """An escape, good or bad, at any place of a text, a key or a number."""
        at = self._rng.randrange(len(value) or 1)
        escape = self._rng.choice(
            (b"\\u%04x" % self._rng.choice((0x41, 0xE9, 0xD800, 0xDC00, 0)), b"\\n", b'\\"', b"\\", b"\\\\")
        )
        return value[:at] + escape + value[at + self._rng.choice((0, 0, 1)) :]

    def _swap(self, value: bytes) -> bytes:
        """One key in the place of another."""
        keys = [*self._numbers, *self._times, *self._texts]
        old, new = self._rng.choice(keys), self._rng.choice(keys)
        return value.replace(b'"' + old + b'"', b'"' + new + b'"', 1)
