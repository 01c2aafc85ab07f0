"""`python -m tests.chaos --restarts 1000`: kills, freezes and lies, and the table of what it came to. Exit 1 if anything was found."""

from __future__ import annotations

import argparse
import functools
import secrets
import sys
import tempfile
from pathlib import Path

from tests.chaos import report
from tests.chaos.families import FAMILIES
from tests.chaos.run import Outcome, planned, run

EVIDENCE = Path(tempfile.gettempdir()) / "neptune-chaos-evidence"


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--restarts", type=int, default=100, help="processes started after a fault, all families together"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument(
        "--family", action="append", default=[], choices=list(FAMILIES), help="only this family; may be repeated"
    )
    parser.add_argument("--episode", type=int, default=None, help="only the episode of this number")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="episodes at the same time (2)")
    parser.add_argument("--output", type=Path, default=None, metavar="FILE", help="write FILE.md and FILE.json")
    parser.add_argument("--evidence", type=Path, default=EVIDENCE, metavar="FOLDER", help="for what is found")
    options = parser.parse_args()
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    episodes = [e for e in planned(options.restarts, seed, options.family) if options.episode in (None, e.number)]
    say = functools.partial(print, flush=True)

    def keep(outcome: Outcome) -> None:
        if options.output:
            report.write(outcome, options.output)

    outcome = run(episodes, evidence=options.evidence, at_once=options.at_once, say=say, after_each=keep)
    print(f"\n{report.text(outcome)}")
    return 0 if outcome.total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
