"""Faults of catalog and storage: full, denying, away, and every way in which HTTP can go wrong."""

from __future__ import annotations

import signal
from random import Random

from tests.chaos.arena import WAIT_S_MAX, Arena
from tests.chaos.proxy import Fault, FaultProxy, Judge, Kind, Request
from tests.services.neptune import FlowError, Neptune

IMPATIENT = {"NEPTUNE_REQUEST_TIMEOUT_S": "2", "NEPTUNE_RETRY_S_MAX": "4", "NEPTUNE_START_WAIT_S_MAX": "15"}


def _s3_error(code: str, message: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        "<Resource>/neptune</Resource><RequestId>17D1E0E4C6B4C4A0</RequestId><HostId>fault</HostId></Error>"
    ).encode()


def _s3_fault(status: int, code: str, message: str) -> Fault:
    return Fault(Kind.ERROR_BEFORE, status, _s3_error(code, message), "application/xml")


FULL = (
    _s3_fault(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
    _s3_fault(400, "QuotaExceeded", "Bucket quota exceeded"),
)
DENYING = (
    _s3_fault(403, "AccessDenied", "Access Denied."),
    _s3_fault(403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records."),
)
FORBIDDEN = Fault(
    Kind.ERROR_BEFORE, 403, b'{"error": {"message": "not allowed", "type": "ForbiddenException", "code": 403}}'
)


def _always(fault: Fault) -> Judge:
    return lambda _request: fault


def _on_writes(fault: Fault) -> Judge:
    return lambda request: fault if request.method in ("PUT", "POST") else None


def full_or_denying(arena: Arena) -> None:
    """The storage has no room, for a while or for good, or it or the catalog refuses the credentials."""
    with arena.load():
        while arena.wants_more():
            harm = arena.random.choice((_full_for_a_while, _full_for_good, _denying))
            neptune = arena.start(**({} if harm is _full_for_a_while else IMPATIENT))
            arena.wait_commits(neptune)
            harm(arena, neptune)
            arena.lift()


def _full_for_a_while(arena: Arena, neptune: Neptune) -> None:
    arena.storage.judge = _on_writes(arena.random.choice(FULL))
    neptune.wait_event("waiting", WAIT_S_MAX)
    if arena.random.random() < 0.5:
        arena.lift()
        arena.fault_ended()
        arena.wait_commits(neptune)
    arena.kill(neptune)


def _full_for_good(arena: Arena, neptune: Neptune) -> None:
    arena.storage.judge = _on_writes(arena.random.choice(FULL))
    arena.expect_exit(neptune, 69)


def _denying(arena: Arena, neptune: Neptune) -> None:
    if arena.random.random() < 0.7:
        arena.storage.judge = _always(arena.random.choice(DENYING))
    else:
        arena.catalog.judge = _always(FORBIDDEN)
    arena.expect_exit(neptune, 77)


def away(arena: Arena) -> None:
    """Catalog or storage away for longer than the limit, while running or at the start: exit 69; then it is back."""
    hows = (Fault(Kind.RESET_BEFORE), Fault(Kind.STALL_BEFORE), Fault(Kind.ERROR_BEFORE, 503))
    with arena.load():
        while arena.wants_more():
            proxy = arena.random.choice((arena.catalog, arena.storage))
            how = _always(arena.random.choice(hows))
            if arena.random.random() < 0.3:
                proxy.judge = how
                neptune = arena.start(**IMPATIENT)
            else:
                neptune = arena.start(**IMPATIENT)
                arena.wait_commits(neptune)
                proxy.judge = how
            arena.expect_exit(neptune, 69)
            arena.lift()


class Chance:
    """A proxy's judge that does each kind of harm by chance."""

    BEFORE = (500, 502, 503, 504)
    AFTER = (409, 500, 503)

    def __init__(self, seed: int, share: float, kinds: tuple[Kind, ...]) -> None:
        self._random = Random(seed)
        self._share = share
        self._kinds = kinds

    def __call__(self, _request: Request) -> Fault | None:
        if self._random.random() > self._share:
            return None
        kind = self._random.choice(self._kinds)
        status = self._random.choice(self.BEFORE if kind.is_before else self.AFTER)
        return Fault(kind, status, delay_s=self._random.uniform(0, 3))


STORAGE_KINDS = (
    Kind.RESET_BEFORE,
    Kind.ERROR_BEFORE,
    Kind.STALL_BEFORE,
    Kind.LOST_AFTER,
    Kind.ERROR_AFTER,
    Kind.TRUNCATED_AFTER,
    Kind.STALL_AFTER,
    Kind.DRIP_AFTER,
)
CATALOG_KINDS = (*STORAGE_KINDS, Kind.GARBLED_AFTER, Kind.LATE)
SHARES = (0.03, 0.1, 0.25)
"""Of a hundred requests, so many go wrong."""
PATIENT = {"NEPTUNE_REQUEST_TIMEOUT_S": "1", "NEPTUNE_RETRY_S_MAX": "60", "NEPTUNE_START_WAIT_S_MAX": "60"}
FAULTY_S_MAX = 5.0


def http_faults(arena: Arena) -> None:
    """All kinds of HTTP fault at catalog and storage, from the start on; then a kill, a signal, or better times."""
    with arena.load():
        while arena.wants_more():
            neptune = arena.start(**PATIENT)
            if arena.random.random() < 0.5:
                neptune = _supervised(arena, neptune)
            _harm(arena, arena.catalog, CATALOG_KINDS)
            _harm(arena, arena.storage, STORAGE_KINDS)
            arena.let_pass(arena.random.uniform(1, FAULTY_S_MAX))
            end = arena.random.choice(("kill", "kill", "signal", "better times"))
            if end == "signal":
                # Before Python has taken over the signals, they end a process in the way of the system.
                codes = (0, 73) if neptune.events() else (0, 73, -signal.SIGTERM)
                neptune.send(signal.SIGTERM)
                arena.expect_exit(neptune, *codes)
                continue
            if end == "better times":
                arena.lift()
                arena.fault_ended()
                neptune = _supervised(arena, neptune)
            arena.kill(neptune)


def _supervised(arena: Arena, neptune: Neptune) -> Neptune:
    """Wait for a commit. A process that gives up a faulty start (exit 69) is started again in better times."""
    try:
        arena.wait_commits(neptune)
    except FlowError:
        if neptune.exit_code != 69:
            raise
        arena.lift()
        neptune = arena.start(**PATIENT)
        arena.wait_commits(neptune)
    return neptune


def _harm(arena: Arena, proxy: FaultProxy, kinds: tuple[Kind, ...]) -> None:
    proxy.judge = Chance(arena.random.randrange(2**31), arena.random.choice(SHARES), kinds)
