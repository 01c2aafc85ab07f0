"""The life of the process: signals that drain the flow, the limit of a drain, and exit codes.

SIGTERM and SIGINT set `stopping`. The source's parts then end, the collectors emit what they hold, the last epoch's barrier commits it, and
the process exits 0. A drain that takes longer than its limit is cut off with DrainTimeout's code; a second signal cuts it off at once.
Neither loses anything: it is a crash like any other, and the ledger knows.

Python runs a signal's handler in the main thread, between two of its steps. That thread may sit in the engine for long (a process of a cluster
waits there for the others), so a thread of its own hears the signals, through the descriptor that the interpreter writes to at once. Before the
first service has been asked there is nothing to drain, and the process ends right away.

The engine's timers compare with the wall clock: set back by an hour, it would end no epoch for an hour, and say nothing. So a thread watches the
clock, and a step back ends the process, which starts again with timers that are right.

`python -m bytewax.run` turns every exception into exit code 1; the hook set here finds Neptune's own error in the chain of causes, logs it
in one line and exits with its code (`errors`).
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

from bytewax.recovery import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError

from neptune_flow.errors import ClockSetBack, ClusterBroken, DrainTimeout, NeptuneError, StateDoesNotJoin, StopRequested
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Phase, Vitals

log = get_logger("neptune")


CLOCK_INTERVAL_S = 0.25
CLOCK_STEP_S_MAX = 5.0
"""A step back of so many seconds is only a pause; clocks that are kept by NTP make none of this size."""
_ENDING = (signal.SIGTERM, signal.SIGINT)
UNUSABLE_STORE = (InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError)
"""What the engine raises for a recovery directory that it cannot resume from."""


class Lifecycle:
    """The stop signal of one process."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.vitals = Vitals()
        self.nothing_to_drain = False
        """Set until the flow's first step runs on a worker."""
        self._drain_s_max = 30.0
        self._draining_since_s = 0.0

    def install(self, drain_s_max: float) -> None:
        """Take over signals and uncaught exceptions; only the main thread can."""
        self._drain_s_max = drain_s_max
        heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, _do_nothing)
        threading.Thread(target=self._listen, args=[heard], name="signals", daemon=True).start()
        threading.Thread(target=watch_clock, args=[_leave_for], name="clock", daemon=True).start()
        install_exit_codes()
        atexit.register(self._drained)
        spare_the_collector()

    def _listen(self, heard: int) -> None:
        while numbers := os.read(heard, 16):
            for number in numbers:
                if number in _ENDING:
                    self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.nothing_to_drain:
            _leave(report(StopRequested(f"{name} before anything had begun")))
        if self.stopping.is_set():
            if name == self.vitals.stop_reason and time.monotonic() - self._draining_since_s < SAME_SIGNAL_S:
                return
            self._cut_off(f"{name} again: the drain is cut off")
        watchdog = threading.Timer(
            self._drain_s_max, self._cut_off, [f"the drain did not finish within {self._drain_s_max:g} s"]
        )
        watchdog.daemon = True
        watchdog.start()
        self.vitals.phase, self.vitals.stop_reason = Phase.DRAINING, name
        self._draining_since_s = time.monotonic()
        log.info("draining", signal=name, limit_s=self._drain_s_max)
        self.stopping.set()

    def _drained(self) -> None:
        """The interpreter ends by itself: every other end leaves at once, without this."""
        if self.stopping.is_set():
            took_s = round(time.monotonic() - self._draining_since_s, 1)
            log.info("stopped", reason=f"drained after {self.vitals.stop_reason}", exit_code=0, took_s=took_s)

    def ended(self, error: str) -> None:
        """An error ends the process: so that the last numbers say which."""
        self.vitals.phase, self.vitals.stop_reason = Phase.STOPPED, error

    @staticmethod
    def _cut_off(what: str) -> None:
        log.error(
            "stopped",
            **facts_of(
                DrainTimeout(
                    what,
                    hint="a service that hangs, or a process of the cluster that got no signal, holds a drain up; nothing is lost",
                )
            ),
        )
        _leave(DrainTimeout.exit_code)


def watch_clock(
    leave: Callable[[NeptuneError], object],
    *,
    wall_s: Callable[[], float] = time.time,
    steady_s: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Compare the wall clock with one that cannot be set, until it has gone back by more than CLOCK_STEP_S_MAX; then `leave`."""
    ahead_s = wall_s() - steady_s()
    while True:
        pause(CLOCK_INTERVAL_S)
        asked_s = steady_s()
        now_ahead_s = wall_s() - asked_s
        if steady_s() - asked_s > CLOCK_INTERVAL_S:
            # This thread itself stood still between the two readings.
            continue
        if now_ahead_s < ahead_s - CLOCK_STEP_S_MAX:
            leave(
                ClockSetBack(
                    f"the machine's clock was set back by {ahead_s - now_ahead_s:.0f} s",
                    detail="the engine's timers would stand still until it has caught up",
                    hint="start again: nothing is lost",
                )
            )
            return
        ahead_s = now_ahead_s


SAME_SIGNAL_S = 0.5
"""A signal that comes twice within this is one: `timeout` and terminals send it to the process, and again to its group."""

COLLECT_OBJECTS = 20_000
"""New objects after which the garbage collector looks at the young ones. Messages are such objects, and die without it: at Python's 700 it
looked at those on their way again and again (`docs/performance.md`)."""


def spare_the_collector() -> None:
    """Tell the garbage collector that what is there now stays: or it would look at all that was imported again every few commits, 0.1 s each."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_OBJECTS)


_before_leaving: list[Callable[[str], object]] = []


def before_leaving(act: Callable[[str], object]) -> None:
    """Have something done with the error's name when one ends the process, which then ends at once; it must not wait for long."""
    _before_leaving.append(act)


def install_exit_codes() -> None:
    """Let an uncaught NeptuneError end the process with one log line and its own exit code."""
    sys.excepthook = _excepthook


def neptune_error_in(error: BaseException | None) -> NeptuneError | None:
    """The NeptuneError that is the error or one of its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, NeptuneError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def report(error: NeptuneError) -> int:
    """Log why the process ends; returns the exit code."""
    if error.exit_code == 0:
        log.info("stopped", **facts_of(error))
    else:
        log.error("stopped", **facts_of(error))
    return error.exit_code


def facts_of(error: NeptuneError) -> dict[str, object]:
    """The error's parts as facts of a log line."""
    parts = {"reason": error.primary, "detail": error.detail, "hint": error.hint}
    return {"error": type(error).__name__, "exit_code": error.exit_code, **{k: v for k, v in parts.items() if v}}


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """With a handler of Python's, the interpreter writes the signal to the wakeup descriptor instead of dying of it."""


def _engines_error(error: BaseException) -> NeptuneError | None:
    """What the engine's own errors mean to a user."""
    is_missing = isinstance(error, FileNotFoundError) and "recovery directory" in str(error)
    if is_missing or isinstance(error, UNUSABLE_STORE):
        return StateDoesNotJoin(
            "the recovery directory has no usable recovery store",
            detail=str(error),
            hint="make one with `python -m bytewax.recovery DIRECTORY 1`, or run `python dataflow.py`, which does so by itself",
        )
    if type(error).__name__ == "PanicException":
        return ClusterBroken(
            "the engine has stopped, most likely because another process of the cluster has ended",
            detail=str(error),
            hint="start all processes of the cluster again: nothing is lost",
        )
    return None


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    known = neptune_error_in(error) or _engines_error(error)
    if known is None:
        log.error("crashed", error=kind.__name__, reason=str(error), exc_info=(kind, error, traceback))
    code = 1 if known is None else report(known)
    for act in _before_leaving:
        act(type(known or error).__name__)
    _leave(code)


def _leave_for(error: NeptuneError) -> None:
    _leave(report(error))


def _leave(code: int) -> None:
    # Other threads may hang in a call to a service that is away; a normal exit would wait for them.
    for stream in (sys.stdout, sys.stderr):
        # Closed streams are None, full ones raise: neither may keep the process from ending, nor change its code.
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)
