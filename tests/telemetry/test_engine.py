"""The engine's own metrics: off unless asked for, then in the page, and never another process's."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from neptune_flow.errors import SettingsError
from neptune_flow.telemetry import engine
from neptune_flow.telemetry.engine import CACHE_PATH, ENABLED, PORT

FLOW = """
import os, sys, threading, time
import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource
from neptune_flow.telemetry import engine

port = engine.prepare(os.environ)

def ask():
    for _ in range(200):
        text = engine.metrics_text(port) if port else b"none"
        if not text.startswith(b"#") or b"bytewax_" in text:
            break
        time.sleep(0.05)
    sys.stdout.write(text.decode())
    sys.stdout.flush()
    os._exit(0)

flow = Dataflow("small")
items = op.input("items", flow, TestingSource(range(10_000)))
op.output("out", op.map("slowly", items, lambda item: str(time.sleep(0.01))), StdOutSink())
threading.Thread(target=ask, daemon=True).start()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(body: bytes) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("value", [None, "", "0", "false", "No", "OFF"])
def test_a_value_that_means_no_leaves_the_engines_server_off(value: str | None) -> None:
    environ = {} if value is None else {ENABLED: value}
    assert engine.prepare(environ) is None
    assert environ == {}


def test_asked_for_it_writes_its_file_into_a_temporary_folder() -> None:
    port = free_port()
    environ = {ENABLED: "1", PORT: str(port)}
    assert engine.prepare(environ) == port
    assert Path(environ[CACHE_PATH]).is_dir()
    assert Path(environ[CACHE_PATH]) != Path.cwd()
    mine = {ENABLED: "1", PORT: str(port), CACHE_PATH: "/somewhere"}
    engine.prepare(mine)
    assert mine[CACHE_PATH] == "/somewhere"


@pytest.mark.parametrize("value", ["", "0", "65536", "web", "-1"])
def test_a_port_that_is_none_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=PORT):
        engine.prepare({ENABLED: "1", PORT: value})


def test_a_port_that_is_taken_stops_the_start() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104
        taken.listen()
        with pytest.raises(SettingsError, match="cannot listen"):
            engine.prepare({ENABLED: "1", PORT: str(taken.getsockname()[1])})


def test_only_the_engines_own_metrics_are_taken_over() -> None:
    page = b"# HELP bytewax_x items\n# TYPE bytewax_x counter\nbytewax_x 3\n# HELP python_info p\npython_info 1\n"
    with served(page) as port:
        assert engine.metrics_text(port) == page[: page.index(b"# HELP python")]


def test_a_server_that_is_away_is_said_in_a_comment() -> None:
    text = engine.metrics_text(free_port())
    assert text.startswith(b"# ")
    assert text.count(b"\n") == 1


@pytest.mark.parametrize("value", ["1", "0"])
def test_a_real_engine_tells_its_metrics_if_it_is_asked_to(tmp_path: Path, value: str) -> None:
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    (work / "small.py").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "small:flow"],
        cwd=work,
        env={
            ENABLED: value,
            PORT: str(free_port()),
            "PYTHONPATH": f"{work}:{Path(__file__).parents[2]}",
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ("bytewax_item_out_count" in done.stdout) == (value == "1")
    assert "python_info" not in done.stdout
    assert [path.name for path in work.iterdir() if path.name != "__pycache__"] == ["small.py"]
    assert [path.name for path in temporary.glob("*/*")] == (["dataflow.json"] if value == "1" else [])
