"""The route from Kafka to the table under crashes, lost answers, races, zombies, stale recovery stores and other writers, by seed."""

from __future__ import annotations

import os
import random

import pytest

from tests.simulation.__main__ import story_of, told
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Result, run, run_many, simulated
from tests.simulation.shrink import shrink

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "20000"))
MUTANT_HISTORIES_MAX = 20_000
SEED = os.environ.get("SIMULATION_SEED")
"""Set it to one printed seed to see that history alone, and its story made short."""

HAPPENS_OFTEN = (
    "frozen",
    "crash",
    "catalog away",
    "commit in flight",
    "commit refused or lost",
    "commit error although applied",
    "storage error, nothing written",
    "storage error, file written",
    "kafka away",
    "topic id: no answer",
    "publish: lost",
    "retention",
    "topic re-created",
    "foreign compaction",
    "foreign delete",
    "foreign expiry",
    "rollback of rows",
)
"""What never goes wrong proves nothing: each of these in one history of a thousand at least (most come in one of ten)."""


@pytest.mark.timeout(3600)
def test_whatever_happens_every_message_lands_exactly_once() -> None:
    if SEED is not None:
        with simulated():
            alone = run(int(SEED))
            assert not alone.wrong, story_of(alone)
        return
    first = random.SystemRandom().randrange(1 << 40)
    print(f"seeds from {first}")
    summary = run_many(range(first, first + HISTORIES))
    print(told(summary))
    for seed in summary.wrong:
        with simulated():
            pytest.fail(story_of(run(seed)))
    assert summary.histories == HISTORIES
    rare = [what for what in HAPPENS_OFTEN if summary.faults[what] < HISTORIES // 1000]
    assert not rare, f"hardly ever happened: {rare}"


def _caught(mutant: str, patch: pytest.MonkeyPatch) -> tuple[int, Result]:
    """How many histories it takes, and the one that catches it."""
    for owner, attribute, replacement in MUTANTS[mutant]:
        patch.setattr(owner, attribute, replacement)
    for number, seed in enumerate(range(MUTANT_HISTORIES_MAX), 1):
        if (result := run(seed)).wrong:
            return number, result
    pytest.fail(f"not caught by {MUTANT_HISTORIES_MAX} histories: {mutant}")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_neptune_without_one_of_its_rules_is_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated():
        number, result = _caught(mutant, monkeypatch)
    print(f"{mutant}: caught by history {number}: {result.wrong[0]}")


def test_the_same_decisions_make_the_same_history() -> None:
    stories = []
    for _ in range(2):
        with simulated():
            by_seed = run(7, tells=True)
        with simulated():
            by_decisions = run(0, by_seed.decisions, tells=True)
        stories += [by_seed.story, by_decisions.story]
    assert len(stories[0]) > 3
    assert stories[0] == stories[1] == stories[2] == stories[3]


@pytest.mark.timeout(1200)
def test_a_history_that_goes_wrong_shrinks_to_a_few_events(monkeypatch: pytest.MonkeyPatch) -> None:
    with simulated():
        _, result = _caught("forgets what was refused before", monkeypatch)
        short = shrink(result)
    print("\n".join(short.story))
    assert short.kind == result.kind
    assert len(short.decisions) < len(result.decisions)
    assert len(short.story) < 30
