"""The kinds of fault, one function each: it starts, harms and starts again until the arena has had its restarts.

A family says what it expects (exit codes, what may be missing); that nothing is lost or doubled is judged by the arena for all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.chaos.arena import Arena
from tests.chaos.families import groups, kafka, processes, servers, stores, tables


class Family(NamedTuple):
    """One kind of fault."""

    run: Callable[[Arena], None]
    share: int
    """Of a hundred restarts, so many are this family's."""
    restarts_max: int = 25
    """Of one episode: a fault found then names few restarts, and the tables are small enough to be compared at once."""
    brokers: int = 0
    """Of a Kafka cluster of the episode's own; 0 means the platform's, which nobody harms."""
    settles: bool = True
    """Whether the arena lands the rest and judges; False where the family has done so itself."""


FAMILIES: Mapping[str, Family] = {
    "killed at any moment": Family(processes.killed, 27),
    "killed at a step of the commit": Family(processes.killed_at_a_step, 23),
    "frozen while another takes over": Family(processes.frozen, 5, 12),
    "members of a group come and go": Family(groups.members_come_and_go, 5, 10),
    "brokers restart, leaders move": Family(kafka.brokers_restart, 4, 20, brokers=2),
    "records deleted by retention": Family(kafka.retention, 4, 20),
    "topic created anew": Family(kafka.topic_recreated, 3, 12, settles=False),
    "storage full or denying": Family(servers.full_or_denying, 4, 20),
    "away for longer than the limit": Family(servers.away, 4, 20),
    "HTTP faults": Family(servers.http_faults, 6, 20),
    "commits by another tool": Family(tables.foreign_commits, 4, 15),
    "recovery store lost, old, torn": Family(stores.harmed, 4, 20),
    "workers 1, 2, 3, 1": Family(processes.workers_change, 3, 20),
    "clock set back and forward": Family(processes.clock_set, 2, 12),
    "memory limit": Family(processes.memory_limit, 2, 12),
}
