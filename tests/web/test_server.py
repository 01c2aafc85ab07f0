"""The server over real connections: what it answers, what it refuses, and what it does not let anybody take up."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from neptune_flow.errors import SettingsError
from neptune_flow.settings import Settings
from neptune_flow.vitals import memory_bytes
from neptune_flow.web import Answer, Server, open_server
from neptune_flow.web import server as module
from tests.services.servers.process import free_port

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 30.0
ELSEWHERE = "127.0.0.2"
"""Another address than the one from which these tests ask."""


def fails() -> Answer:
    raise RuntimeError("a secret of the inside")


ROUTES = {
    "/word": lambda: (200, "text/plain; charset=utf-8", "Größe\n".encode()),
    "/away": lambda: (503, "text/plain", b"away\n"),
    "/fails": fails,
}


@pytest.fixture
def server() -> Iterator[Server]:
    with open_server("127.0.0.1", 0, ROUTES, {"/word": "default-src 'self'"}) as own:
        yield own


def ask(
    server: Server, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_a_route_is_answered_with_its_status_type_and_body(server: Server) -> None:
    answer, body = ask(server, "/word?ignored=1")
    assert (answer.status, answer.headers["Content-Type"], body.decode()) == (
        200,
        "text/plain; charset=utf-8",
        "Größe\n",
    )
    assert ask(server, "/away")[0].status == 503


def test_head_answers_like_get_without_the_body(server: Server) -> None:
    answer, body = ask(server, "/word", "HEAD")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "8", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
def test_nothing_is_taken_in(server: Server, method: str) -> None:
    answer, _ = ask(server, "/word", method, b"x" if method in ("POST", "PUT", "PATCH") else None)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/word/", "/../word", "/%2e%2e/etc/passwd", "/pyproject.toml", "/WORD"])
def test_there_is_no_folder_behind_it(server: Server, path: str) -> None:
    assert ask(server, path)[0].status == 404


def test_the_name_by_which_it_is_asked_changes_nothing_and_comes_back_nowhere(server: Server) -> None:
    answer, body = ask(server, "/word", headers={"Host": "elsewhere.example", "X-Forwarded-Host": "elsewhere.example"})
    assert answer.status == 200
    assert "elsewhere" not in str(answer.headers) + body.decode()


def test_every_answer_tells_browsers_to_keep_run_and_embed_nothing(server: Server) -> None:
    for path, policy in (("/word", "default-src 'self'"), ("/away", module.LOCKED), ("/nothing", module.LOCKED)):
        answer, _ = ask(server, path)
        assert answer.headers["Content-Security-Policy"] == policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_route_that_fails_tells_the_log_and_not_the_asker(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    answer, body = ask(server, "/fails")
    assert answer.status == 500
    assert b"secret" not in body
    assert b"Traceback" not in body
    assert ask(server, "/word")[0].status == 200


def test_a_request_that_is_too_large_is_refused(server: Server) -> None:
    assert ask(server, "/word", headers={"X": "x" * module.HEADER_BYTES_MAX})[0].status == 431
    assert ask(server, "/word", "POST", b"x" * (module.BODY_BYTES_MAX + 1))[0].status == 413


def test_what_is_no_http_is_refused_and_harms_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as stranger:
        stranger.sendall(b"\x16\x03\x01\x00\xff\r\n\r\n")
        assert b" 400 " in stranger.recv(1000)
    assert ask(server, "/word")[0].status == 200


def test_a_connection_is_good_for_one_request_and_what_was_sent_ahead_is_not_answered(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as eager:
        eager.sendall(b"GET /word HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" * 20)
        said = _all_of(eager)
    assert said.count(b"HTTP/1.1 200 ") == 1
    assert b"\r\nConnection: close\r\n" in said


@pytest.mark.parametrize("drip", [b"", b"x"], ids=["silent", "a byte now and then"])
def test_a_connection_without_a_request_is_closed_however_busy_it_is(
    monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr(module, "CONNECTION_S_MAX", 1.5)
    with (
        open_server("127.0.0.1", 0, ROUTES) as server,
        socket.create_connection(("127.0.0.1", server.port), LIMIT_S) as slow,
    ):
        slow.sendall(b"GET /")
        slow.settimeout(0.1)
        deadline_s = time.monotonic() + LIMIT_S
        while not _is_closed(slow, drip):
            assert time.monotonic() < deadline_s


@pytest.mark.parametrize(
    "first", [b"GET /word HTTP/1.1\r\nX: ", b"GET /word HTTP/1.1\r\n\r\n"], ids=["slow", "in a hurry"]
)
def test_strangers_who_take_every_place_again_and_again_keep_nobody_from_an_answer(
    server: Server, first: bytes
) -> None:
    with _crowd(server, 3 * module.CONNECTIONS_MAX, first, b"x") as crowd:
        for _ in range(20):
            began_s = time.monotonic()
            assert ask(server, "/word")[0].status == 200
            assert time.monotonic() - began_s < 5
            time.sleep(0.05)
        assert crowd.connections > 4 * module.CONNECTIONS_MAX, "they did come again"


def test_strangers_who_ask_and_do_not_read_cost_little_memory_and_keep_nobody_from_an_answer() -> None:
    long = b"x" * (1 << 20)
    routes = {**ROUTES, "/long": lambda: (200, "text/plain", long)}
    ahead = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n" * 400
    with open_server("127.0.0.1", 0, routes) as server:
        assert ask(server, "/long")[1] == long
        before, most = _rss_bytes(), 0
        with _crowd(server, 2 * module.CONNECTIONS_MAX, ahead, ahead):
            for _ in range(20):
                assert ask(server, "/word")[0].status == 200
                most = max(most, _rss_bytes())
                time.sleep(0.05)
    assert most - before < 8 * module.UNSENT_BYTES_MAX


class _Crowd:
    """Strangers who connect, say `first`, then `more` ten times a second, read nothing, and come again when they are turned away."""

    def __init__(self, port: int, size: int, first: bytes, more: bytes) -> None:
        self.connections = 0
        self._port, self._size, self._first, self._more = port, size, first, more
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        strangers: dict[int, socket.socket] = {}
        while not self._stop.wait(0.1):
            for number in range(self._size):
                try:
                    if number not in strangers:
                        strangers[number] = self._come()
                    strangers[number].send(self._more)
                except BlockingIOError:
                    continue
                except OSError:
                    if gone := strangers.pop(number, None):
                        gone.close()
        for stranger in strangers.values():
            stranger.close()

    def _come(self) -> socket.socket:
        stranger = socket.socket()
        # Small, so that an answer that nobody reads stays with the server.
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stranger.bind((ELSEWHERE, 0))
        stranger.settimeout(1)
        stranger.connect(("127.0.0.1", self._port))
        self.connections += 1
        stranger.setblocking(False)
        stranger.send(self._first)
        return stranger

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def _crowd(server: Server, size: int, first: bytes, more: bytes) -> Iterator[_Crowd]:
    crowd = _Crowd(server.port, size, first, more)
    try:
        yield crowd
    finally:
        crowd.end()


def _is_closed(connection: socket.socket, drip: bytes) -> bool:
    try:
        connection.send(drip)
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _all_of(connection: socket.socket) -> bytes:
    said = b""
    try:
        while piece := connection.recv(1 << 16):
            said += piece
    except ConnectionResetError:
        pass
    return said


def _rss_bytes() -> int:
    found = memory_bytes()
    assert found is not None, "Linux alone tells it"
    return found


def test_a_port_that_is_in_use_is_a_setting_that_is_wrong(server: Server) -> None:
    with pytest.raises(SettingsError, match=f"NEPTUNE_HTTP_PORT is {server.port}"):
        open_server("127.0.0.1", server.port, ROUTES)


def test_an_address_of_another_machine_is_a_setting_that_is_wrong() -> None:
    with pytest.raises(SettingsError, match=r"NEPTUNE_HTTP_HOST 192\.0\.2\.1"):
        open_server("192.0.2.1", 0, ROUTES)
    with pytest.raises(SettingsError, match="NEPTUNE_HTTP_HOST is 'no address'"):
        open_server("no address", 0, ROUTES)


def test_it_answers_on_ipv6_too() -> None:
    try:
        server = open_server("::1", 0, ROUTES)
    except SettingsError as error:
        pytest.skip(f"this machine has no IPv6: {error.detail}")
    with server:
        connection = http.client.HTTPConnection("::1", server.port, timeout=LIMIT_S)
        connection.request("GET", "/word")
        assert connection.getresponse().status == 200
        connection.close()


def test_the_process_does_not_begin_where_its_port_is_taken(server: Server) -> None:
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("NEPTUNE_", "KAFKA_"))}
    own = {"NEPTUNE_HTTP_PORT": str(server.port), "NEPTUNE_HTTP_HOST": "127.0.0.1", "NEPTUNE_LOG_FORMAT": "json"}
    began_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "dataflow:flow"],
        cwd=ROOT,
        env={**environment, **own},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 78, ended.stderr
    (said,) = [json.loads(line) for line in ended.stderr.splitlines()]
    assert (said["event"], said["error"]) == ("stopped", "SettingsError")
    assert f"NEPTUNE_HTTP_PORT is {server.port}" in said["reason"]
    assert time.monotonic() - began_s < LIMIT_S


def test_a_kubernetes_service_called_neptune_http_is_no_port() -> None:
    assert Settings.load({"NEPTUNE_HTTP_PORT": "tcp://10.0.0.1:8080"}).http_port == 8080
    with pytest.raises(SettingsError, match="NEPTUNE_HTTP_PORT is '70000'; allowed: 0 to 65,535"):
        Settings.load({"NEPTUNE_HTTP_PORT": "70000"})


@pytest.mark.parametrize("is_on", [True, False], ids=["with a port", "turned off"])
def test_threads_for_http_and_probes_are_there_only_with_a_port(is_on: bool) -> None:
    script = "import threading; from neptune_flow import launch; launch.flow(); print([t.name for t in threading.enumerate()])"
    environment = {n: v for n, v in os.environ.items() if not n.startswith(("NEPTUNE_", "KAFKA_"))}
    own = {"NEPTUNE_HTTP_PORT": str(free_port()) if is_on else "0", "NEPTUNE_HTTP_HOST": "127.0.0.1"}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**environment, **own},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert [name in ended.stdout for name in ("'http'", "'health'", "'probe of kafka'")] == [is_on] * 3
    assert ("http_open" in ended.stderr) is is_on
