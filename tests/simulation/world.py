"""What all of one history shares: its dice, processes that can be frozen in the middle of any call, a clock, and the story so far.

A process is a greenlet: at each effect on the outside the world may take the processor from it, and give it back much later, or never. So a
zombie is nothing special: it is a process that was not continued for long. One of them runs at a time, and the dice say which, so a history
happens again in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from tests.simulation.dice import Dice


class Crash(BaseException):
    """The process is gone, here and now; no handler of the code under test may catch it."""


class Defect(BaseException):
    """Of the simulation itself: it must not pass for something that a service said."""


PAUSE = "a pause"
PAUSES_MAX = 500
"""Of one history; a long one makes twenty. What pauses so often waits for ever."""


class Task:
    """A process of the history, as the scheduler sees it."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self.name = name
        self.end: BaseException | None = None
        """What ended it, if it did not end by itself."""
        self._body = body
        self._greenlet = greenlet(self._run)
        self._greenlet.task = self

    @property
    def is_over(self) -> bool:
        return bool(self._greenlet.dead)

    def go_on(self) -> None:
        """Run until the process is frozen, or over."""
        self._greenlet.switch()

    def kill(self) -> None:
        """End it where it is frozen."""
        with suppress(Crash):  # out of one that has not begun
            self._greenlet.throw(Crash())
        self.end = Crash()

    def _run(self) -> None:
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - whatever ends a process is judged by the history
            self.end = error


class World:
    """See the module's head."""

    def __init__(self, dice: Dice, *, tells: bool = False) -> None:
        self.dice = dice
        self.calm = False
        """Nothing goes wrong any more."""
        self.now_s = 0.0
        self._pauses = 0
        self.fault_share = dice.pick([0.0, 0.01, 0.04, 0.12])
        self.freeze_share = dice.pick([0.0, 0.03, 0.15])
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        """What must never be, seen while it happened."""
        self.story: list[str] = []
        self._tells = tells

    def tell(self, what: str) -> None:
        """Add to the story, if anybody reads it."""
        if self._tells:
            self.story.append(f"{getattr(getcurrent(), 'task', HISTORY).name}: {what}")

    @property
    def tells(self) -> bool:
        return self._tells

    def fault(self, what: str, times: float = 1) -> bool:
        """Whether this goes wrong now; so many times as often as other things."""
        if self.calm or self.fault_share == 0 or not self.dice.chance(self.fault_share * times):
            return False
        self.faults[what] += 1
        return True

    def effect(self, what: str) -> None:
        """To be called where the process meets the outside: it may be frozen there, or end."""
        self._pauses += what == PAUSE
        if self._pauses > PAUSES_MAX:
            raise Defect("it waits for ever")
        if self.calm:
            return
        if self.freeze_share and self.dice.chance(self.freeze_share):
            self.faults["frozen"] += 1
            self.tell(f"frozen at {what}")
            self.freeze()
            self.tell(f"goes on with {what}")
        if self.fault_share and self.dice.chance(self.fault_share / 4):
            self.faults["crash"] += 1
            self.tell(f"crashes at {what}")
            raise Crash

    @staticmethod
    def freeze() -> None:
        """Give the processor back to the history."""
        getcurrent().parent.switch()


HISTORY = Task("history", lambda: None)
