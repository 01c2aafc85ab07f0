"""What a verdict costs: CPU time per message of the slow way, the fast way and its stages, with good and bad messages.

    python -m bench.validation [--messages 20000] [--batch 1000] [--repeat 5]

Not measured: Kafka's consumer and Parquet, and page faults (`FREED_BYTES`). Figures are the best of `--repeat` rounds of the thread's CPU time; other work
on the machine shows in them through shared caches.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from neptune_flow.contract import load_contract
from neptune_flow.records import MessageBatch
from neptune_flow.validation import Validator
from neptune_flow.validation.chunk import Chunk
from neptune_flow.validation.extra import Extra
from neptune_flow.validation.learning import learn
from neptune_flow.validation.one_by_one import OneByOne
from neptune_flow.validation.rules import flat_rules
from tests.messages import SampleMessage, batch_from

SEED = 20240501
FREED_BYTES = 4 << 20
"""A block of so many bytes that has been freed once: glibc then keeps the memory of smaller ones (it doubles this for its trim threshold). A process that
lands files has freed larger ones; a bench that has not would fault the same pages in again for every batch, or not, by luck."""
NOW_US = 1_800_000_000_000_000
CONTRACT = load_contract("neptune_flow.contract:DeliveryData")


def delivery(rng: random.Random) -> dict[str, Any]:
    """One delivery event as a producer writes it, about 470 bytes as JSON."""

    def ident() -> str:
        return str(UUID(int=rng.getrandbits(128)))

    moment = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(microseconds=rng.randrange(3 * 86_400_000_000))
    places = {
        f"{which}_{axis}": rng.uniform(-half, half)
        for which in ("start", "end", "current")
        for axis, half in (("lat", 90), ("lon", 180))
    }
    return {
        "device_id": ident(),
        "vehicle_id": ident(),
        "session_id": ident(),
        "order_id": ident(),
        "status": rng.choice(["started", "en_route", "completed"]),
        "timestamp": moment.isoformat(),
        **places,
    }


def message(rng: random.Random, **changes: Any) -> bytes:
    return json.dumps({**delivery(rng), **changes}).encode()


def bad(rng: random.Random) -> bytes:
    whole = message(rng)
    kinds: list[Callable[[], bytes]] = [
        lambda: whole[: len(whole) // 2],
        lambda: message(rng, start_lat="40.6"),
        lambda: message(rng, end_lat=None),
        lambda: message(rng, current_lat=91.5),
        lambda: message(rng, timestamp="2024-02-30T00:00:00"),
        lambda: message(rng, device_id=""),
        lambda: whole.replace(b'"status"', b'"state"'),
        lambda: message(rng, current_lon=float("nan")),
        lambda: whole.replace(b"started", b"\xff").replace(b"en_route", b"\xff").replace(b"completed", b"\xff"),
        lambda: message(rng, timestamp=1714521600),
    ]
    return rng.choice(kinds)()


def batches(values: Sequence[bytes], size: int) -> list[MessageBatch]:
    messages = [SampleMessage(value, offset=n, key=value[15:51]) for n, value in enumerate(values)]
    return [batch_from(messages[at : at + size], at) for at in range(0, len(messages), size)]


def cpu_us(work: Callable[[], object], count: int, repeat: int) -> float:
    """Microseconds of CPU per message, the best of the rounds."""
    rounds = []
    for _ in range(repeat):
        before = time.thread_time()
        work()
        rounds.append(time.thread_time() - before)
    return min(rounds) / count * 1e6


def show(name: str, us: float) -> None:
    print(f"{name:<58}{us:8.2f} µs")


def whole(
    name: str, values: Sequence[bytes], args: argparse.Namespace, *, kafka: bool = True, extra: bool = True
) -> float:
    validator = Validator(CONTRACT, topic="sessions", kafka_columns=kafka, extra_column=extra, future_skew_s=1e9)
    work = batches(values, args.batch)
    judged = [validator.judge(batch, NOW_US) for batch in work]
    rows = sum(one.rows.num_rows for one in judged)
    us = cpu_us(lambda: [validator.judge(batch, NOW_US) for batch in work], len(values), args.repeat)
    show(f"{name} ({rows} rows, {len(values) - rows} rejects)", us)
    return us


def stages(values: Sequence[bytes], args: argparse.Namespace) -> None:
    rules = flat_rules(CONTRACT)
    assert rules is not None
    layout = learn(values[0], rules)
    assert layout is not None
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    parts = [(values[at : at + args.batch], sizes[at : at + args.batch]) for at in range(0, len(values), args.batch)]

    def located() -> list[Any]:
        return [
            layout.pieces.locate(chunk, np.arange(len(chunk.values)), layout._sizes_min, layout._sizes_max)
            for chunk in chunks
        ]

    chunks = [Chunk(*part) for part in parts]
    show("  chunk: join, marks", cpu_us(lambda: [Chunk(*part) for part in parts], len(values), args.repeat))
    show("  UTF-8", cpu_us(lambda: [chunk.not_utf8() for chunk in chunks], len(values), args.repeat))
    show("  locate: bounds and pieces", cpu_us(located, len(values), args.repeat))
    every = [np.arange(len(chunk.values)) for chunk in chunks]
    reads = zip(chunks, every, strict=True)
    show(
        "  read (locate, numbers, texts)",
        cpu_us(lambda: [layout.read(c, r, NOW_US) for c, r in [*reads]], len(values), 1),
    )


def slow(values: Sequence[bytes], args: argparse.Namespace) -> None:
    judge = OneByOne(CONTRACT)
    extra = Extra(CONTRACT.model)
    rows: list[Any] = [judge.judge(value) for value in values[:1000]]
    good = [row for row in rows if isinstance(row, tuple)]
    show("  verdict", cpu_us(lambda: [judge.judge(value) for value in values], len(values), args.repeat))
    show("  columns", cpu_us(lambda: judge.columns(good), len(good), args.repeat))
    show("  look for unknown fields", cpu_us(lambda: [extra.of(value) for value in values], len(values), args.repeat))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    bytes(FREED_BYTES)
    rng = random.Random(SEED)
    good = [message(rng) for _ in range(args.messages)]
    size = sum(map(len, good)) / len(good)
    print(f"seed {SEED}, {args.messages} messages of {size:.0f} bytes, batches of {args.batch}; CPU per message\n")
    clean = whole("fast way, _kafka and _extra", good, args)
    whole("fast way, without _kafka", good, args, kafka=False)
    whole("fast way, without either", good, args, kafka=False, extra=False)
    stages(good, args)
    for share in (0.01, 0.5):
        are_bad = [rng.random() < share for _ in good]
        mixed = [bad(rng) if is_bad else value for value, is_bad in zip(good, are_bad, strict=True)]
        us = whole(f"{share:.0%} bad", mixed, args)
        show("  more than the clean ones, per bad message", (us - clean) * len(good) / sum(are_bad))
    whole("a comma in each status", [message(rng, status="late, but driving") for _ in good], args)
    whole("an unknown number in each", [message(rng, battery=rng.random()) for _ in good], args)
    whole("an unknown object in each", [message(rng, battery={"level": rng.random()}) for _ in good], args)
    whole("an escape in each status", [message(rng, status="livré") for _ in good], args)
    two = [
        json.dumps(delivery(rng), separators=(",", ":")).encode() if n % 2 else value for n, value in enumerate(good)
    ]
    whole("two layouts in turn", two, args)
    print("slow way, one by one:")
    slow(good, args)


if __name__ == "__main__":
    main()
