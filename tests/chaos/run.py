"""Spreads restarts over the families, and runs their episodes, some at a time, on one platform.

Every episode's seed is made of the run's seed, its family's name and its number, so that it can be had again alone (`--family`, `--episode`).
A fault that is found ends its episode, leaves its evidence in a folder, and the run goes on.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.chaos.arena import Arena, Counts
from tests.chaos.families import FAMILIES
from tests.services.servers import Credentials, KafkaCluster, Platform, object_storage

CREDENTIALS = Credentials("neptune-of-the-tests", "known-to-nobody-else")
LEADERS_GO_BACK = {"leader.imbalance.check.interval.seconds": "3", "auto.leader.rebalance.enable": "true"}
"""A broker that has come back leads again soon, so that leaders move twice."""

RESTARTS_MIN = 2
"""Of a family, however few are asked for: one that meets the harm, and one that lands the rest."""


@dataclass(frozen=True)
class Episode:
    """One family on a topic and tables of its own."""

    family: str
    number: int
    seed: int
    """The run's."""
    restarts: int

    @property
    def name(self) -> str:
        """Of topic and tables."""
        words = re.sub(r"[^a-z0-9]+", "_", self.family.lower()).strip("_")
        return f"{words}_{self.number}"

    @property
    def own_seed(self) -> str:
        """What the episode's drawings come from."""
        return f"{self.seed}:{self.family}:{self.number}"


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    counts: dict[str, Counts] = field(default_factory=dict)
    """By family."""
    duration_s: float = 0.0

    @property
    def total(self) -> Counts:
        """All families together."""
        total = Counts()
        for counts in self.counts.values():
            total.add(counts)
        return total


def planned(restarts: int, seed: int, families: Sequence[str] = ()) -> list[Episode]:
    """The episodes of a run: each family's share of the restarts, in pieces, in an order drawn from the seed."""
    chosen = {name: family for name, family in FAMILIES.items() if not families or name in families}
    whole = sum(family.share for family in chosen.values())
    episodes = []
    for name, family in chosen.items():
        left, number = max(RESTARTS_MIN, round(restarts * family.share / whole)), 0
        pieces = -(-left // family.restarts_max)
        for piece in range(pieces, 0, -1):
            size = -(-left // piece)
            episodes.append(Episode(name, number, seed, size))
            left, number = left - size, number + 1
    Random(seed).shuffle(episodes)
    return episodes


def run(
    episodes: Sequence[Episode],
    *,
    evidence: Path,
    at_once: int = 2,
    say: Callable[[str], None] = print,
    after_each: Callable[[Outcome], None] = lambda _outcome: None,
    platform: Platform | None = None,
) -> Outcome:
    """Run the episodes.

    Args:
        evidence: the folder for what is left of episodes in which something was found.
        at_once: episodes at the same time.
        say: gets a line after each episode.
        after_each: gets what the run has come to so far: a run that is broken off has its table all the same.
        platform: running servers; None means that they are started here.
    """
    assert episodes
    outcome = Outcome(episodes[0].seed, {e.family: Counts() for e in sorted(episodes, key=_order)})
    began = time.monotonic()
    with ExitStack() as stack:
        if platform is None:
            platform = stack.enter_context(Platform(storage=object_storage(credentials=CREDENTIALS)))
            platform.storage.create_bucket(platform.bucket)
        pool = stack.enter_context(ThreadPoolExecutor(at_once))
        running = [pool.submit(_episode, platform, episode, evidence) for episode in episodes]
        for number, (episode, future) in enumerate(zip(episodes, running, strict=True), 1):
            counts = future.result()
            outcome.counts[episode.family].add(counts)
            outcome.duration_s = time.monotonic() - began
            say(_progress(number, episodes, episode, counts, outcome))
            after_each(outcome)
    return outcome


def _order(episode: Episode) -> int:
    return list(FAMILIES).index(episode.family)


def _progress(number: int, episodes: Sequence[Episode], episode: Episode, counts: Counts, outcome: Outcome) -> str:
    verdict = "clean" if counts.is_clean else "FOUND: " + " | ".join(counts.found)
    total = outcome.total
    head = (
        f"{outcome.duration_s:6.0f} s  {number}/{len(episodes)}  {total.restarts} restarts, {total.messages} messages"
    )
    return f"{head}  [{episode.family}, episode {episode.number}: {counts.restarts} restarts] {verdict}"


def _episode(platform: Platform, episode: Episode, evidence: Path) -> Counts:
    directory = Path(tempfile.mkdtemp(prefix="neptune-chaos-"))
    try:
        return _played(platform, episode, directory, evidence / f"{episode.seed}-{episode.name}")
    except Exception:  # noqa: BLE001 one episode that could not be had does not end the others
        return Counts(strange=1, found=[f"strange: {episode.name} could not be played: {traceback.format_exc()}"])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _played(platform: Platform, episode: Episode, directory: Path, evidence: Path) -> Counts:
    family = FAMILIES[episode.family]
    # Two runs on one platform, as tests may be, must not share a topic.
    name = f"{episode.name}_{zlib.crc32(str(directory).encode()):08x}"
    with ExitStack() as stack:
        kafka = None
        if family.brokers:
            kafka = stack.enter_context(KafkaCluster(family.brokers, properties=LEADERS_GO_BACK))
        arena = stack.enter_context(Arena(platform, name, directory, episode.own_seed, episode.restarts, kafka))
        try:
            family.run(arena)
        except Exception:  # noqa: BLE001 what ends a family early is a finding like any other
            arena.object(f"the family ended early: {traceback.format_exc()}")
        _judge(arena, is_settled=not family.settles)
        arena.note_faults()
        if not arena.counts.is_clean:
            arena.keep_evidence(evidence)
            arena.counts.found.append(f"evidence: {evidence}")
        return arena.counts


def _judge(arena: Arena, *, is_settled: bool) -> None:
    if is_settled and arena.counts.is_clean:
        return
    try:
        arena.traffic.flush()
        arena.settle()
    except Exception:  # noqa: BLE001 as above
        arena.object(f"the rest could not be landed: {traceback.format_exc()}")
