"""Rules and dashboard on a real Prometheus that scrapes a real Neptune: every panel shows something, no rule fails, and an alert fires when it should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from neptune_flow.simulator import Fleet
from tests.observability.files import DASHBOARD, RULES, expanded, panels
from tests.services.conftest import without_servers
from tests.services.neptune import Neptune
from tests.services.servers import ServerError, free_port
from tests.services.servers.process import HOST
from tests.services.servers.prometheus import Prometheus
from tests.services.stage import Stage
from tests.services.traffic import delete_records

JOB = "neptune-of-the-tests"
RATE = 500.0
BAD_SHARE = 0.1
COMMITS = 4
SCRAPE_INTERVAL_S = 0.5
SHOWN_S = 15.0
"""How far back a panel looks here."""


class Watched(NamedTuple):
    """A Neptune, and the Prometheus that scrapes it."""

    neptune: Neptune
    prometheus: Prometheus

    def empty(self) -> list[str]:
        """The queries of the dashboard that give no number, each with its panel's title."""
        return [
            f"{panel.title}: {expression}"
            for panel in panels(DASHBOARD)
            for expression in panel.expressions
            if not self._gives_a_number(expanded(expression))
        ]

    def _gives_a_number(self, expression: str) -> bool:
        series = self.prometheus.query_range(expression, SHOWN_S)
        return any(value != "NaN" for one in series for _, value in one["values"])

    def number(self, expression: str) -> float | None:
        """The one number of an expression now; None where there is none yet."""
        found = self.prometheus.query(expression)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {
            alert["labels"]["alertname"]
            for alert in self.prometheus.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@contextmanager
def watched(stage: Stage) -> Iterator[Watched]:
    port = free_port()
    neptune = stage.start(NEPTUNE_HTTP_PORT=str(port))
    try:
        prometheus = Prometheus({JOB: [f"{HOST}:{port}"]}, rules=[RULES], interval_s=SCRAPE_INTERVAL_S).start()
    except ServerError as error:
        without_servers(error)
    with closing(prometheus):
        yield Watched(neptune, prometheus)


def test_every_panel_shows_numbers_of_a_real_run_and_no_rule_fails(stage: Stage, seed: int) -> None:
    with watched(stage) as run:
        run.neptune.wait_event("waiting")  # for the topic, so that waits and retries have numbers too
        stage.create_topic(2)
        traffic = stage.traffic()
        with traffic.load(
            Fleet(seed, start=datetime.now(UTC), vehicles=int(RATE), bad_share=BAD_SHARE, late_share=0.01), RATE
        ):
            run.neptune.wait_event("committed", count=COMMITS)
            run.neptune.wait_for(lambda: not run.empty(), "every panel shows numbers", 30.0)
        stage.wait_caught_up(run.neptune)
        run.neptune.wait_for(lambda: run.number(f'sum(neptune_lag{{job="{JOB}"}})') == 0, "the lag falls to 0", 10.0)
        refused = sum(sent.refusal is not None for sent in traffic.sent)
        assert (
            run.number(f'sum(neptune_committed_offsets_total{{job="{JOB}", neptune_offset_fate="reject"}})') == refused
        )
        rules = [rule for group in run.prometheus.ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}, [r for r in rules if r["health"] != "ok"]
        assert run.firing() == set()


def test_an_alert_tells_of_messages_that_retention_took_also_if_they_were_lost_before_the_first_scrape(
    stage: Stage, seed: int
) -> None:
    stage.create_topic(1)
    traffic = stage.traffic()
    fleet = iter(Fleet(seed, start=datetime.now(UTC), bad_share=0.0))
    traffic.send(islice(fleet, 10))
    before = stage.start()
    stage.wait_caught_up(before)
    assert before.terminate() == 0
    traffic.send(islice(fleet, 10))
    delete_records(stage.kafka.bootstrap, stage.topic, stage.log_ends())
    traffic.send(islice(fleet, 10))
    with watched(stage) as run:
        run.neptune.wait_for(lambda: run.firing() == {"NeptuneOffsetsLost"}, "the alert fires, and it alone", 30.0)
        assert run.number(f'sum(neptune_committed_offsets_total{{job="{JOB}", neptune_offset_fate="lost"}})') == 10
