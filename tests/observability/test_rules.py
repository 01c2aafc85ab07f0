"""The alerts: Prometheus accepts them, each is shown to fire and to stay silent, and each says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.observability.files import (
    OPERATIONS,
    RULE_TESTS,
    RULES,
    SCRAPE,
    is_documented,
    metrics_in,
    sections,
    undocumented_labels,
)
from tests.services.servers.prometheus import Prometheus, promtool

NAMES = re.findall(r"^ *- alert: (\w+)$", RULES.read_text(), re.MULTILINE)
SHOWN_TO_FIRE = re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", RULE_TESTS.read_text())
SHOWN_SILENT = re.findall(r"alertname: (\w+), eval_time: \w+, exp_alerts: \[\]", RULE_TESTS.read_text())


@pytest.fixture
def rules(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The rules as a real Prometheus has understood them."""
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


@pytest.mark.usefixtures("prometheus")
def test_promtool_accepts_the_rules_with_their_configuration_and_every_test_of_theirs_passes() -> None:
    assert "SUCCESS" in promtool("check", "config", str(SCRAPE))
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


def test_every_alert_says_how_bad_it_is_what_happens_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    alerts = [rule for rule in rules if rule["type"] == "alerting"]
    assert sorted(alert["name"] for alert in alerts) == sorted(NAMES)
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning"), alert["name"]
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, alert["name"]
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['name'].lower()}"


def test_every_metric_and_label_that_a_rule_asks_for_is_documented(rules: list[dict[str, Any]]) -> None:
    asked = {metric for rule in rules for metric in metrics_in(rule["query"])}
    made = {rule["name"] for rule in rules if rule["type"] == "recording"}
    assert made < asked
    assert sorted(metric for metric in asked - made if not is_documented(metric)) == []
    assert [found for rule in rules for found in undocumented_labels(rule["query"])] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_shown_to_fire_and_to_stay_silent(name: str) -> None:
    assert name in SHOWN_TO_FIRE
    assert name in SHOWN_SILENT


def test_every_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() -> None:
    runbook = sections(OPERATIONS, 2)["Runbook"]
    assert re.findall(r"^### (\w+)$", runbook, re.MULTILINE) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_section_of_the_runbook_says_what_it_means_where_to_look_what_to_do_and_whom_to_wake(name: str) -> None:
    parts = re.findall(r"^\*\*([A-Z][a-z ]+)\.?\*\*", sections(OPERATIONS, 3)[name], re.MULTILINE)
    assert parts == ["Means", "Look", "Do", "Wake somebody"]
