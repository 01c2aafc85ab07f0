"""The dice of one history: all that is left to chance is decided here, so that a history is its list of decisions.

A seed makes the list while the history runs. Given back, the list makes the same history, and with numbers taken out or set to zero a shorter
one (`shrink`): zero is always the harmless decision, and where the list ends all further decisions are harmless.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Decisions by a seed, or those of a given list; `taken` holds what was decided."""

    def __init__(self, seed: int, given: Sequence[int] | None = None) -> None:
        self._random = random.Random(seed)
        self._given = None if given is None else iter(given)
        self.taken: list[int] = []

    def below(self, limit: int) -> int:
        """A number of `[0, limit)`."""
        given = self._given
        number = int(self._random.random() * limit) if given is None else min(next(given, 0), limit - 1)
        self.taken.append(number)
        return number

    def chance(self, share: float) -> bool:
        """Whether something happens that rarely does."""
        happens = self._random.random() < share if self._given is None else next(self._given, 0) > 0
        self.taken.append(int(happens))
        return happens

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, of which the first is harmless."""
        return options[self.below(len(options))]
