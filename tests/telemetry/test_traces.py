"""Traces: one for each commit, with its phases, what it did, and the lines of its log."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from neptune_flow.settings.values import MASK
from neptune_flow.telemetry import configure_logging, get_logger, logs, otlp, register_secret
from neptune_flow.telemetry.traces import BUSY, RANGES_MAX, Traces
from neptune_flow.vitals import Spell, Vitals
from tests.messages import SampleMessage, batch_from
from tests.telemetry.commits import ABOUT, facts


class Told:
    """Traces of a process, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.vitals = Vitals()
        self.traces = Traces(self.vitals, ABOUT, otlp.resource(), SimpleSpanProcessor(self._exporter))

    def commit(self, **changes: Any) -> None:
        with self.traces.commit():
            self.vitals.has_committed(facts(**changes))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    @property
    def root(self) -> ReadableSpan:
        return self.spans["commit sessions"]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    yield stream
    configure_logging("WARNING", "json")


def bounds_s(span: ReadableSpan) -> tuple[float, float]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time / 1e9, span.end_time / 1e9


def of(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def test_a_commit_is_one_trace_whose_children_are_its_phases(told: Told) -> None:
    told.vitals.spells.update(
        read=Spell(90.0, 98.0, 2.5), validate=Spell(90.5, 99.0, 4.0), spool=Spell(95.0, 97.0, 1.5)
    )
    told.commit()
    assert {name: bounds_s(span) for name, span in told.spans.items() if span is not told.root} == {
        "read": (90.0, 98.0),
        "validate": (90.5, 99.0),
        "spool": (95.0, 100.5),
        "quarantine commit": (100.5, 100.75),
        "table commit": (100.75, 101.0),
    }
    root = told.root
    assert bounds_s(root)[0] == 90.0
    assert root.parent is None
    assert root.context is not None
    for span in told.spans.values():
        if span is not root:
            assert span.parent is not None
            assert (span.parent.span_id, span.parent.trace_id) == (root.context.span_id, root.context.trace_id)
    assert [of(told.spans[stage])[BUSY] for stage in ("read", "validate", "spool")] == [2.5, 4.0, 1.5]


def test_a_second_commit_is_a_trace_of_its_own_and_tells_only_what_was_done_since(told: Told) -> None:
    told.vitals.spells.update(read=Spell(90.0, 98.0, 2.5))
    told.commit()
    first = told.root.context
    told._exporter.clear()
    told.vitals.spells.update(validate=Spell(102.0, 103.0, 1.0))
    told.commit(began_s=104.0, written_s=104.5, quarantined_s=104.5, landed_s=105.0, quarantine_snapshot=None)
    assert sorted(told.spans) == ["commit sessions", "spool", "table commit", "validate"]
    assert told.root.context.trace_id != first.trace_id
    assert bounds_s(told.spans["spool"]) == (104.0, 104.5)


def test_files_that_are_written_within_the_commit_count_as_spooled(told: Told) -> None:
    with told.traces.commit():
        with told.vitals.spending("spool"):
            pass
        busy_s = told.vitals.spells["spool"].busy_s
        told.vitals.has_committed(facts())
    assert of(told.spans["spool"])[BUSY] == busy_s
    assert "spool" not in told.vitals.take_spells()


def test_the_root_says_what_was_committed_and_where(told: Told) -> None:
    told.commit(ranges={3: (7, 12), 0: (0, 5)})
    assert {
        "messaging.system": "kafka",
        "messaging.destination.name": "sessions",
        "messaging.consumer.group.name": "neptune",
        "messaging.batch.message_count": 9,
        "neptune.table": "default.raw",
        "neptune.ledger": ("0:0-5", "3:7-12"),
        "neptune.partitions": 2,
        "neptune.snapshot": 11,
        "neptune.rows": 7,
        "neptune.rejects": 2,
        "neptune.lost_races": 1,
    }.items() <= of(told.root).items()
    assert of(told.spans["quarantine commit"])["neptune.snapshot"] == 12


def test_a_commit_of_very_many_partitions_names_some_and_counts_all(told: Told) -> None:
    told.commit(ranges=dict.fromkeys(range(1000), (0, 1)))
    assert len(of(told.root)["neptune.ledger"]) == RANGES_MAX
    assert of(told.root)["neptune.partitions"] == 1000


def test_the_producers_of_its_messages_are_linked(told: Told) -> None:
    value = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    told.traces.links.look(batch_from([SampleMessage(b"{}", offset=4, headers=[("traceparent", value)])], 4))
    told.commit()
    (link,) = told.root.links
    assert f"{link.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert link.attributes == {"messaging.destination.partition.id": "0", "messaging.kafka.offset": 4}


def test_lines_within_a_commit_name_its_trace_and_lines_after_it_do_not(told: Told, log: io.StringIO) -> None:
    with told.traces.commit():
        get_logger("neptune.commit").info("committed")
    get_logger("neptune.commit").info("later")
    within, after = (json.loads(line) for line in log.getvalue().splitlines())
    assert told.root.context is not None
    assert within["trace_id"] == f"{told.root.context.trace_id:032x}"
    assert within["span_id"] == f"{told.root.context.span_id:016x}"
    assert "trace_id" not in after


def test_lines_of_a_commit_that_is_not_sampled_name_no_trace(monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    told = Told()
    with told.traces.commit():
        get_logger("neptune.commit").info("committed")
        told.vitals.has_committed(facts())
    assert "trace_id" not in json.loads(log.getvalue())
    assert told.spans == {}


def test_a_commit_that_fails_is_a_trace_with_its_error(told: Told) -> None:
    with pytest.raises(OSError, match="away"), told.traces.commit():
        raise OSError("away")
    assert not told.root.status.is_ok
    assert told.root.status.description == "OSError"


def test_a_trace_has_no_secret_that_the_log_would_mask(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_secrets", {})
    register_secret("hunter-two")
    with pytest.raises(OSError, match="hunter"), told.traces.commit():
        raise OSError("no entry for hunter-two")
    (event,) = told.root.events
    assert event.attributes == {"exception.type": "OSError", "exception.message": f"no entry for {MASK}"}
