"""No variable of whoever runs the tests asks for telemetry."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_variable_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "BYTEWAX_DATAFLOW_API_")):
            monkeypatch.delenv(name)
