"""From a seed to messages: blocks of a topic as producers, bad programs and bad memory would write it.

A block has a few layouts of its era (the order of keys, the white space, unknown keys that are always there) and a heat: how often a value, a document or its bytes are not as
they should be. Cool blocks hold the odd message among many good ones, as a topic does; hot ones hold nothing good. A block depends on the seed, the subject and its
number alone, so that any message can be had again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

from tests.fuzz import tokens
from tests.fuzz.subjects import Group, Kind, Leaf, Many, Subject
from tests.validation.mutations import BYTE_WAYS, TEXTS

BLOCK_MESSAGES = 1000
HEATS = (0.0, 0.002, 0.002, 0.01, 0.01, 0.03, 0.1, 0.4)
VALUE_BYTES_MAX = 1 << 20
"""Doubled and spliced again and again, a value would outgrow what Kafka takes."""
ERA_BLOCKS = 16
"""So long a topic has the same producers, which is long enough for their layouts to be learnt."""
STYLES = 5
ELEMENTS_MAX = 3
DAYS_MS = (1_714_521_600_000, 1_714_608_000_000)
_HOLES = re.compile("[#$]")
ABSURD_MS = (1, 253_402_300_799_999, 253_402_300_800_000, 2**62)
"""Kafka's times that a broken producer writes: the first and the last day that can be told, and two that cannot."""


class FuzzedMessage(NamedTuple):
    """A message to produce."""

    value: bytes | None
    key: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...]


class Style(NamedTuple):
    """How one producer writes an object."""

    open: str
    colon: str
    comma: str
    close: str
    shuffle: int
    """Seed of the keys' order; 0 is the contract's."""
    more: tuple[tuple[str, str], ...]
    """Unknown members of each of its documents, with how their values are written: `#` stands for any value, `$` for the content of a string."""


def block_of(seed: int, subject: Subject, number: int, count: int = BLOCK_MESSAGES) -> list[FuzzedMessage]:
    """The messages of one block."""
    rng = Random(f"{seed}/{subject.name}/{number}")
    heat = rng.choice(HEATS)
    era = Random(f"{seed}/{subject.name}/era {number // ERA_BLOCKS}")
    styles = rng.sample([_style(era) for _ in range(STYLES)], rng.choice((1, 1, 2, 4)))
    writer = _Writer(rng, subject, styles, heat)
    return [FuzzedMessage(writer.value(), *_envelope(rng)) for _ in range(count)]


def _envelope(rng: Random) -> tuple[bytes | None, int, tuple[tuple[str, bytes], ...]]:
    """Key, time and headers."""
    key = rng.choice(
        (None, b"", b"vehicle-17", b"\xff\x00\xfe", "schlüssel".encode(), rng.randbytes(rng.randrange(40)))
    )
    time_ms = rng.choice(ABSURD_MS) if rng.random() < 0.01 else rng.choice(DAYS_MS) + rng.randrange(86_400_000)
    names = ("trace", "", "trace", "ünï", "x" * 300)
    headers = tuple((rng.choice(names), rng.randbytes(rng.randrange(9))) for _ in range(rng.choice((0, 0, 1, 3))))
    return key, time_ms, headers


def _style(rng: Random) -> Style:
    more = rng.sample(
        (
            *(("battery", "#"), ("driver", '"$"'), ("odometer", "12345.60"), ("event_date", '"2024-05-01"')),
            *(("meter", '{"level": #, "unit": "$", "more": {"": #}}'), ("tags", '["$","$"]'), ("empty", "[{}, []]")),
            ("legs", '[{"n":#,"to":"$"},{"n":#,"to":"$"}]'),
        ),
        rng.choice((0, 0, 1, 2, 4)),
    )
    if rng.random() < 0.1:
        more.append(("tree", rng.choice(tokens.ANY[:10])))
    space = rng.choice(("", "", " ", "\n\t"))
    return Style(
        rng.choice(("", " ")) + "{" + space,
        rng.choice((":", ": ", " :")),
        rng.choice((",", ", ", ",\n  ", " ,")),
        space + "}" + rng.choice(("", "\n")),
        rng.choice((0, 0, rng.randrange(1, 1000))),
        tuple(more),
    )


class _Writer:
    """Writes the values of one block."""

    def __init__(self, rng: Random, subject: Subject, styles: list[Style], heat: float) -> None:
        self._rng, self._subject, self._styles, self._heat = rng, subject, styles, heat
        self._last = b""
        self._ways: tuple[Callable[[bytes], bytes | None], ...] = (
            *[lambda value: self._rng.choice(BYTE_WAYS)(self._rng, value)] * 6,
            self._in_a_frame,
            self._spliced,
            self._noise,
            self._another_text,
            self._too_long,
            lambda _: None,
        )

    def value(self) -> bytes | None:
        rng = self._rng
        text = self._write(self._subject.document, rng.choice(self._styles))
        value: bytes | None = text.encode("utf-8", "surrogatepass")
        if rng.random() < 4 * self._heat:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                value = rng.choice(self._ways)(value or b"")
        value = value and value[:VALUE_BYTES_MAX]
        self._last = value or self._last
        return value

    # Structure

    def _write(self, kind: Kind, style: Style) -> str:
        match kind:
            case Leaf():
                return self._odd(kind.odd) if self._is_hot() else kind.good(self._rng)
            case Many():
                elements = [self._write(kind.element, style) for _ in range(self._rng.randrange(ELEMENTS_MAX + 1))]
                return self._odd(tokens.ANY) if self._is_hot() else f"[{style.comma.join(elements)}]"
            case Group():
                return self._odd(tokens.ANY) if self._is_hot() else self._write_group(kind, style)

    def _write_group(self, group: Group, style: Style) -> str:
        left_out = group.optional if self._rng.random() < 0.2 else ()
        members = [(key, self._write(kind, style)) for key, kind in group.members.items() if key not in left_out]
        members += [(key, _HOLES.sub(self._leaf, text)) for key, text in style.more]
        if style.shuffle:
            Random(style.shuffle).shuffle(members)
        while self._is_hot(2):
            self._disturb(members, group, style)
        return style.open + style.comma.join(f'"{key}"{style.colon}{text}' for key, text in members) + style.close

    def _disturb(self, members: list[tuple[str, str]], group: Group, style: Style) -> None:
        """A key twice, absent, unknown, in another's place, or written with an escape."""
        rng = self._rng
        at = rng.randrange(len(members) + 1)
        name, kind = rng.choice(list(group.members.items()))
        match rng.randrange(6):
            case 0:
                members.insert(at, (name, self._write(kind, style)))
            case 1:
                members.insert(at, (name, self._odd(kind.odd if isinstance(kind, Leaf) else tokens.ANY)))
            case 2:
                del members[at : at + 1]
            case 3:
                members.insert(
                    at,
                    (
                        rng.choice(("x", "", "pieces", name.upper(), name + "\\u0000", "~", "é", "\\ud800")),
                        self._odd(tokens.ANY),
                    ),
                )
            case 4:
                members[at : at + 1] = [(rng.choice(list(group.members)), text) for _, text in members[at : at + 1]]
            case 5:
                members[at : at + 1] = [(_escaped(rng, key), text) for key, text in members[at : at + 1]]

    def _leaf(self, hole: re.Match[str]) -> str:
        """What stands in the place of a `#` or `$`."""
        rng = self._rng
        if hole[0] == "$":
            return self._odd(TEXTS) if self._is_hot() else json.dumps(rng.choice(tokens.GOOD_TEXTS))[1:-1]
        return self._odd(tokens.NUMBER) if self._is_hot() else rng.choice(tokens.GOOD_BARE)

    def _odd(self, own: Sequence[str]) -> str:
        rng = self._rng
        choices = own if rng.random() < 0.8 else tokens.ANY
        return rng.choice(choices) if rng.random() < 0.9 else _random_number(rng)

    def _is_hot(self, times: float = 1) -> bool:
        return self._rng.random() < min(0.6, times * self._heat)

    # Whole documents

    def _in_a_frame(self, value: bytes) -> bytes:
        """Something before or after the document."""
        before = (
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\x00",
            b"[",
            b")]}',\n",
            b"\x0b",
            b"\xc2\xa0",
            b" \r\n\t",
            b"\x00\x00\x00\x00\x01",
        )
        after = (b"\x00", b"x", b"}", b"]", b",", b" {}", b"\n" + value, b"//", b"\xc3", b"\x1a", b" \r\n\t ")
        return self._rng.choice((self._rng.choice(before) + value, value + self._rng.choice(after)))

    def _spliced(self, value: bytes) -> bytes:
        """The beginning of the last message and the end of this one."""
        return self._last[: self._rng.randrange(len(self._last) + 1)] + value[self._rng.randrange(len(value) + 1) :]

    def _noise(self, _: bytes) -> bytes:
        rng = self._rng
        whole = (b"", b"null", b"{}", b"[]", b"5", b'"s"', b"<xml/>", b"[" * 10_000, b'{"a":' * 10_000)
        return rng.choice(
            (
                rng.randbytes(rng.randrange(600)),
                rng.choice(whole),
                rng.choice(tokens.ANY).encode("utf-8", "surrogatepass"),
            )
        )

    def _another_text(self, value: bytes) -> bytes:
        """The same in another encoding."""
        text = value.decode(errors="replace")
        return text.encode(
            self._rng.choice(("utf-16", "utf-16-be", "utf-32-le", "latin-1", "cp037", "utf-7")), "replace"
        )

    def _too_long(self, value: bytes) -> bytes:
        """Longer than what the fast way takes, or, seldom, than what is parsed."""
        size = self._rng.choice((5_000, 5_000, 70_000) if self._rng.random() < 0.95 else (300_000,))
        return value.rstrip()[:-1] + b',"long":"' + b"y" * size + b'"}'


def _escaped(rng: Random, key: str) -> str:
    at = rng.randrange(len(key) or 1)
    return f"{key[:at]}\\u{ord(key[at]):04x}{key[at + 1 :]}" if key else key


def _random_number(rng: Random) -> str:
    """Digits, perhaps a point somewhere, perhaps an exponent."""
    digits = str(rng.randrange(10 ** rng.choice((1, 5, 15, 16, 17, 18, 19, 20))))
    at = rng.randrange(len(digits) + 1)
    exponent = rng.choice(("", "", f"e{rng.randrange(-30, 30)}", f"E+{rng.randrange(400)}"))
    return rng.choice(("", "-")) + digits[:at] + rng.choice(("", ".", ".")) + digits[at:] + exponent
