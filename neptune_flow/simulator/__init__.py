"""Delivery vehicles that report where they are: messages like the platform's, with a known share of bad and late ones.

`fleet` moves vehicles and writes their messages; `bad` spoils some, each in a way that has a name and an expected reason. Pure:
the same seed gives the same messages, and no clock or network is asked. `python -m neptune_flow.simulator` produces them to
a topic.
"""

from neptune_flow.simulator.bad import BAD_KINDS, BadKind
from neptune_flow.simulator.fleet import Fleet, SimulatedMessage

__all__ = ["BAD_KINDS", "BadKind", "Fleet", "SimulatedMessage"]
