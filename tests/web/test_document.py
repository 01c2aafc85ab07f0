"""What the page is told: everything that it shows, no secret, and no value of a message unless a setting allows it."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest

from neptune_flow.vitals import SERVICES, Held, Outage, Phase, Sample
from neptune_flow.web import POLICIES
from tests.test_vitals import facts
from tests.web.conftest import Place

SECRETS = {
    "MINIO_ACCESS_KEY": "the-access-key",
    "MINIO_SECRET_KEY": "the-secret-key",
    "NEPTUNE_KAFKA_PROPERTIES": '{"sasl.username": "me", "sasl.password": "the-password-of-kafka", "client.id": "x"}',
    "NEPTUNE_CATALOG_PROPERTIES": '{"credential": "client:the-credential", "header.x": "http://u:the-url-password@h"}',
}
HIDDEN = ("the-access-key", "the-secret-key", "the-password-of-kafka", "the-credential", "the-url-password")


def answer(place: Place, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", place.server.port, timeout=30)
    connection.request("GET", path)
    found = connection.getresponse()
    content = found.read()
    connection.close()
    return found.status, content


def status(place: Place) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer(place, "/status.json")[1])
    return document


def test_the_platform_gets_200_or_503_and_why() -> None:
    place = Place()
    assert answer(place, "/livez") == (200, b"alive\n")
    assert answer(place, "/readyz") == (200, b"ready\n")
    place.vitals.waits_for("catalog", "it refuses")
    place.vitals.phase = Phase.DRAINING
    code, why = answer(place, "/readyz")
    assert (code, why.splitlines()[0]) == (503, b"draining")
    assert why.splitlines()[1].startswith(b"catalog has been away for 0 s: it refuses")
    assert answer(place, "/livez") == (200, b"alive\n")
    code, content = answer(place, "/healthz")
    assert code == 200, "a report, not a verdict"
    assert {"live", "ready", "reasons", "service", "kafka", "storage", "table", "lag"} <= set(json.loads(content))
    place.server.close()


def test_a_metrics_page_or_any_other_can_be_added_to_the_routes(place: Place) -> None:
    place.server.close()
    place._routes["/metrics"] = lambda: (200, "text/plain", b"neptune_rows_total 1\n")
    place.open(0)
    assert answer(place, "/metrics") == (200, b"neptune_rows_total 1\n")
    assert "/metrics" not in POLICIES


def test_no_answer_holds_a_secret_of_the_settings() -> None:
    place = Place(**SECRETS)
    for service in SERVICES:
        place.vitals.waits_for(service, f"http://someone:{'@host or '.join(HIDDEN)}@host does not answer")
    place.vitals.stop_reason = HIDDEN[0]
    place.vitals.samples.append(Sample(0.0, 0, 1, HIDDEN[1], HIDDEN[2], HIDDEN[3], b"x"))
    place.vitals.rejects[HIDDEN[2]] = 1
    for path in ("/status.json", "/healthz", "/readyz", "/livez", "/"):
        content = answer(place, path)[1]
        assert [s for s in HIDDEN if s.encode() in content] == [], path
    shown = {s["name"]: s["value"] for s in status(place)["settings"]}
    assert shown["NEPTUNE_KAFKA_PROPERTIES"] == "client.id, sasl.password, sasl.username"
    assert shown["MINIO_SECRET_KEY"] == "•••"
    place.server.close()


@pytest.mark.parametrize("allowed", ["true", "false"])
def test_values_of_refused_messages_are_told_only_where_the_setting_allows_it(allowed: str) -> None:
    place = Place(NEPTUNE_HTTP_SAMPLES=allowed)
    place.vitals.samples.append(Sample(5.0, 3, 77, "name", "value_error", "Ada is no name", b'{"name":"Ada"\xff}'))
    place.vitals.samples.append(Sample(6.0, 3, 78, None, "null_value", "the message has no value", None))
    null, named = status(place)["samples"]
    assert (named["partition"], named["offset"], named["kind"], named["bytes"]) == (3, 77, "value_error", 15)
    assert (null["message"], null["bytes"], null["value"]) == ("the message has no value", None, None)
    told = (named["message"], named["value"])
    assert told == (("Ada is no name", '{"name":"Ada"�}') if allowed == "true" else ("•••", None))
    place.server.close()


def test_the_document_tells_the_route_the_partitions_and_the_last_commits(place: Place) -> None:
    vitals = place.vitals
    for number in range(3):
        part = vitals.partition(number)
        part.messages, part.waiting, part.open_windows = 10, 4, 1
        part.log_end, part.ledger_next, part.watermark = 20, 15, 1_700_000_000_123_456
    for number in range(15):
        vitals.has_committed(facts(landed_s=float(number), snapshot=2**62 + number, ranges={0: (0, 16)}))
    vitals.held["spool_bytes"] = lambda: Held(5, 10)
    told = status(place)
    assert (told["flow"]["messages"], told["flow"]["waiting"], told["flow"]["committed_commits"]) == (30, 12, 15)
    assert [c["snapshot"] for c in told["commits"]][:2] == [str(2**62 + 14), str(2**62 + 13)]
    assert len(told["commits"]) == 10
    assert told["partitions"][1] == {
        "partition": 1,
        "ledger_next": 15,
        "log_end": 20,
        "lag": 5,
        "watermark": "2023-11-14T22:13:20.123Z",
        "open_windows": 1,
        "waiting": 4,
        "idle": False,
    }
    assert {"name": "spool", "now": 5, "most": 10, "unit": "bytes", "setting": "", "alert": None} in told["limits"]
    assert told["health"]["lag"]["messages"] == 4 + 5 + 5


def test_the_document_stays_small_with_many_partitions(place: Place) -> None:
    for number in range(64):
        place.vitals.partition(number).messages = 10**9
    assert len(answer(place, "/status.json")[1]) < 32_000


def test_a_limit_alerts_where_somebody_should_look_not_where_it_is_reached_every_day(place: Place) -> None:
    now_s, vitals = time.time(), place.vitals
    vitals.partition(0).waiting_since_s = now_s - 119
    vitals.outages["catalog"] = Outage(now_s - 140, now_s, 1, "away")

    def alerts() -> list[str]:
        return [x["name"] for x in status(place)["limits"] if x["alert"] is not None and x["now"] > x["alert"]]

    assert alerts() == []
    vitals.partition(0).waiting_since_s = now_s - 145
    vitals.outages["catalog"] = Outage(now_s - 160, now_s, 1, "away")
    assert alerts() == ["oldest uncommitted message", "longest outage now"]
