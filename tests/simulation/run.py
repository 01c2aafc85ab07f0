"""Runs histories: one by its seed or its list of decisions, or very many, spread over the processors."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, TypeVar

import pytest

from neptune_flow import sink, spool
from neptune_flow.iceberg import commit
from neptune_flow.telemetry import configure_logging
from tests.simulation import table
from tests.simulation.dice import Dice
from tests.simulation.history import History
from tests.simulation.oracle import complaints

T = TypeVar("T")
U = TypeVar("U")

SEEDS_PER_TASK = 50


class Result(NamedTuple):
    """What came of one history."""

    seed: int
    wrong: list[str]
    decisions: list[int]
    story: list[str]
    ends: Counter[str]
    faults: Counter[str]

    @property
    def kind(self) -> str:
        """What is wrong first, in one word; empty if nothing is."""
        return self.wrong[0].split(":")[0] if self.wrong else ""


@dataclass
class Summary:
    """What came of many."""

    histories: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: dict[int, list[str]] = field(default_factory=dict)
    """By seed."""
    decisions_max: int = 0

    def add(self, other: Summary) -> None:
        self.histories += other.histories
        self.ends.update(other.ends)
        self.faults.update(other.faults)
        self.wrong.update(other.wrong)
        self.decisions_max = max(self.decisions_max, other.decisions_max)


class _OneByOne:
    """Stands for a pool of threads: several at once would make another history each time."""

    def __init__(self, _threads_max: int) -> None:
        pass

    def __enter__(self) -> _OneByOne:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @staticmethod
    def map(do: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        return map(do, items)


@contextmanager
def simulated() -> Iterator[None]:
    """Threads, manifests and commit ids are the simulation's in this block, and nothing is logged."""
    numbers = itertools.count(1)
    configure_logging("CRITICAL", "json")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spool, "ThreadPoolExecutor", _OneByOne)
            patch.setattr(commit, "prepare", table.prepare)
            patch.setattr(sink, "new_commit_id", lambda: f"c{next(numbers)}")
            yield
    finally:
        configure_logging("WARNING", "json")


def run(seed: int, decisions: Sequence[int] | None = None, *, tells: bool = False) -> Result:
    """One history, by its seed or by given decisions; within `simulated`."""
    dice = Dice(seed, decisions)
    history = History(dice, tells=tells)
    history.run()
    world = history.world
    return Result(seed, list(complaints(history)), dice.taken, world.story, history.ends, world.faults)


def run_some(seeds: Sequence[int]) -> Summary:
    """Histories one after another."""
    summary = Summary()
    with simulated():
        for seed in seeds:
            result = run(seed)
            found = {seed: result.wrong} if result.wrong else {}
            summary.add(Summary(1, result.ends, result.faults, found, len(result.decisions)))
    return summary


def run_many(seeds: range, progress: Callable[[Summary], None] = lambda _summary: None) -> Summary:
    """Histories spread over the processors; ends early at the first that goes wrong."""
    summary = Summary()
    parts = [seeds[i : i + SEEDS_PER_TASK] for i in range(0, len(seeds), SEEDS_PER_TASK)]
    beside = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or "1")  # other tests need a processor, too
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) // beside), multiprocessing.get_context("spawn")) as pool:
        running: list[Future[Summary]] = [pool.submit(run_some, part) for part in parts]
        for done in as_completed(running):
            summary.add(done.result())
            progress(summary)
            if summary.wrong:
                pool.shutdown(cancel_futures=True)
                break
    return summary
