"""W3C trace contexts for simulated messages, as a producer with tracing sends them (https://www.w3.org/TR/trace-context/). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from neptune_flow.simulator.fleet import SimulatedMessage

HEADER = "traceparent"


def traced(messages: Iterable[SimulatedMessage], sampled_share: float, seed: int) -> Iterator[SimulatedMessage]:
    """The messages, each with a `traceparent` header of its own.

    Args:
        sampled_share: part of them, 0 to 1, whose trace is marked as sampled.
        seed: the same seed gives the same ids.
    """
    rng = Random(seed)  # noqa: S311 (reproducible, not secret)
    for message in messages:
        # An id of zeros alone is no id.
        trace, span = rng.getrandbits(128) or 1, rng.getrandbits(64) or 1
        flags = "01" if rng.random() < sampled_share else "00"
        context = f"00-{trace:032x}-{span:016x}-{flags}".encode()
        yield message._replace(headers=(*message.headers, (HEADER, context)))
