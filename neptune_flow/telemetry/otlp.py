"""What the standard `OTEL_*` variables ask for: whether metrics and traces go out by OTLP, and under which resource.

The SDK reads most of them itself; here is what it leaves to the program. Unlike the SDK's own default, nothing is sent unless a variable asks
for it. A value that could only be ignored stops the start.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from neptune_flow import __version__
from neptune_flow.errors import SettingsError
from neptune_flow.settings.values import MASK

_USER_INFO = re.compile(r"\S*@")
"""What stands before the @ of an address may be a password."""
PROTOCOL = "http/protobuf"
_SIGNALS = ("METRICS", "TRACES")
_EXPORTERS = {"METRICS": ("otlp", "prometheus", "none"), "TRACES": ("otlp", "none")}
"""`prometheus` adds nothing: NEPTUNE_HTTP_PORT has it."""


class Asked(NamedTuple):
    """What goes out by OTLP."""

    metrics: bool
    traces: bool


def asked(environ: Mapping[str, str] = os.environ) -> Asked:
    """What the variables ask for.

    Raises:
        SettingsError: an exporter, protocol or address that Neptune cannot use; names the variable and what is allowed.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Asked(metrics=False, traces=False)
    metrics, traces = (_is_asked(signal, environ) for signal in _SIGNALS)
    return Asked(metrics, traces)


def _is_asked(signal: str, environ: Mapping[str, str]) -> bool:
    address = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    exporters = f"OTEL_{signal}_EXPORTER"
    chosen = [part.strip().lower() for part in environ.get(exporters, "").split(",") if part.strip()]
    for one in chosen:
        if one not in _EXPORTERS[signal]:
            raise _wrong(exporters, environ[exporters], " or ".join(_EXPORTERS[signal]))
    is_asked = "otlp" in chosen if chosen else any(environ.get(n) for n in ("OTEL_EXPORTER_OTLP_ENDPOINT", address))
    if is_asked:
        _check(("OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"), environ, PROTOCOL)
        _check(("OTEL_EXPORTER_OTLP_ENDPOINT", address), environ, "http://host:port/path or https://host:port/path")
    return is_asked


def _check(names: tuple[str, str], environ: Mapping[str, str], allowed: str) -> None:
    """The general variable and a signal's own: what is set must be usable."""
    for name in names:
        value = environ.get(name, "")
        is_usable = value == PROTOCOL if name.endswith("PROTOCOL") else _is_address(value)
        if value and not is_usable:
            raise _wrong(name, value, allowed)


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _wrong(name: str, value: str, allowed: str) -> SettingsError:
    shown = _USER_INFO.sub(f"{MASK}@", value)
    return SettingsError(f"{name}={shown!r}: allowed is {allowed}", hint="docs/metrics.md has the variables")


def secrets_of(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Texts that no log line may hold: the headers' values, and passwords in addresses."""
    for name, value in environ.items():
        if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("_HEADERS"):
            for pair in value.split(","):
                _, _, text = pair.partition("=")
                yield from {text.strip(), unquote(text.strip())}
        elif name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("ENDPOINT") and _is_address(value):
            yield urlsplit(value).password or ""


def resource() -> Resource:
    """Who speaks; what the environment says of it wins."""
    own = {"service.name": "neptune", "service.version": __version__, "service.instance.id": secrets.token_hex(16)}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})
