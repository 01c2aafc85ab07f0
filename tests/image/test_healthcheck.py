"""The health check of the image asks the page of the same environment, and nothing else."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from neptune_flow import healthcheck
from neptune_flow.settings import Settings
from neptune_flow.web import open_server
from neptune_flow.web.server import plain


@pytest.mark.parametrize(
    ("status", "text", "complaint"),
    [(HTTPStatus.OK, "ready", None), (HTTPStatus.SERVICE_UNAVAILABLE, "Kafka is away", "Kafka is away")],
)
@pytest.mark.parametrize("host", [healthcheck.HOST, "127.0.0.1", "::"])
def test_it_says_what_readyz_says(
    monkeypatch: pytest.MonkeyPatch, host: str, status: HTTPStatus, text: str, complaint: str | None
) -> None:
    with open_server(host, 0, {"/readyz": lambda: plain(status, text)}) as server:
        monkeypatch.setenv("NEPTUNE_HTTP_HOST", host)
        monkeypatch.setenv("NEPTUNE_HTTP_PORT", str(server.port))
        assert healthcheck.complaint() == complaint


def test_where_nobody_answers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_server("127.0.0.1", 0, {}) as server:
        port = server.port
    monkeypatch.setenv("NEPTUNE_HTTP_PORT", str(port))
    assert f"port {port} of 0.0.0.0 does not answer" in str(healthcheck.complaint())


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("PORT", "1.0"), ("HOST", "a..b"), ("HOST", "ä" * 80)])
def test_what_is_no_address_does_not_answer(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"NEPTUNE_HTTP_{name}", value)
    assert f"{value} " in str(healthcheck.complaint())


def test_without_a_port_there_is_nothing_to_complain_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPTUNE_HTTP_PORT", "0")
    assert healthcheck.complaint() is None


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with open_server("127.0.0.1", 0, {"/readyz": lambda: plain(HTTPStatus.OK, "ready")}) as server:
        monkeypatch.setenv("NEPTUNE_HTTP_PORT", str(server.port))
        assert healthcheck.complaint() is None


def test_its_defaults_are_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: Any = Settings.load({})
    assert (healthcheck.HOST, int(healthcheck.PORT)) == (settings.http_host, settings.http_port)
