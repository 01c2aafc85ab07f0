"""The table of routes: `/` for people, `/livez`, `/readyz` and `/healthz` for the platform, `/status.json` for the page.

`/livez` and `/readyz` answer 200 or 503, and in words why. `/healthz` is a report and always 200: a platform that restarts by it would
restart a process that only waits for Kafka.

Nobody logs in to read them, and an error may quote an address: what the log masks is masked in every answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from neptune_flow.health import HealthWatch, report
from neptune_flow.settings import Settings
from neptune_flow.telemetry.logs import mask
from neptune_flow.vitals import Vitals
from neptune_flow.web.document import Document
from neptune_flow.web.page import CONTENT_SECURITY_POLICY, PAGE
from neptune_flow.web.server import Answer, Route, plain

POLICIES: Mapping[str, str] = {"/": CONTENT_SECURITY_POLICY}
"""For `open_server`."""


def status_routes(settings: Settings, vitals: Vitals, health: HealthWatch) -> dict[str, Route]:
    """A new table; others may add to it."""
    document = Document(settings, vitals)

    def livez() -> Answer:
        verdict = health.verdict()
        return plain(HTTPStatus.OK, "alive") if verdict.live else unwell(verdict.reasons[-1:])

    def readyz() -> Answer:
        verdict = health.verdict()
        return plain(HTTPStatus.OK, "ready") if verdict.ready else unwell(verdict.reasons)

    def unwell(reasons: tuple[str, ...]) -> Answer:
        return plain(HTTPStatus.SERVICE_UNAVAILABLE, mask("\n".join(reasons)))

    def healthz() -> Answer:
        return _json(report(vitals, health.verdict(), time.time()))

    def status() -> Answer:
        return _json(document.at(time.time(), health.verdict()))

    return {
        "/": lambda: (HTTPStatus.OK, "text/html; charset=utf-8", PAGE),
        "/livez": livez,
        "/readyz": readyz,
        "/healthz": healthz,
        "/status.json": status,
    }


def _json(document: dict[str, Any]) -> Answer:
    return HTTPStatus.OK, "application/json", json.dumps(_masked(document), separators=(",", ":")).encode()


def _masked(shown: object) -> object:
    if isinstance(shown, dict):
        return {mask(str(key)): _masked(value) for key, value in shown.items()}
    if isinstance(shown, list):
        return [_masked(value) for value in shown]
    return mask(shown) if isinstance(shown, str) else shown
