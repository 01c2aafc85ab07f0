"""`python -m tests.fuzz N [--seed S]`: N fuzzed messages, of two contracts, through a real Kafka, Neptune, object storage and catalog.

Prints what became of them and Neptune's peak memory. The exit status is 1 if one message is not what Pydantic and the documented rules make of it, or memory
passed NEPTUNE_MEMORY_BYTES_MAX.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.live import Live, Result
from tests.fuzz.subjects import DELIVERY, ORDER, Subject
from tests.services.servers import Platform
from tests.services.stage import Stage

SHARES = ((DELIVERY, 0.6), (ORDER, 0.4))
LAND_S_PER_MESSAGE = 0.002
"""Generous: a slow machine takes a tenth of it."""
MEMORY_BYTES_MAX = 512 << 20
"""The default of NEPTUNE_MEMORY_BYTES_MAX."""
SHOWN_MAX = 5
"""Wrong messages that are printed."""
TEXT_CHARS_MAX = 3000


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("messages", type=int, help="how many, of both contracts together")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="the same one makes the same messages"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    good = True
    with Platform() as servers, tempfile.TemporaryDirectory() as folder:
        servers.storage.create_bucket(servers.bucket)
        for subject, share in SHARES:
            good &= run(servers, subject, options.seed, round(options.messages * share), Path(folder))
    return 0 if good else 1


def run(servers: Platform, subject: Subject, seed: int, messages: int, folder: Path) -> bool:
    """One subject's messages; whether all was as expected."""
    began_s = time.monotonic()
    stage = Stage(servers, f"fuzz_{subject.name}", folder)
    live = Live(stage, subject, seed, messages)
    try:
        live.produce()
        live.land(60 + messages * LAND_S_PER_MESSAGE)
    finally:
        stage.close()
    result = live.compare()
    report(result, time.monotonic() - began_s)
    if result.wrong:
        case = live.smallest_case(result.wrong[0])
        print(f"the first made small: {case or 'judged as expected without a server'}", flush=True)
    return not result.wrong and result.peak_bytes <= MEMORY_BYTES_MAX


def report(result: Result, wall_s: float) -> None:
    """What became of the messages."""
    rows = result.kinds["row"]
    print(f"\n{result.subject}: {result.messages:,} messages, {rows:,} rows, {result.messages - rows:,} rejects")
    print(
        f"landed in {result.land_s:.0f} s, peak memory {result.peak_bytes / 2**20:.0f} MiB; {wall_s:.0f} s with producing and comparing"
    )
    print("".join(f"  {count:>9,}  {kind}\n" for kind, count in result.kinds.most_common()))
    print(f"wrong: {len(result.wrong)}")
    for wrong in result.wrong[:SHOWN_MAX]:
        print(f"{wrong.name} {wrong.partition}/{wrong.offset}: {wrong.text[:TEXT_CHARS_MAX]}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
