"""Group mode: this process lands the Kafka partitions that the consumer group assigns to it, round after round.

    prepare ─► join ─► assignment ─► round: the flow over these partitions ─► the assignment changes, or a stop ─► drain, commit ─► hand over ─► next round

What can be wrong with services, tables and contract is found out before it joins, so that a process that cannot land takes no partition from one that
can (`start`).
A round is the whole flow of `pipeline`, begun anew: it reads the ledgers, fences its partitions, and resumes. So a partition goes from one process to
another as it does from one run to the next, and nothing new has to be proven: the ledger is the only memory. A round that was superseded, since two
processes read the same partition after all, ends like any other, and the next one reads the ledger again; a process that is superseded for
NEPTUNE_RETRY_S_MAX without a commit of its own ends, since somebody lands this table for good. An outage is sat out within a round, as
in any running process; a round that is to end while it has not begun yet just ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from neptune_flow.errors import StopRequested, Superseded
from neptune_flow.kafka import Membership
from neptune_flow.process import Lifecycle, neptune_error_in
from neptune_flow.settings import Settings
from neptune_flow.start import Start
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import Phase

log = get_logger("neptune.group")

SUPERSEDED_PAUSE_S = 1.0
"""Two processes that read the same partition do so until the group has settled; in between they need not race."""


class Round(NamedTuple):
    """What one round works with."""

    start: Start
    """Opens the round's landing, over its partitions."""
    ending: threading.Event
    """Once it is set, the round's flow drains."""
    publish: Callable[[Mapping[int, int]], None]
    """Tells the group the next offset of each partition, after a commit."""


def run_rounds(
    settings: Settings,
    lifecycle: Lifecycle,
    start: Start,
    land: Callable[[Round], None],
    is_alive: Callable[[], bool],
) -> None:
    """Land what the group assigns until the lifecycle stops; returns when the last round has drained.

    Args:
        start: of this process; its rounds share what it opens.
        land: runs the flow of a round until it has drained.
        is_alive: whether the flow moves; one that does not gives its partitions up.

    Raises:
        NeptuneError: why it could not begin, or why a round stopped, but for a Superseded that passes.
    """
    lifecycle.nothing_to_drain = False
    start.prepare()
    membership = Membership(
        start.address,
        instance_id=settings.kafka.group_instance_id,
        session_timeout_s=settings.kafka.session_timeout_s,
        drain_s_max=settings.drain_s_max,
        outage_s_max=settings.retry_s_max,
        is_alive=is_alive,
        vitals=lifecycle.vitals,
    )
    membership.join()
    threading.Thread(target=_stop_with, args=[lifecycle.stopping, membership], name="stop", daemon=True).start()
    try:
        # More processes than partitions: those without one are well, and wait.
        lifecycle.vitals.enter(Phase.RUNNING)
        superseded_since_s: float | None = None
        while (begun := membership.begin_round(lifecycle.stopping)) is not None:
            partitions, ending = begun
            before = lifecycle.vitals.committed["commits"]
            superseded = _round(Round(start.of_round(partitions, ending), ending, membership.publish), lifecycle, land)
            if superseded is None or lifecycle.vitals.committed["commits"] > before:
                superseded_since_s = None
            elif superseded_since_s is None:
                superseded_since_s = time.monotonic()
            elif time.monotonic() - superseded_since_s > settings.retry_s_max:
                raise superseded
            if not lifecycle.stopping.is_set():
                lifecycle.vitals.forget()
                lifecycle.vitals.enter(Phase.RUNNING)
            membership.end_round()
    finally:
        membership.leave()


def _round(this: Round, lifecycle: Lifecycle, land: Callable[[Round], None]) -> Superseded | None:
    """Returns why it was superseded, if it was."""
    lifecycle.vitals.begin_anew()
    if lifecycle.stopping.is_set():
        this.ending.set()
    try:
        land(this)
    except Exception as error:
        known = neptune_error_in(error)
        if isinstance(known, StopRequested) and this.ending.is_set():
            return None
        if not isinstance(known, Superseded):
            raise
        log.warning(
            "round_superseded",
            reason=known.primary,
            detail=known.detail,
            hint="if it comes again and again, another group, or a process without one, lands the same partitions into this table",
        )
        lifecycle.stopping.wait(SUPERSEDED_PAUSE_S)
        return known
    return None


def _stop_with(stopping: threading.Event, membership: Membership) -> None:
    stopping.wait()
    membership.stop_round()
