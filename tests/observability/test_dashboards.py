"""The dashboards: what Grafana will make of them, and that they ask for what there is. `tests/services/test_observability.py` asks it of a real run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from neptune_flow.telemetry import otlp
from neptune_flow.telemetry.traces import Traces
from neptune_flow.vitals import Spell, Vitals
from tests.observability.files import (
    DASHBOARD,
    OPERATIONS,
    TRACES,
    documented_metrics,
    expanded,
    is_documented,
    load,
    metrics_in,
    panels,
    undocumented_labels,
)
from tests.services.servers.prometheus import Prometheus
from tests.telemetry.commits import ABOUT, facts

BOTH = pytest.mark.parametrize("dashboard", [DASHBOARD, TRACES], ids=lambda path: path.stem)
GRID_WIDTH = 24
SCHEMA_MIN = 39
"""Of Grafana 11.0; later ones read it and migrate."""
NOT_SHOWN = {"neptune_stops_total", "neptune_log_end", "neptune_ledger_next"}
"""A scrape comes too late for the first; the others are the parts of `neptune_lag`, for a cluster's."""


def everything(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a document, however deep, with its value."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from everything(value)
    elif isinstance(node, list):
        for value in node:
            yield from everything(value)


def names_of(dashboard: Path) -> list[str]:
    return [variable["name"] for variable in load(dashboard)["templating"]["list"]]


@BOTH
def test_a_dashboard_has_the_form_of_grafana_11_and_is_bound_to_no_data_source(dashboard: Path) -> None:
    document = load(dashboard)
    assert document["schemaVersion"] >= SCHEMA_MIN
    assert "id" not in document
    assert names_of(dashboard)[0] == "datasource"
    sources = [value for key, value in everything(document) if key == "datasource"]
    assert sources
    assert {source["uid"] for source in sources} == {"${datasource}"}


@BOTH
def test_every_variable_that_a_dashboard_uses_is_one_of_its_own(dashboard: Path) -> None:
    used = set(re.findall(r"\$\{?([a-z][a-z_]*)", dashboard.read_text()))
    assert used == set(names_of(dashboard))


@BOTH
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Path) -> None:
    ids = [panel["id"] for panel in load(dashboard)["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels(dashboard):
        left, _, width, _ = panel.box
        assert left + width <= GRID_WIDTH, panel.title
    for one, other in itertools.combinations(panels(dashboard), 2):
        (x, y, w, h), (x2, y2, w2, h2) = one.box, other.box
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, f"{one.title} lies on {other.title}"


def test_the_dashboard_answers_the_questions_of_the_page_on_operations() -> None:
    rows = [panel["title"] for panel in load(DASHBOARD)["panels"] if panel["type"] == "row"]
    for question in (
        "does data land",
        "how fresh",
        "how complete",
        "what is refused",
        "where is time spent",
        "what is near its limit",
    ):
        assert f"{question.capitalize()}?" in rows
        assert question in OPERATIONS.read_text()


def test_prometheus_understands_every_query(prometheus: Prometheus) -> None:
    for panel in panels(DASHBOARD):
        assert panel.expressions, panel.title
        for expression in panel.expressions:
            prometheus.query(expanded(expression))


def test_every_metric_and_label_of_a_query_is_documented_and_every_documented_metric_is_shown() -> None:
    expressions = [expression for panel in panels(DASHBOARD) for expression in panel.expressions]
    asked = {metric for expression in expressions for metric in metrics_in(expression)}
    assert sorted(metric for metric in asked if not is_documented(metric)) == []
    assert [found for expression in expressions for found in undocumented_labels(expression)] == []
    shown = asked | {re.sub(r"_bucket$", "", metric) for metric in asked}
    assert documented_metrics() - shown == NOT_SHOWN


def test_every_attribute_and_span_that_the_traces_are_searched_by_is_one_that_a_commit_has() -> None:
    exporter = InMemorySpanExporter()
    vitals = Vitals()
    traces = Traces(vitals, ABOUT, otlp.resource(), SimpleSpanProcessor(exporter))
    vitals.spells["spool"] = Spell(90.0, 91.0, 1.0)
    with traces.commit():
        vitals.has_committed(facts())
    spans = exporter.get_finished_spans()
    queries = [target["query"] for panel in load(TRACES)["panels"] for target in panel.get("targets", ())]
    assert queries
    known = {name for span in spans for name in span.attributes or ()}
    searched = {name for query in queries for name in re.findall(r"span\.([a-z][\w.]*)", query)}
    assert searched <= known
    for pattern in re.findall(r'(?<![.\w])name =~? "([^"]+)"', " ".join(queries)):
        assert any(re.fullmatch(pattern, span.name) for span in spans), pattern
