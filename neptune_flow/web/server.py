"""A small HTTP server for a fixed table of routes, in threads beside the flow that the process does not wait for at its end.

    GET or HEAD of a path in the table ─► its route is called ─► (status, content type, body)        anything else: 404, 405

It takes nothing in: no other method, no query, no body is looked at; no file system is behind it. A route must answer from memory; one that raises
is a 500, and is logged.

Whoever reaches the port may send what he likes, and must neither keep others from an answer nor make the process grow. So a connection is good for
one request and its answer, and both together may take CONNECTION_S_MAX, however busy it is meanwhile: bytes that drip, an answer that nobody reads and
requests sent ahead end with it. Where all places are taken, or too much waits to be sent, a connection that is not being answered goes: the oldest of
the address that holds most. So who takes every place takes them from himself.

The port is taken when the server is opened, before anything else begins: one that is in use is a setting that is wrong.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer

from neptune_flow.errors import SettingsError
from neptune_flow.telemetry import get_logger

log = get_logger("neptune.web")

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Route = Callable[[], Answer]

THREADS = 2
"""An answer takes a millisecond or two of the interpreter, which the flow needs."""
CONNECTIONS_MAX = 64
CONNECTION_S_MAX = 10.0
"""From its opening: a request and its answer take milliseconds."""
HEADER_BYTES_MAX = 8 << 10
BODY_BYTES_MAX = 1 << 10
"""No request needs one."""
UNSENT_BYTES_MAX = 8 << 20
"""Of all answers together; one is some ten thousand bytes, of a topic with thousands of partitions a million."""

HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
LOCKED = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The content security policy of everything that brings none of its own: a browser loads and runs nothing from it."""

Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _OnlyRequest(HTTPRequestParser):  # type: ignore[misc]
    """The one request of its connection: what follows it is not looked at, and its answer ends the connection."""

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if not self.completed or self.empty:
            return taken
        self.headers["CONNECTION"] = "close"
        return len(data)


class _Connection(HTTPChannel):  # type: ignore[misc]
    parser_class = _OnlyRequest

    # One that is closed in the middle of a turn must not be waited for in it: its descriptor may be another's by then.
    def readable(self) -> bool:
        return bool(self.connected and super().readable())

    def writable(self) -> bool:
        return bool(self.connected and super().writable())


class _Listener(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's loop asks `readable` at every turn, at least once a second."""

    channel_class = _Connection

    def readable(self) -> bool:
        """Whether another connection may be taken; makes room for it."""
        began_s_min = time.time() - CONNECTION_S_MAX
        for idle in self._idle():
            if idle.creation_time < began_s_min:
                idle.handle_close()
        while self._is_crowded():
            ((crowd, _),) = Counter(c.addr[0] for c in self.active_channels.values()).most_common(1)
            oldest = next((c for c in self._idle() if c.addr[0] == crowd), None)
            if oldest is None:
                # They are being answered, which takes milliseconds.
                break
            oldest.handle_close()
        return len(self.active_channels) < CONNECTIONS_MAX

    def _idle(self) -> list[_Connection]:
        """Those with nothing to answer, oldest first. Only this thread gives a connection something to answer, so they stay idle here."""
        return [c for c in self.active_channels.values() if not c.requests]

    def _is_crowded(self) -> bool:
        unsent_bytes = sum(c.total_outbufs_len for c in self.active_channels.values())
        return len(self.active_channels) >= CONNECTIONS_MAX or unsent_bytes > UNSENT_BYTES_MAX


class Server:
    """Serves until the process ends, or until it is closed."""

    def __init__(self, listening: socket.socket, routes: Mapping[str, Route], policies: Mapping[str, str]) -> None:
        """`policies`: the content security policy of a path, where it is not LOCKED."""
        self._routes = routes
        self._policies = policies
        self.port: int = listening.getsockname()[1]
        # Clients that come at once wait their turn; that is nothing to log.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._server = _Listener(
            self._answer,
            _sock=listening,
            bind_socket=False,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            sockets=[listening],
            threads=THREADS,
            max_request_header_size=HEADER_BYTES_MAX,
            max_request_body_size=BODY_BYTES_MAX,
            # Never by way of a file: the file system may be read-only.
            outbuf_overflow=UNSENT_BYTES_MAX,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident="neptune",
        )
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        status, content_type, body = self._call(path, method)
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", self._policies.get(path, LOCKED)),
            *HEADERS,
            *([("Allow", "GET, HEAD")] if status == HTTPStatus.METHOD_NOT_ALLOWED else []),
        ]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [] if method == "HEAD" else [body]

    def _call(self, path: str, method: str) -> Answer:
        route = self._routes.get(path)
        if route is None:
            return plain(HTTPStatus.NOT_FOUND, "there is nothing here")
        if method not in ("GET", "HEAD"):
            return plain(HTTPStatus.METHOD_NOT_ALLOWED, "this only answers GET and HEAD")
        try:
            return route()
        except Exception:
            log.exception("http_failed", path=path)
            return plain(HTTPStatus.INTERNAL_SERVER_ERROR, "the answer could not be made; the log says why")

    def close(self) -> None:
        """Close the port and every connection; may be called again."""
        if not self._thread.is_alive():
            return
        with suppress(OSError):
            # A loop that is awake already may have closed the trigger, too, before this thread gets to wake it.
            self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._server._map, ignore_all=True))
        self._thread.join()
        self._server.task_dispatcher.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plain(status: int, text: str) -> Answer:
    """An answer of one line."""
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def open_server(host: str, port: int, routes: Mapping[str, Route], policies: Mapping[str, str] | None = None) -> Server:
    """Take the port and serve.

    Raises:
        SettingsError: the address is none of this machine's, or the port is in use or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise SettingsError(
            f"NEPTUNE_HTTP_HOST is {host!r}; allowed: an address of this machine", detail=str(error.strerror)
        ) from None
    try:
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise SettingsError(
            f"NEPTUNE_HTTP_PORT is {port}, which cannot be opened on NEPTUNE_HTTP_HOST {host}",
            detail=str(error.strerror or error),
            hint="choose another port, one for each process on a machine; 0 turns HTTP off",
        ) from None
    server = Server(listening, routes, policies or {})
    log.info("http_open", host=host, port=server.port)
    return server
