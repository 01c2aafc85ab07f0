"""A steady load out of a process of its own: so many messages a second, whose event time and Kafka time are now.

    python -m bench.load BOOTSTRAP TOPIC RATE

The messages are the simulator's, made once and repeated; only their times are new. Runs until its input ends, so that it does not outlive who started it, and
then prints how many messages Kafka has taken. `fill` makes a backlog instead: event times that lie in the past, in order.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

from bench.output import ROOT
from bench.producing import FLUSH_S_MAX, Filling
from neptune_flow.simulator import Fleet

SEED = 7
DISTINCT_MESSAGES = 20_000
TICK_S = 0.01
"""Between two bursts: what a message's event time may be behind the moment in which it is sent."""
LINGER_MS = 5
"""A live producer does not wait for large batches."""
_TIME = b'"timestamp": "'


@contextmanager
def load(bootstrap: str, topic: str, rate: float) -> Iterator[None]:
    """For the length of a `with` block, `rate` messages a second."""
    command = [sys.executable, "-m", "bench.load", bootstrap, topic, str(rate)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield
    finally:
        process.communicate(timeout=FLUSH_S_MAX)
    assert process.returncode == 0, f"the load ended with {process.returncode}"


def main() -> None:
    bootstrap, topic, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    stop = threading.Event()
    threading.Thread(target=_set_at_end_of_input, args=[stop], daemon=True).start()
    print(produce(bootstrap, topic, rate, stop))


def _set_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def produce(bootstrap: str, topic: str, rate: float, stop: threading.Event) -> int:
    """Produce until `stop` is set; returns how many messages Kafka has taken."""
    filling = Filling(bootstrap, topic, {"linger.ms": LINGER_MS})
    messages = cycle(_made())
    began_s = time.monotonic()
    sent = 0
    while not stop.wait(TICK_S):
        due = int((time.monotonic() - began_s) * rate) - sent
        now = _text_of(datetime.now(UTC))
        for key, head, tail in islice(messages, due):
            filling.send(key, head + now + tail)
        sent += due
        filling.poll()
    filling.flush()
    return sent


def fill(bootstrap: str, topic: str, messages: int, partitions: int, span: timedelta) -> None:
    """A backlog whose event times are spread evenly over a span that ends now; partitions in turn."""
    begin, step = datetime.now(UTC) - span, span / messages
    made = enumerate(islice(cycle(_made()), messages))
    timed = ((key, head + _text_of(begin + number * step) + tail) for number, (key, head, tail) in made)
    Filling(bootstrap, topic, {"linger.ms": LINGER_MS}).send_in_turns(timed, partitions)


def _text_of(moment: datetime) -> bytes:
    return moment.isoformat(timespec="microseconds")[:-6].encode()


def _made() -> list[tuple[bytes, bytes, bytes]]:
    """Key, and the value before and after its event time."""
    fleet = Fleet(SEED, start=datetime.now(UTC), vehicles=2000, bad_share=0.0)
    made = []
    for message in islice(fleet, DISTINCT_MESSAGES):
        value = message.value or b""
        begin = value.index(_TIME) + len(_TIME)
        made.append((message.key, value[:begin], value[value.index(b'Z"', begin) :]))
    return made


if __name__ == "__main__":
    main()
