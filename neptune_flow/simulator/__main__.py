"""Produces simulated messages to a Kafka topic: `python -m neptune_flow.simulator --help`.

Kafka's address, the topic and librdkafka's properties come from Neptune's settings; event time begins now.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from threading import Event

from neptune_flow.errors import NeptuneError
from neptune_flow.kafka import KafkaAddress, make_topic
from neptune_flow.kafka.produce import Production
from neptune_flow.settings import Settings
from neptune_flow.simulator import Fleet, SimulatedMessage


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    args = _parser().parse_args(arguments)
    interval_s = args.interval_s or (args.vehicles / args.rate if args.rate else 1.0)
    fleet = Fleet(
        args.seed,
        start=args.start,
        vehicles=args.vehicles,
        interval_s=interval_s,
        bad_share=args.bad_share,
        late_share=args.late_share,
    )
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    bad: dict[str, int] = {}
    try:
        kafka = Settings.load().kafka
        address = KafkaAddress.of(kafka)
        if make_topic(address, args.partitions):
            print(f"created topic {kafka.topic} with {args.partitions} partitions", file=sys.stderr)
        production = Production(kafka.bootstrap_servers, kafka.topic, kafka.properties)
        sent = production.run(_counted(islice(fleet, args.count), bad), rate=args.rate, stop=stop)
    except NeptuneError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{sent} messages to topic {kafka.topic}, {sum(bad.values())} of them bad:")
    for name, count in sorted(bad.items()):
        print(f"  {count:>8} {name}")
    return 0


def _counted(messages: Iterable[SimulatedMessage], bad: dict[str, int]) -> Iterator[SimulatedMessage]:
    for message in messages:
        if message.bad is not None:
            bad[message.bad.name] = bad.get(message.bad.name, 0) + 1
        yield message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m neptune_flow.simulator",
        description="Simulated delivery vehicles report to the Kafka topic that Neptune's settings name.",
    )
    parser.add_argument("--count", type=_count, help="messages to produce (default: until stopped)")
    parser.add_argument("--rate", type=_rate, default=1000.0, help="messages per second, or max (default: 1000)")
    parser.add_argument("--partitions", type=_count, default=4, help="of the topic, where it is missing (default: 4)")
    parser.add_argument("--vehicles", type=_count, default=1000, help="vehicles on the road (default: 1000)")
    parser.add_argument("--bad-share", type=_share, default=0.01, help="part of bad messages, 0 to 1 (default: 0.01)")
    parser.add_argument("--late-share", type=_share, default=0.0, help="part of late messages, 0 to 1 (default: 0)")
    parser.add_argument(
        "--interval-s",
        type=_amount,
        help="event time between two reports of a vehicle (default: vehicles / rate, so that event time is the clock's)",
    )
    parser.add_argument("--start", type=_time, default=datetime.now(UTC), help="first event time, ISO (default: now)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same vehicles (default: 1)")
    return parser


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def _amount(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError("above 0")
    return float(text)


def _rate(text: str) -> float | None:
    return None if text == "max" else _amount(text)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share lies between 0 and 1")
    return share


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
