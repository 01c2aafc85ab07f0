"""Faults of Neptune's own process: killed, frozen, given other workers, another clock, too little memory."""

from __future__ import annotations

import resource
import signal
from itertools import islice

from tests.chaos import clock
from tests.chaos.arena import WAIT_S_MAX, Arena
from tests.chaos.proxy import Kind
from tests.chaos.steps import LATE_S, MOMENTS, STEPS, Step, trap
from tests.services.neptune import OWN_COMMAND, RUNNER, Neptune, wait_for
from tests.services.traffic import past_fleet

COMMITS_BEFORE = (0, 0, 0, 1, 1, 2)
"""So many commits are waited for before the moment of a kill is drawn, however slow the machine is."""
LIFE_S_MAX = 1.2
"""The kill comes within so many seconds after that: about the time from one commit to the next."""
UNBORN_SHARE = 0.1
"""So many are killed without any waiting: mostly before they have started."""
FROZEN_S = 5.0
IMPATIENT = {"NEPTUNE_REQUEST_TIMEOUT_S": "1", "NEPTUNE_RETRY_S_MAX": "4"}
"""Both are over when a process wakes that was frozen for FROZEN_S."""
WORKERS = ("2", "3", "1")
HOUR_S = 3600
TOLERATED_S = (-14 * 60, 0, 30)
REFUSED_S = (-HOUR_S, 14 * 60, HOUR_S)
"""S3 refuses what is signed more than 15 minutes away from its own clock; the catalog what is more than one minute ahead of its own."""
CLOCK_SEEN_S = 2.0
"""After so long Neptune has looked at its clock."""
BACKLOG = 20_000
MEMORY = {"NEPTUNE_MEMORY_BYTES_MAX": "384MiB"}
HEADROOM_BYTES = (1 << 20, 16 << 20, 64 << 20)
"""Address space that a process gets beyond what it has already."""


def killed(arena: Arena) -> None:
    """SIGKILL at a random moment, with and without a recovery store."""
    command = arena.random.choice((RUNNER, RUNNER, OWN_COMMAND))
    options = arena.random.choice(([], arena.store()))
    with arena.load():
        while arena.wants_more():
            neptune = arena.start(*options, command=command)
            _live(arena, neptune)
            arena.kill(neptune)


def _live(arena: Arena, neptune: Neptune) -> None:
    if arena.random.random() > UNBORN_SHARE:
        neptune.wait_event("started", WAIT_S_MAX)
        arena.wait_commits(neptune, arena.random.choice(COMMITS_BEFORE))
    arena.let_pass(arena.random.uniform(0, LIFE_S_MAX))


def killed_at_a_step(arena: Arena) -> None:
    """SIGKILL at each named step of a commit: before the server hears, after it has answered, after Neptune has heard.

    The request of a killed process may also reach the catalog late, when a successor has taken over.
    """
    with arena.load():
        while arena.wants_more():
            step = arena.random.choice((*STEPS, None, None))
            if step is None:
                _killed_when_published(arena)
            else:
                is_late = step.server == "catalog" and step.pattern.startswith("^POST") and arena.random.random() < 0.3
                _killed_at(arena, step, Kind.LATE if is_late else arena.random.choice(MOMENTS))


def _killed_at(arena: Arena, step: Step, kind: Kind) -> None:
    proxy = arena.catalog if step.server == "catalog" else arena.storage
    proxy.judge = judge = trap(step, arena.stage.table, kind, arena.random.choice((0, 0, 1)))
    neptune = arena.start()
    judge.aim(neptune, signal.SIGKILL)
    neptune.wait(WAIT_S_MAX)
    arena.expect_exit(neptune, -signal.SIGKILL)
    arena.counts.faults[f"killed at {step.name}, {kind.value}"] += 1
    if kind is Kind.LATE:
        _meet_the_late_one(arena)


def _meet_the_late_one(arena: Arena) -> None:
    """A successor that has read the tables before the late commit arrives is superseded, or its fence refuses the late one."""
    successor = arena.start()
    arena.let_pass(2 * LATE_S)
    if successor.exit_code is None:
        arena.kill(successor)
    else:
        arena.expect_exit(successor, 75)


def _killed_when_published(arena: Arena) -> None:
    """The line in the log is the next thing after the group's offsets."""
    neptune = arena.start()
    arena.wait_commits(neptune)
    arena.kill(neptune)
    arena.counts.faults["killed at offsets published"] += 1


def frozen(arena: Arena) -> None:
    """SIGSTOP for longer than every time-out while a second process takes over, then SIGCONT.

    Either may be the one that stops, since the zombie's commit may have been on its way. A zombie that meets a broken line when it wakes
    has waited longer than its limit, and stops for that.
    """
    with arena.load():
        zombie = arena.start(**IMPATIENT)
        arena.wait_commits(zombie)
        while arena.wants_more():
            _freeze(arena, zombie)
            successor = _successor(arena)
            arena.let_pass(FROZEN_S)
            zombie.send(signal.SIGCONT)
            zombie = arena.one_stops(zombie, successor, 75, 69)
            arena.wait_commits(zombie)


def _successor(arena: Arena) -> Neptune:
    """A process that has committed; one that is overtaken by what the zombie had sent before stops, and is started again."""
    successor = arena.start(**IMPATIENT)
    successor.wait_event("started", WAIT_S_MAX)
    wait_for(lambda: successor.events("committed") or successor.exit_code is not None, "commit or end", WAIT_S_MAX)
    if successor.exit_code is not None:
        arena.expect_exit(successor, 75)
        successor = arena.start(**IMPATIENT)
    arena.wait_commits(successor)
    return successor


def _freeze(arena: Arena, neptune: Neptune) -> None:
    """At a random moment, or in the middle of a commit."""
    step = arena.random.choice((*(s for s in STEPS if s.name.endswith(("commit", "file", "manifests"))), None))
    if step is None:
        arena.let_pass(arena.random.uniform(0, LIFE_S_MAX))
        neptune.send(signal.SIGSTOP)
        return
    kinds = (*MOMENTS, Kind.LATE) if step.server == "catalog" else MOMENTS
    judge = trap(step._replace(first=1), arena.stage.table, arena.random.choice(kinds))
    judge.aim(neptune, signal.SIGSTOP)
    proxy = arena.catalog if step.server == "catalog" else arena.storage
    proxy.judge = judge
    neptune.wait_for(judge.sprung.is_set, f"a request of the step {step.name}", WAIT_S_MAX)
    arena.counts.faults[f"frozen at {step.name}"] += 1


def workers_change(arena: Arena) -> None:
    """1, 2, 3, 1 workers, each killed or ended in good order, with a recovery store or without."""
    options = arena.random.choice(([], arena.store()))
    with arena.load():
        neptune = arena.start(*options, command=OWN_COMMAND)
        arena.wait_commits(neptune)
        number = 0
        while arena.wants_more():
            if arena.random.random() < 0.7:
                arena.kill(neptune)
            else:
                neptune.send(signal.SIGTERM)
                arena.expect_exit(neptune, 0)
            neptune = arena.start("-w", WORKERS[number % len(WORKERS)], *options, command=OWN_COMMAND)
            arena.wait_commits(neptune, arena.random.choice((1, 1, 2)))
            number += 1


def clock_set(arena: Arena) -> None:
    """The wall clock is wrong at the start, or is set while Neptune runs, back and forward; no event counts as of the future.

    What storage and catalog tolerate, Neptune lands with as ever; what they refuse ends a start (77), or is waited out. A process whose clock
    is set back ends (71).
    """
    offset = clock.Offset(arena.directory / "clock-offset")
    environment = {**offset.environment(clock.build(arena.directory)), "NEPTUNE_FUTURE_SKEW_S": str(3 * HOUR_S)}
    with arena.load():
        while arena.wants_more():
            if arena.random.random() < 0.3:
                offset.set_s(arena.random.choice((-HOUR_S, HOUR_S)))
                arena.expect_exit(arena.start(**environment), 77)
            offset.set_s(min(TOLERATED_S))
            neptune = arena.start(**environment)
            arena.wait_commits(neptune)
            right_s = arena.random.choice(TOLERATED_S)
            offset.set_s(right_s)
            arena.let_pass(CLOCK_SEEN_S)
            arena.wait_commits(neptune)
            wrong_s = arena.random.choice([s for s in (*TOLERATED_S, *REFUSED_S) if s != right_s])
            offset.set_s(wrong_s)
            if wrong_s < right_s:
                arena.expect_exit(neptune, 71)
            else:
                arena.let_pass(arena.random.uniform(0, 3))
                arena.kill(neptune)
            offset.set_s(0)
            neptune = arena.start(**environment)
            arena.wait_commits(neptune)
            arena.kill(neptune)


def memory_limit(arena: Arena) -> None:
    """A backlog, the least memory that is allowed, and an address space that ends soon: the process may die of it, the tables may not."""
    seeds = arena.random
    with arena.load():
        while arena.wants_more():
            arena.traffic.send(islice(past_fleet(seeds.randrange(2**31), count=BACKLOG), BACKLOG))
            neptune = arena.start(**MEMORY)
            neptune.wait_event("started", WAIT_S_MAX)
            arena.let_pass(seeds.uniform(0, LIFE_S_MAX))
            if seeds.random() < 0.5:
                _limit_address_space(neptune, seeds.choice(HEADROOM_BYTES))
                arena.let_pass(seeds.uniform(1, 3))
                code = neptune.exit_code
                arena.counts.faults[f"address space at its end: {'lives' if code is None else f'exit {code}'}"] += 1
                neptune.kill()
            else:
                arena.wait_commits(neptune)
                arena.kill(neptune)


def _limit_address_space(neptune: Neptune, headroom_bytes: int) -> None:
    with open(f"/proc/{neptune.pid}/statm") as statm:
        held_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    limit = held_bytes + headroom_bytes
    resource.prlimit(neptune.pid, resource.RLIMIT_AS, (limit, limit))
