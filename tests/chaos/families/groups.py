"""Faults of a group: its members are killed, frozen for longer than their session, ended, evicted, replaced and added, while messages come."""

from __future__ import annotations

import signal

from tests.chaos.arena import Arena
from tests.services.neptune import Neptune

COMMAND = ("-m", "neptune_flow", "run", "--group")
SESSION_S = 6.0
SETTINGS = {"NEPTUNE_SESSION_TIMEOUT_S": f"{SESSION_S:g}"}
NAMES = ("a", "b", "c")
"""As many members as there may be; a name is free again when its member has gone."""
LIFE_S_MAX = 4.0
"""A harm comes within so many seconds: before a rebalance, in it, or after it."""
GRACE_S_MAX = 2.0
"""Of an eviction: before the drain has begun, in it, or after it."""
FROZEN_S = SESSION_S + 3.0


def members_come_and_go(arena: Arena) -> None:
    """Up to three members, with names of their own or without; a member never ends by itself."""
    is_static = arena.random.random() < 0.5
    members: dict[str, Neptune] = {}
    with arena.load():
        _join(arena, members, is_static=is_static)
        while arena.wants_more():
            _join(arena, members, is_static=is_static)
            if arena.random.random() < 0.5:
                arena.wait_commits(next(reversed(members.values())))
            arena.let_pass(arena.random.uniform(0, LIFE_S_MAX))
            _harm(arena, members)
        # All that has been left alone lands again: also what was frozen.
        for member in members.values():
            arena.wait_commits(member)


def _join(arena: Arena, members: dict[str, Neptune], *, is_static: bool) -> None:
    name = arena.random.choice([n for n in NAMES if n not in members])
    own = {"NEPTUNE_GROUP_INSTANCE_ID": name} if is_static else {}
    members[name] = arena.start(command=COMMAND, **SETTINGS, **own)


def _harm(arena: Arena, members: dict[str, Neptune]) -> None:
    """One member; with all names taken it is one that goes."""
    harms = ("killed", "ended", "evicted", "frozen", "left alone")[: 3 if len(members) == len(NAMES) else 5]
    harm, name = arena.random.choice(harms), arena.random.choice(sorted(members))
    member = members[name]
    arena.counts.faults[f"member {harm}"] += 1
    if harm == "frozen":
        member.send(signal.SIGSTOP)
        arena.let_pass(arena.random.uniform(0, FROZEN_S))
        member.send(signal.SIGCONT)
        arena.fault_ended()
    elif harm != "left alone":
        _end(arena, members.pop(name), harm)


def _end(arena: Arena, member: Neptune, harm: str) -> None:
    if harm == "killed" or not member.events():
        # One that has said nothing yet may be too young to hear a signal.
        arena.kill(member)
        return
    member.send(signal.SIGTERM)
    if harm == "ended":
        arena.expect_exit(member, 0)
        return
    arena.let_pass(arena.random.uniform(0, GRACE_S_MAX))
    if member.exit_code is None:
        member.kill()
