"""`neptune simulate` (also `python -m neptune_flow.simulator`): vehicles report to the topic that the settings name.

Event time begins now and runs with the clock, unless told otherwise.
"""

# ruff: noqa: PLC0415 - what is heavy is imported where it is used: help is to be instant

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

import click

from neptune_flow.cli.common import COUNT_MAX, HELP, VEHICLES_MAX, Number
from neptune_flow.cli.progress import bar
from neptune_flow.errors import NeptuneError

if TYPE_CHECKING:
    from neptune_flow.simulator import SimulatedMessage

SHARE = Number(0, 1)
RATE_MIN, RATE_MAX = 0.001, 10_000_000
FIRST_TIME = datetime(1970, 1, 2, tzinfo=UTC)
TOLD_EVERY = 100
"""Messages between two steps of the bar."""


class _Rate(click.ParamType[float | None]):
    """Messages per second; None is as fast as Kafka takes them."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value == "max":
            return None
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if not RATE_MIN <= rate <= RATE_MAX:
            self.fail(f"give messages per second, {RATE_MIN} to {RATE_MAX:,}, or max", param, ctx)
        return rate


class _Time(click.ParamType[datetime]):
    """A time in ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("give a time in ISO 8601, such as 2025-03-01T12:00:00Z", param, ctx)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment < FIRST_TIME:
            self.fail(f"give a time from {FIRST_TIME:%Y-%m-%d} on, where Kafka's times begin", param, ctx)
        return moment


@click.command(context_settings=HELP)
@click.option("--count", type=click.IntRange(1, COUNT_MAX), help="Messages to produce. Default: until stopped.")
@click.option("--rate", type=_Rate(), default="1000", show_default=True, help="Messages per second, or max.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=4,
    show_default=True,
    help="Of the topic, where it is missing.",
)
@click.option(
    "--vehicles", type=click.IntRange(1, VEHICLES_MAX), default=1000, show_default=True, help="Vehicles on the road."
)
@click.option("--bad-share", type=SHARE, default=0.01, show_default=True, help="Part of bad messages, of all kinds.")
@click.option("--late-share", type=SHARE, default=0.0, show_default=True, help="Part of messages 5 to 60 minutes late.")
@click.option(
    "--traces",
    "sampled_share",
    type=SHARE,
    help="Give each message a W3C traceparent header, this part of them marked as sampled.",
)
@click.option(
    "--interval-s",
    type=Number(0.000_001, 86_400),
    help="Event time between two reports of a vehicle, seconds. Default: vehicles / rate, so that event time is the clock's.",
)
@click.option("--start", type=_Time(), help="First event time, ISO 8601. Default: now.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same vehicles.")
def command(
    *,
    count: int | None,
    rate: float | None,
    partitions: int,
    vehicles: int,
    bad_share: float,
    late_share: float,
    sampled_share: float | None,
    interval_s: float | None,
    start: datetime | None,
    seed: int,
) -> None:
    """Let simulated delivery vehicles report to the topic that the settings name.

    Some messages are spoiled, each in a way that has a name; how many of each were produced is told at the end. Ctrl-C or SIGTERM ends it in order.

    \b
    Exit codes: 0 done; 2 wrong usage; 69, 77, 78 as `neptune run`: Kafka is away, refuses, or a setting is wrong.
    \b
    Examples:
      neptune simulate
      neptune simulate --count 100000 --rate max --bad-share 0
      neptune simulate --rate 500 --bad-share 0.05 --late-share 0.01 --traces 0.1
    """
    from itertools import islice

    from neptune_flow.kafka import KafkaAddress, make_topic
    from neptune_flow.kafka.produce import Production
    from neptune_flow.settings import Settings
    from neptune_flow.simulator import Fleet
    from neptune_flow.simulator.traces import traced

    interval_s = interval_s or (vehicles / rate if rate else 1.0)
    messages: Iterable[SimulatedMessage] = Fleet(
        seed,
        start=start or datetime.now(UTC),
        vehicles=vehicles,
        interval_s=interval_s,
        bad_share=bad_share,
        late_share=late_share,
    )
    if sampled_share is not None:
        messages = traced(messages, sampled_share, seed)
    bad: Counter[str] = Counter()
    try:
        kafka = Settings.load().kafka
        address = KafkaAddress.of(kafka)
        if make_topic(address, partitions):
            click.echo(f"created topic {kafka.topic} with {partitions} partitions", err=True)
        production = Production(kafka.bootstrap_servers, kafka.topic, kafka.properties)
        with bar(f"messages to {kafka.topic}", count) as advance, _stop_on_signal() as stop:
            sent = production.run(_counted(islice(messages, count), bad, advance), rate=rate, stop=stop)
    except NeptuneError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except OverflowError:
        raise click.UsageError(
            "event time leaves the year 9999: give an earlier --start, or a shorter --interval-s"
        ) from None
    click.echo(f"{sent} messages to topic {kafka.topic}, {bad.total()} of them bad:")
    for name, number in sorted(bad.items()):
        click.echo(f"  {number:>8} {name}")


@contextmanager
def _stop_on_signal() -> Iterator[Event]:
    """Set at the first Ctrl-C or SIGTERM."""
    stop = Event()
    before = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _counted(
    messages: Iterable[SimulatedMessage], bad: Counter[str], advance: Callable[[int], None]
) -> Iterator[SimulatedMessage]:
    for number, message in enumerate(messages, 1):
        if message.bad is not None:
            bad[message.bad.name] += 1
        if number % TOLD_EVERY == 0:
            advance(TOLD_EVERY)
        yield message
