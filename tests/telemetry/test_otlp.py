"""What the standard variables ask for."""

from __future__ import annotations

import pytest

from neptune_flow import __version__
from neptune_flow.errors import SettingsError
from neptune_flow.telemetry import otlp

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "metrics", "traces"),
    [
        ({}, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False, False),
        (ENDPOINT, True, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t/v1/traces"}, False, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://m/v1/metrics"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False, True),
        ({"OTEL_METRICS_EXPORTER": "otlp, prometheus"}, True, False),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, False, True),
        ({**ENDPOINT, "OTEL_METRICS_EXPORTER": "prometheus"}, False, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "None"}, True, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "1"}, True, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True),
    ],
)
def test_nothing_is_sent_unless_a_variable_asks_for_it(environ: dict[str, str], metrics: bool, traces: bool) -> None:
    assert otlp.asked(environ) == (metrics, traces)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://[bad"),
    ],
)
def test_what_could_only_be_ignored_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as error:
        otlp.asked({**ENDPOINT, name: value})
    assert value in str(error.value)


def test_headers_and_passwords_are_secrets() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=plain%20text,authorization=Bearer abcd",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x=third",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hidden@collector:4318",
        "OTEL_SERVICE_NAME": "harmless",
    }
    assert {"plain text", "plain%20text", "Bearer abcd", "third", "hidden"} == set(otlp.secrets_of(environ)) - {""}


def test_the_resource_says_who_speaks_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = otlp.resource().attributes
    assert (attributes["service.name"], attributes["service.version"]) == ("neptune", __version__)
    assert attributes["service.instance.id"] != otlp.resource().attributes["service.instance.id"]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bronze")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=pod-7")
    attributes = otlp.resource().attributes
    assert attributes["service.name"] == "bronze"
    assert attributes["service.instance.id"] == "pod-7"
    assert attributes["deployment.environment.name"] == "test"
    assert attributes["telemetry.sdk.language"] == "python"
