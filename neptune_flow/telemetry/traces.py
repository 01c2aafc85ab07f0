"""One trace per commit: what this process did since its commit before, and the commit's own phases, with links to the producers' traces.

    commit ─┬─ read, validate      from the first to the last time that something was read, validated
            ├─ spool               from the first data file to the last
            ├─ quarantine commit   where something was written there
            └─ table commit

The root begins with the commit, so that log lines can name it, but its start is that of the first reading; its children are made when all has
landed. Nothing is done per message, and nothing at all where no trace is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode
from structlog.contextvars import bound_contextvars

from neptune_flow import __version__
from neptune_flow.telemetry.links import Links
from neptune_flow.telemetry.logs import mask
from neptune_flow.telemetry.readings import About
from neptune_flow.vitals import CommitFacts, Spell, Vitals

RANGES_MAX = 100
"""A trace names the offsets of so many partitions."""
BUSY = "neptune.stage.busy_s"
_COUNTS = ("rows", "rejects", "late", "left_out", "lost", "files", "file_bytes", "reject_files", "reject_file_bytes")
_TRIES = ("attempts", "lost_races", "unknown")


class Traces:
    """The traces of one process's commits.

    Args:
        vitals: what tells of stages and commits.
        about: what goes with them.
        resource: who speaks.
        processor: gets the spans.
    """

    def __init__(self, vitals: Vitals, about: About, resource: Resource, processor: SpanProcessor) -> None:
        self.links = Links()
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("neptune", __version__)
        self._vitals, self._about = vitals, about
        self._spells: Mapping[str, Spell] = {}
        self._root: trace.Span = trace.INVALID_SPAN
        vitals.on_commit.append(self._committed)

    @contextmanager
    def commit(self) -> Iterator[None]:
        """The trace of what is done within; log lines of this thread name it."""
        self._spells = self._vitals.take_spells()
        began_s = min([time.time(), *(spell.first_s for spell in self._spells.values())])
        self._root = self._tracer.start_span(
            f"commit {self._about.topic}",
            kind=SpanKind.CONSUMER,
            start_time=_ns(began_s),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.name": "commit",
                "messaging.operation.type": "process",
                "messaging.destination.name": self._about.topic,
                "messaging.consumer.group.name": self._about.group,
                "neptune.table": self._about.table,
            },
        )
        context = self._root.get_span_context()
        ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        try:
            with bound_contextvars(**(ids if context.trace_flags.sampled else {})):
                yield
        except BaseException as error:
            # The SDK's own way of recording would send what the log masks.
            kind = type(error).__name__
            self._root.add_event("exception", {"exception.type": kind, "exception.message": mask(str(error))})
            self._root.set_status(Status(StatusCode.ERROR, kind))
            raise
        finally:
            self._root.end()

    def _committed(self, facts: CommitFacts) -> None:
        """The commit has landed: what is told of it."""
        ranges = [f"{p}:{first}-{next_}" for p, (first, next_) in sorted(facts.ranges.items())[:RANGES_MAX]]
        self._root.set_attributes(
            {
                "messaging.batch.message_count": facts.rows + facts.rejects,
                "neptune.ledger": ranges,
                "neptune.partitions": len(facts.ranges),
                **{f"neptune.{name}": getattr(facts, name) for name in (*_COUNTS, *_TRIES)},
                **_snapshot(facts.snapshot),
            }
        )
        for link in self.links.take(facts.ranges):
            self._root.add_link(link.context, link.attributes)
        self._stages(facts)
        if facts.quarantine_snapshot is not None:
            self._child("quarantine commit", facts.written_s, facts.quarantined_s, _snapshot(facts.quarantine_snapshot))
        self._child("table commit", facts.quarantined_s, facts.landed_s, _snapshot(facts.snapshot))

    def _stages(self, facts: CommitFacts) -> None:
        for stage in ("read", "validate"):
            if spell := self._spells.get(stage):
                self._child(stage, spell.first_s, spell.last_s, {BUSY: spell.busy_s})
        # The last data files were written within the commit.
        before, within = self._spells.get("spool"), self._vitals.spells.pop("spool", None)
        first_s = before.first_s if before else facts.began_s
        busy_s = sum(spell.busy_s for spell in (before, within) if spell)
        self._child("spool", first_s, facts.written_s, {BUSY: busy_s})

    def _child(self, name: str, first_s: float, last_s: float, attributes: Mapping[str, float | int]) -> None:
        within = trace.set_span_in_context(self._root)
        self._tracer.start_span(name, within, start_time=_ns(first_s), attributes=attributes).end(_ns(last_s))


def _snapshot(number: int | None) -> dict[str, int]:
    return {} if number is None else {"neptune.snapshot": number}


def _ns(time_s: float) -> int:
    return int(time_s * 1e9)
