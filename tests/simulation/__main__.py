"""`python -m tests.simulation N [--seed S]`: N histories from a seed on, with progress and a summary; exit 1 if one goes wrong.

`--mutant NAME` runs Neptune without one of its rules, and shows how short the story is that proves the rule's worth.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Result, Summary, run, run_many, simulated
from tests.simulation.shrink import shrink

PROGRESS_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("histories", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, help="of the first history; without it one is chosen and printed")
    parser.add_argument("--mutant", choices=[*MUTANTS], help="run without this rule, one history after another")
    chosen = parser.parse_args()
    first = random.SystemRandom().randrange(1 << 40) if chosen.seed is None else chosen.seed
    seeds = range(first, first + chosen.histories)
    print(f"seeds from {first}", flush=True)
    if chosen.mutant:
        return _show_mutant(chosen.mutant, seeds)
    summary = run_many(seeds, _progress(len(seeds)))
    print(told(summary))
    for seed in list(summary.wrong)[:1]:
        with simulated():
            print(story_of(run(seed)))
    return 1 if summary.wrong else 0


def story_of(result: Result) -> str:
    """A wrong history made short, and told."""
    short = shrink(result)
    head = [f"SIMULATION_SEED={result.seed}", *(f"  {w}" for w in result.wrong[:5])]
    tale = [f"of {len(result.decisions)} decisions {len(short.decisions)} are enough:", *short.story, *short.wrong]
    return "\n".join([*head, *tale])


def told(summary: Summary) -> str:
    """The summary as text."""
    lines = [
        f"{summary.histories} histories, {len(summary.wrong)} wrong; the longest made {summary.decisions_max} decisions"
    ]
    for title, counts in (("processes ended by", summary.ends), ("what happened to them", summary.faults)):
        lines += [f"{title}:", *(f"  {count:9,}  {what}" for what, count in counts.most_common())]
    lines += [f"SIMULATION_SEED={seed}: {wrong[0]}" for seed, wrong in summary.wrong.items()]
    return "\n".join(lines)


def _progress(total: int):  # type: ignore[no-untyped-def]
    began_s = told_s = time.monotonic()

    def tell(summary: Summary) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            rate = summary.histories / (told_s - began_s)
            print(f"{summary.histories:,} of {total:,} histories, {rate:.0f} a second", file=sys.stderr, flush=True)

    return tell


def _show_mutant(name: str, seeds: range) -> int:
    with simulated(), pytest.MonkeyPatch.context() as patch:
        for owner, attribute, replacement in MUTANTS[name]:
            patch.setattr(owner, attribute, replacement)
        for number, seed in enumerate(seeds, 1):
            if (result := run(seed)).wrong:
                print(f"caught by history {number}\n{story_of(result)}")
                return 0
    print("not caught")
    return 1


if __name__ == "__main__":
    sys.exit(main())
