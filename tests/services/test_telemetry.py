"""Metrics and traces of a real run, as those who receive them see them: an OTLP receiver, and a Prometheus that scrapes."""

from __future__ import annotations

import json
import secrets
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from neptune_flow.simulator import Fleet
from tests.services.conftest import without_servers
from tests.services.neptune import ROOT, Neptune, wait_for
from tests.services.servers import ServerError, free_port
from tests.services.servers.prometheus import Prometheus
from tests.services.stage import Stage
from tests.services.traffic import Note, Sent
from tests.telemetry.receiver import Receiver, attributes, receiver

PUSHED = {"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_SCHEDULE_DELAY": "200"}


@pytest.fixture
def received() -> Iterator[Receiver]:
    with receiver() as kept:
        yield kept


def messages(count: int, header: Callable[[int], bytes | None], bad_share: float = 0.0) -> list[Note]:
    """Vehicles' messages with these `traceparent` headers."""
    fleet = Fleet(5, start=datetime.now(UTC), vehicles=20, bad_share=bad_share)
    notes = []
    for number, message in enumerate(islice(fleet, count)):
        value = header(number)
        headers = message.headers if value is None else (*message.headers, ("traceparent", value))
        notes.append(
            Note(message.value, message.key, headers=headers, refusal=message.bad.reason if message.bad else None)
        )
    return notes


def page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def offsets_in(ledger: list[str]) -> dict[int, range]:
    """What a trace says of the offsets that its commit took."""
    pairs = (entry.split(":") for entry in ledger)
    return {int(partition): range(*map(int, bounds.split("-"))) for partition, bounds in pairs}


def holder_of(snapshots: list[dict[str, str]], message: Sent) -> int:
    """How many snapshots of the table there were when the message was in it."""
    return next(
        number
        for number, summary in enumerate(snapshots)
        if json.loads(summary["neptune.ledger"])["partitions"].get(str(message.partition), {"next": 0})["next"]
        > message.offset
    )


def test_a_sampled_messages_trace_leads_from_its_producer_to_the_snapshot_that_holds_it(
    stage: Stage, received: Receiver
) -> None:
    stage.create_topic(2)
    neptune = stage.start(OTEL_EXPORTER_OTLP_ENDPOINT=received.address, **PUSHED)
    neptune.wait_event("committed")
    trace_id = secrets.token_hex(16)
    sampled = stage.traffic().send(messages(1, lambda _: f"00-{trace_id}-{'a' * 16}-01".encode()))
    stage.wait_caught_up(neptune)
    hostile = [None, b"", b"\xff" * 55, f"00-{trace_id}-{'b' * 16}-00".encode(), b"00-" + b"0" * 52]
    others = stage.traffic().send(messages(50, lambda n: hostile[n % len(hostile)]))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    (link,) = (link for root in received.spans("commit ") for link in root.links)
    assert (link.trace_id.hex(), link.span_id.hex()) == (trace_id, "a" * 16)
    (root,) = (root for root in received.spans("commit ") if root.links)
    told = attributes(root)
    (message,) = sampled
    assert message.offset in offsets_in(told["neptune.ledger"])[message.partition]
    table = stage.load()
    assert table is not None
    ordered = sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0)
    assert told["neptune.snapshot"] == ordered[holder_of(stage.summaries(), message)].snapshot_id
    stage.assert_exact([*sampled, *others])


def test_what_is_sent_over_otlp_is_what_the_log_and_the_table_say(stage: Stage, received: Receiver) -> None:
    stage.create_topic(2)
    neptune = stage.start(OTEL_EXPORTER_OTLP_ENDPOINT=received.address, OTEL_SERVICE_NAME="bronze", **PUSHED)
    neptune.wait_event("committed")
    sent = stage.traffic().send(messages(400, lambda _: None, bad_share=0.2))
    stage.wait_caught_up(neptune)
    assert neptune.terminate() == 0, neptune.tail()

    roots = {root.trace_id.hex(): root for root in received.spans("commit ")}
    lines = neptune.events("committed")
    assert [line["trace_id"] for line in lines] == list(roots)
    for line in lines:
        root = roots[line["trace_id"]]
        told = attributes(root)
        assert line["span_id"] == root.span_id.hex()
        assert [told[f"neptune.{fact}"] for fact in ("rows", "rejects", "files")] == [
            line["rows"],
            line["rejects"],
            line["files"],
        ]
        phases = {s.name: s for s in received.spans() if s.parent_span_id == root.span_id}
        assert (
            {"spool", "table commit"}
            <= set(phases)
            <= {"read", "validate", "spool", "quarantine commit", "table commit"}
        )
        for span in phases.values():
            assert (
                root.start_time_unix_nano
                <= span.start_time_unix_nano
                <= span.end_time_unix_nano
                <= root.end_time_unix_nano
            )
    assert any({"read", "validate", "quarantine commit"} <= names for names in children(received))

    refused = sum(message.refusal is not None for message in sent)
    assert refused
    assert received.numbers("neptune.rows") == {(): len(sent) - refused}
    assert sum(received.numbers("neptune.rejects").values()) == refused
    fates = received.numbers("neptune.committed.offsets")
    assert fates == {("row",): len(sent) - refused, ("reject",): refused, ("left_out",): 0, ("lost",): 0}
    assert received.numbers("neptune.commits")[("landed",)] == len(lines)
    assert set(received.numbers("neptune.lag").values()) == {0}
    assert received.numbers("neptune.stops") == {("SIGTERM",): 1}
    assert received.resource()["service.name"] == "bronze"
    stage.assert_exact(sent)


def children(received: Receiver) -> Iterator[set[str]]:
    """The names of each root's children."""
    for root in received.spans("commit "):
        yield {span.name for span in received.spans() if span.parent_span_id == root.span_id}


def test_a_receiver_that_hangs_delays_neither_the_commits_nor_the_end(stage: Stage, received: Receiver) -> None:
    stage.create_topic(1)
    received.go_on.clear()
    neptune = stage.start(OTEL_EXPORTER_OTLP_ENDPOINT=received.address, **PUSHED)
    sent = stage.traffic().send(messages(20, lambda _: None))
    stage.wait_caught_up(neptune)
    assert neptune.terminate(limit_s=20) == 0, neptune.tail()
    assert "trace_id" in neptune.events("committed")[-1]
    stage.assert_exact(sent)


def test_a_prometheus_that_scrapes_has_neptunes_numbers_and_the_engines(stage: Stage, tmp_path: Path) -> None:
    stage.create_topic(2)
    port, engine_port = free_port(), free_port()
    neptune = stage.start(
        NEPTUNE_HTTP_PORT=str(port),
        NEPTUNE_HTTP_HOST="127.0.0.1",
        BYTEWAX_DATAFLOW_API_ENABLED="1",
        BYTEWAX_DATAFLOW_API_PORT=str(engine_port),
    )
    sent = stage.traffic().send(messages(100, lambda _: None))
    stage.wait_caught_up(neptune)
    try:
        prometheus = Prometheus({"neptune": [f"127.0.0.1:{port}"]}, directory=tmp_path / "prometheus").start()
    except ServerError as error:
        without_servers(error)
    try:
        for query, value in {
            "sum(neptune_rows_total)": len(sent),
            "sum(messaging_client_consumed_messages_total)": len(sent),
            "sum(neptune_lag)": 0,
            'sum(bytewax_item_inp_count_total{step_id=~"neptune.collect.*"}) > bool 0': 1,
        }.items():
            wait_for(partial(shows, prometheus, query, value), f"{query} is {value}", 30)
    finally:
        prometheus.close()
    assert not (ROOT / "dataflow.json").exists()
    assert neptune.terminate() == 0, neptune.tail()


def shows(prometheus: Prometheus, query: str, value: float) -> bool:
    """Whether a query gives this number now."""
    return [float(series["value"][1]) for series in prometheus.query(query)] == [value]


def test_a_variable_that_says_no_leaves_the_engines_server_off(stage: Stage) -> None:
    stage.create_topic(1)
    port = free_port()
    neptune: Neptune = stage.start(
        NEPTUNE_HTTP_PORT=str(port), NEPTUNE_HTTP_HOST="127.0.0.1", BYTEWAX_DATAFLOW_API_ENABLED="0"
    )
    neptune.wait_event("committed")
    assert "neptune_build_info" in page(port)
    assert "bytewax_item" not in page(port)
    assert neptune.terminate() == 0, neptune.tail()
