"""The engine's own metrics in Neptune's scrape, where the engine's server is asked for.

Bytewax keeps its numbers in a registry of its Rust part, which Python cannot reach: only its HTTP server tells them. That server listens on all
addresses, turns on at any value of its variable, also at 0, and writes a file into the working directory. So it stays off unless
BYTEWAX_DATAFLOW_API_ENABLED asks for it by a value that means yes; the file then goes into a temporary folder, and its metrics into `/metrics`.

If its port were taken the engine would say nothing, and another process's numbers would be shown: that stops the start.
"""

from __future__ import annotations

import atexit
import http.client
import shutil
import socket
import tempfile
from collections.abc import MutableMapping

from neptune_flow.errors import SettingsError

ENABLED = "BYTEWAX_DATAFLOW_API_ENABLED"
PORT = "BYTEWAX_DATAFLOW_API_PORT"
CACHE_PATH = "BYTEWAX_DATAFLOW_API_CACHE_PATH"
PORT_DEFAULT = 3030
ANSWER_S_MAX = 1.0
ANSWER_BYTES_MAX = 4 << 20
_NO = ("", "0", "false", "no", "off")
_PREFIX = "bytewax_"
"""The server adds what Python's default registry holds; that is not the engine's."""


def prepare(environ: MutableMapping[str, str]) -> int | None:
    """Make the environment what the engine should read; returns the port at which its metrics will be, None where they are off.

    Raises:
        SettingsError: the port is none, or is taken.
    """
    if environ.get(ENABLED, "").strip().lower() in _NO:
        environ.pop(ENABLED, None)
        return None
    port = _port(environ.get(PORT, str(PORT_DEFAULT)))
    if CACHE_PATH not in environ:
        environ[CACHE_PATH] = tempfile.mkdtemp(prefix="neptune-engine-")
        atexit.register(shutil.rmtree, environ[CACHE_PATH], ignore_errors=True)
    return port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise SettingsError(f"{PORT}={text!r}: allowed is a port from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", int(text)))  # noqa: S104 - where the engine will listen
        except OSError as error:
            raise SettingsError(
                f"{PORT}={text}: the engine's server cannot listen there: {error.strerror}",
                hint=f"give each process a port of its own, or leave {ENABLED} unset",
            ) from error
    return int(text)


def metrics_text(port: int) -> bytes:
    """The engine's metrics in Prometheus's text format; a comment that says so where they cannot be had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse().read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        return f"# the engine's metrics could not be had: {type(error).__name__}\n".encode()
    finally:
        connection.close()
    lines = answer.decode(errors="replace").splitlines()
    return "".join(f"{line}\n" for line in lines if _name_of(line).startswith(_PREFIX)).encode()


def _name_of(line: str) -> str:
    """The metric that a line of the text format is about."""
    words = line.split(maxsplit=3)
    return words[2] if line.startswith("# ") and len(words) > 2 else line
