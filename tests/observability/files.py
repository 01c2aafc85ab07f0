"""Reads what the tests compare: metrics in PromQL and in the documentation, panels of a dashboard, sections of a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "observability"
RULES = FOLDER / "prometheus" / "rules.yaml"
RULE_TESTS = FOLDER / "prometheus" / "rules.test.yaml"
SCRAPE = FOLDER / "prometheus" / "scrape.yaml"
DASHBOARD = FOLDER / "grafana" / "neptune.json"
TRACES = FOLDER / "grafana" / "neptune-traces.json"
OPERATIONS = ROOT / "docs" / "operations.md"
METRICS = ROOT / "docs" / "metrics.md"

_NO_METRIC = re.compile(
    r"""
      "[^"]*"                                                            # a text
    | \{[^}]*\} | \[[^]]*\]                                              # what is matched, and for how long
    | \b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)    # names of labels
    | \b(?:and|or|unless|bool|offset|by|without|on|ignoring|group_left|group_right|inf|nan)\b
    | \b[a-z_]+\s*(?=\(|by\b|without\b)                                # a function
    | \b\d[\w.]*                                                         # a number, or a time
    """,
    re.VERBOSE | re.IGNORECASE,
)
OF_PROMETHEUS = {"up"}
"""Metrics that Prometheus makes itself."""
OF_SCRAPES = {"job", "instance"}
"""Labels that it gives to all."""


class Panel(NamedTuple):
    """One panel of a dashboard."""

    title: str
    expressions: tuple[str, ...]
    box: tuple[int, int, int, int]
    """Left, top, width and height, in the grid's units."""


def metrics_in(expression: str) -> set[str]:
    """The metrics that a PromQL expression asks for, but those that Prometheus makes."""
    return set(re.findall(r"[A-Za-z_:][\w:]*", _NO_METRIC.sub(" ", expression))) - OF_PROMETHEUS


def undocumented_labels(expression: str) -> list[str]:
    """Labels, and values of labels, by which a PromQL expression chooses and that docs/metrics.md does not have."""
    known = {name.replace(".", "_") for name in re.findall(r"`([^`]+)`", _table())} | OF_SCRAPES
    return [
        f"{label} {value}"
        for label, values in re.findall(r'(\w+) *=~? *"([^"]*)"', expression)
        for value in values.split("|")
        if label not in known or (label not in OF_SCRAPES and value not in known)
    ]


def documented_metrics() -> set[str]:
    """Every Prometheus name in docs/metrics.md's table."""
    return set(re.findall(r"^\| `[^`]+` \| `([^`]+)` \|", _table(), re.MULTILINE))


def _table() -> str:
    return METRICS.read_text().split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0]


def is_documented(metric: str) -> bool:
    """Whether docs/metrics.md has the metric; a histogram stands there without its suffixes."""
    return bool({metric, re.sub(r"_(bucket|sum|count)$", "", metric)} & documented_metrics())


def load(dashboard: Path) -> dict[str, Any]:
    """A dashboard's JSON."""
    document: dict[str, Any] = json.loads(dashboard.read_text())
    return document


def panels(dashboard: Path) -> Iterator[Panel]:
    """The panels of a dashboard in its order, without the rows that head them."""
    for panel in load(dashboard)["panels"]:
        if panel["type"] != "row":
            box = panel["gridPos"]
            yield Panel(
                panel["title"],
                tuple(target["expr"] for target in panel.get("targets", ()) if "expr" in target),
                (box["x"], box["y"], box["w"], box["h"]),
            )


def expanded(expression: str) -> str:
    """The expression as Grafana sends it, with its variables filled in: every job and instance, and a rate over some seconds."""
    for variable, value in {"$job": ".+", "$instance": ".+", "$__rate_interval": "10s", "$__range": "5m"}.items():
        expression = expression.replace(variable, value)
    return expression


def sections(page: Path, level: int) -> dict[str, str]:
    """The headings of this level in a page, each with the text below it."""
    parts = re.split(rf"^{'#' * level} +(.+)$", page.read_text(), flags=re.MULTILINE)
    higher = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE)
    texts = [higher.split(text, maxsplit=1)[0] for text in parts[2::2]]
    return dict(zip(parts[1::2], texts, strict=True))
