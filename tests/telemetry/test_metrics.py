"""Metrics: each number comes out where the catalogue says, and the documentation says what comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neptune_flow.telemetry import engine, links, otlp, signals, traces
from neptune_flow.telemetry.catalogue import METRICS, Kind, markdown
from neptune_flow.telemetry.metrics import Metrics
from neptune_flow.vitals import KINDS_MAX, Held, Phase, Vitals
from tests.telemetry.commits import ABOUT, facts

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
NOW_S = 1000.0


def lively() -> Vitals:
    """Of a process of which everything that a metric tells is known."""
    vitals = Vitals(began_s=400.0, phase=Phase.DRAINING, stop_reason="SIGTERM", commits_here=True)
    for number in (0, 3):
        partition = vitals.partition(number)
        partition.messages, partition.log_end, partition.ledger_next = 10 + number, 50, 20
        partition.watermark, partition.open_windows, partition.waiting = 940_000_000, 2, 4
    vitals.taken(777)
    vitals.rows = 8
    vitals.rejects.update({"missing": 3, "json_invalid": 1})
    vitals.held["spool_bytes"] = lambda: Held(5, 9)
    with vitals.spending("validate"):
        pass
    vitals.waits_for("kafka", "refused")
    vitals.away_since = lambda: {"kafka": NOW_S - 9, "storage": None}
    return vitals


def read(vitals: Vitals, **options: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of a page by their names: values of the labels in the order of the labels' names, and the number."""
    metrics = Metrics(vitals, ABOUT, otlp.resource(), clock_s=lambda: NOW_S, **options)
    vitals.has_committed(facts())
    _, _, body = metrics.page()
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[key] = sample.value
    return samples


def labels_of(body: bytes) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each family of a page."""
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, labels)
    return found


def test_a_live_registry_has_what_the_catalogue_says_and_nothing_else() -> None:
    vitals = lively()
    metrics = Metrics(vitals, ABOUT, otlp.resource())
    vitals.has_committed(facts())
    status, content_type, body = metrics.page()
    assert (status, content_type.split(";")[0]) == (200, "text/plain")
    live = labels_of(body)
    assert live.pop("target")[0] == "info" if "target" in live else live.pop("target_info")
    types = {Kind.UP_DOWN: "gauge"}
    assert live == {
        metric.prometheus: (types.get(metric.kind, metric.kind.value), {a.replace(".", "_") for a in metric.attributes})
        for metric in METRICS
    }


def test_the_page_has_the_table_that_the_catalogue_prints() -> None:
    table = PAGE.split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0].strip()
    assert table == markdown(), (
        "run: python -m neptune_flow.telemetry.catalogue, and put the table into docs/metrics.md"
    )


def test_the_queries_of_the_page_name_metrics_and_attributes_that_there_are() -> None:
    queries = re.findall(r"^\| [^|]+ \| `([^`]*)` \|$", PAGE, re.MULTILINE)
    assert len(queries) > 5
    names = {m.prometheus for m in METRICS} | {f"{m.prometheus}_bucket" for m in METRICS if m.kind is Kind.HISTOGRAM}
    labels = {a.replace(".", "_") for m in METRICS for a in m.attributes}
    named = {word for query in queries for word in re.findall(r"\b(?:neptune|messaging|process)_\w+", query)}
    assert named <= names | labels


@pytest.mark.parametrize(
    "limit",
    [
        f"at most {KINDS_MAX + 1} kinds",
        f"at most {links.MESSAGES_LOOKED_AT} messages of a batch",
        f"at most {links.LINKS_OF_COMMIT_MAX} links, {links.LINKS_OF_PARTITION_MAX} from one partition",
        f"at most {traces.RANGES_MAX} partitions",
        f"at most {signals.FLUSH_S_MAX:g} s",
        f"by default {engine.PORT_DEFAULT}",
        f"`{otlp.PROTOCOL}` is the only one",
        f"`{traces.BUSY}`",
    ],
)
def test_the_page_names_the_limits_that_the_code_has(limit: str) -> None:
    assert limit in PAGE


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("neptune_consumed_size_bytes_total", {(): 777}),
        ("neptune_rows_total", {(): 8}),
        ("neptune_rejects_total", {("missing",): 3, ("json_invalid",): 1}),
        ("neptune_commits_total", {("landed",): 1, ("lost_race",): 1, ("unknown",): 0}),
        ("neptune_committed_offsets_total", {("row",): 7, ("reject",): 2, ("left_out",): 1, ("lost",): 0}),
        ("neptune_committed_late_total", {(): 1}),
        ("neptune_committed_files_total", {("rows",): 3, ("quarantine",): 1}),
        ("neptune_committed_size_bytes_total", {("rows",): 4096, ("quarantine",): 512}),
        ("neptune_freshness_seconds", {(): NOW_S - 101.0}),
        ("neptune_lag", {("0",): 40, ("3",): 30}),
        ("neptune_log_end", {("0",): 50, ("3",): 50}),
        ("neptune_ledger_next", {("0",): 10, ("3",): 20}),
        ("neptune_watermark_age_seconds", {("0",): 60, ("3",): 60}),
        ("neptune_watermark_least_age_seconds", {(): 910}),
        ("neptune_waiting", {("0",): 4, ("3",): 4}),
        ("neptune_waiting_age_seconds", {(): 0}),
        ("neptune_waiting_limit", {(): 1000}),
        ("neptune_open_windows", {("0",): 2, ("3",): 2}),
        ("neptune_buffer_size_bytes", {("spool",): 5}),
        ("neptune_buffer_limit_bytes", {("spool",): 9}),
        ("neptune_retries_total", {("kafka",): 1}),
        ("neptune_service_up", {("kafka",): 0, ("storage",): 1}),
        ("neptune_service_away_age_seconds", {("kafka",): 9, ("storage",): 0}),
        ("neptune_phase", {("starting",): 0, ("running",): 0, ("draining",): 1, ("stopped",): 0}),
        ("neptune_stops_total", {("SIGTERM",): 1}),
        ("neptune_memory_limit_bytes", {(): 512 << 20}),
        ("process_uptime_seconds", {(): 600}),
        ("neptune_commit_duration_seconds_sum", {("write",): 0.5, ("quarantine",): 0.25, ("table",): 0.25}),
        ("neptune_commit_duration_seconds_count", {("write",): 1, ("quarantine",): 1, ("table",): 1}),
    ],
)
def test_each_number_comes_out_as_it_was_told(name: str, points: Mapping[tuple[str, ...], float]) -> None:
    assert read(lively())[name] == pytest.approx(points)


def test_messages_carry_the_attributes_of_the_messaging_conventions() -> None:
    consumed = read(lively())["messaging_client_consumed_messages_total"]
    assert consumed == {
        ("neptune", "sessions", "0", "poll", "kafka"): 10,
        ("neptune", "sessions", "3", "poll", "kafka"): 13,
    }


def test_the_age_of_what_waits_grows_until_it_is_committed() -> None:
    vitals = lively()
    metrics = Metrics(vitals, ABOUT, otlp.resource(), clock_s=lambda: NOW_S)
    vitals.partition(0).waiting_since_s = 970.0
    assert b"neptune_waiting_age_seconds 30.0" in metrics.page()[2]


def test_an_outage_that_has_ended_is_of_age_zero() -> None:
    vitals = lively()
    metrics = Metrics(vitals, ABOUT, otlp.resource(), clock_s=lambda: vitals.outages["kafka"].since_s + 7)
    assert b'neptune_outage_age_seconds{neptune_service="kafka"} 7.0' in metrics.page()[2]
    ended = lively()
    ended.waits_for("kafka", None)
    assert read(ended)["neptune_outage_age_seconds"] == {("kafka",): 0}


def test_a_process_of_a_cluster_that_does_not_commit_tells_nothing_of_the_ledger() -> None:
    vitals = lively()
    vitals.last_commit_s, vitals.watermark_least = 90.0, 80_000_000
    vitals.commits_here = False
    live = labels_of(Metrics(vitals, ABOUT, otlp.resource()).page()[2])
    of_ledger = {
        "neptune_freshness_seconds",
        "neptune_lag",
        "neptune_ledger_next",
        "neptune_watermark_least_age_seconds",
    }
    assert not of_ledger & set(live)
    assert "neptune_log_end" in live


def test_before_anything_is_known_the_page_has_no_number_that_is_a_guess() -> None:
    _, _, body = Metrics(Vitals(), ABOUT, otlp.resource()).page()
    live = labels_of(body)
    for name in ("neptune_freshness_seconds", "neptune_lag", "neptune_watermark_least_age_seconds"):
        assert name not in live


def test_a_kind_that_a_contract_made_up_does_not_break_the_page() -> None:
    vitals = lively()
    hostile = 'a"b\\c\nd{e="f"}'
    vitals.rejects[hostile] = 5
    assert read(vitals)["neptune_rejects_total"][(hostile,)] == 5


def test_a_second_page_has_each_series_once() -> None:
    metrics = Metrics(lively(), ABOUT, otlp.resource())
    lines = [line.rpartition(" ")[0] for line in metrics.page()[2].decode().splitlines()]
    assert len(lines) == len(set(lines))
    again = [line.rpartition(" ")[0] for line in metrics.page()[2].decode().splitlines()]
    assert again == lines


def test_the_page_ends_with_what_the_engine_says() -> None:
    metrics = Metrics(lively(), ABOUT, otlp.resource(), more=lambda: b"bytewax_item_inp_count 1.0\n")
    assert metrics.page()[2].endswith(b"bytewax_item_inp_count 1.0\n")


def test_a_disabled_sdk_makes_an_empty_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    vitals = lively()
    metrics = Metrics(vitals, ABOUT, otlp.resource())
    vitals.has_committed(facts())
    assert metrics.page()[0] == 200
    assert b"neptune_" not in metrics.page()[2]
