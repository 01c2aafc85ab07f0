"""Makes a history that goes wrong short: decisions are taken out, or made harmless, as long as the same kind of fault remains."""

from __future__ import annotations

from tests.simulation.run import Result, run

RUNS_MAX = 3000
"""What is shortest by then will do."""


def shrink(result: Result) -> Result:
    """A short history with the same kind of fault, and its story; within `simulated`."""
    shrinking = _Shrinking(result)
    before = None
    while before != (before := len(shrinking.best)) and shrinking.runs < RUNS_MAX:
        shrinking.go_over()
    return run(result.seed, shrinking.best, tells=True)._replace(decisions=shrinking.best)


class _Shrinking:
    """The shortest list of decisions so far."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self.best = _trimmed(result.decisions)
        self.runs = 0

    def go_over(self) -> None:
        """Blocks of half the length, of a quarter, …, single ones; from the end, where most are of no account."""
        size = len(self.best) // 2
        while size:
            end = len(self.best)
            while end > 0 and self.runs < RUNS_MAX:
                begin = max(end - size, 0)
                before, after = self.best[:begin], self.best[end:]
                if not self._try(before + after) and any(self.best[begin:end]):
                    self._try([*before, *[0] * (end - begin), *after])
                end = begin
            size //= 2

    def _try(self, decisions: list[int]) -> bool:
        self.runs += 1
        is_as_wrong = run(self._result.seed, decisions).kind == self._result.kind
        if is_as_wrong:
            self.best = _trimmed(decisions)
        return is_as_wrong


def _trimmed(decisions: list[int]) -> list[int]:
    """Without harmless decisions at the end: those are made anyway."""
    return decisions[: max((i for i, d in enumerate(decisions, 1) if d), default=0)]
