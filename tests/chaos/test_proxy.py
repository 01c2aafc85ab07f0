"""The fault proxy in front of a small server that counts what it hears."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.chaos.proxy import Fault, FaultProxy, Kind, Request

BODY = bytes(range(256)) * 1024
TIMEOUT_S = 20.0


class Echo(BaseHTTPRequestHandler):
    """Answers a body with itself, and anything else with BODY; `heard` holds method, path and Host of every request."""

    protocol_version = "HTTP/1.1"
    heard: list[tuple[str, str, str]]

    def _answer(self) -> None:
        self.heard.append((self.command, self.path, self.headers["Host"]))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = self._chunks()
        else:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    do_GET = do_PUT = do_POST = do_HEAD = _answer  # noqa: N815 the names that the base class asks for

    def log_message(self, *_args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def heard() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def proxy(heard: list[tuple[str, str, str]]) -> Iterator[FaultProxy]:
    handler = type("Handler", (Echo,), {"heard": heard})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with FaultProxy(f"http://127.0.0.1:{server.server_address[1]}") as own:
            yield own
        server.shutdown()
        thread.join()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=TIMEOUT_S)
    yield connection
    connection.close()


def always(proxy: FaultProxy, fault: Fault) -> None:
    proxy.judge = lambda _request: fault


def test_without_a_fault_requests_pass_unchanged_over_one_connection(
    proxy: FaultProxy, client: http.client.HTTPConnection, heard: list[tuple[str, str, str]]
) -> None:
    for method, body, expected in (("GET", None, BODY), ("PUT", BODY[:777], BODY[:777]), ("HEAD", None, b"")):
        client.request(method, "/a?b=c", body, {"Host": "signed.example:9"})
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, expected)
    assert heard == [(method, "/a?b=c", "signed.example:9") for method in ("GET", "PUT", "HEAD")]
    assert not proxy.counts


def test_a_body_in_chunks_passes_unchanged(client: http.client.HTTPConnection) -> None:
    client.request("PUT", "/", iter([BODY[:1000], BODY[1000:]]), encode_chunked=True)
    assert client.getresponse().read() == BODY


def exchange(client: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """A request and its answer; a reset may come while the body is still being sent."""
    client.request("POST", "/", BODY)
    return client.getresponse()


@pytest.mark.parametrize(
    ("kind", "applied"), [(Kind.RESET_BEFORE, 0), (Kind.LOST_AFTER, 1)], ids=lambda value: getattr(value, "value", "")
)
def test_a_connection_that_is_reset_tells_the_client_nothing(
    proxy: FaultProxy,
    client: http.client.HTTPConnection,
    heard: list[tuple[str, str, str]],
    kind: Kind,
    applied: int,
) -> None:
    acted = threading.Event()
    always(proxy, Fault(kind, act=acted.set))
    with pytest.raises(ConnectionError):
        exchange(client)
    assert acted.wait(10)
    assert len(heard) == applied
    assert proxy.counts == {kind.value: 1}


@pytest.mark.parametrize(("kind", "applied"), [(Kind.ERROR_BEFORE, 0), (Kind.ERROR_AFTER, 1)])
def test_an_error_is_answered_whether_or_not_the_server_has_heard(
    proxy: FaultProxy,
    client: http.client.HTTPConnection,
    heard: list[tuple[str, str, str]],
    kind: Kind,
    applied: int,
) -> None:
    always(proxy, Fault(kind, 409, b"no", "text/plain"))
    client.request("POST", "/", BODY)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (409, b"no")
    assert len(heard) == applied
    assert proxy.counts == {f"409: {kind.value}": 1}


def test_a_truncated_answer_ends_in_the_middle(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    always(proxy, Fault(Kind.TRUNCATED_AFTER))
    client.request("GET", "/")
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.getresponse().read()
    assert caught.value.partial == BODY[: len(BODY) // 2]


def test_a_garbled_answer_is_no_answer_to_the_question(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    always(proxy, Fault(Kind.GARBLED_AFTER))
    client.request("GET", "/")
    answer = client.getresponse()
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/html")


def test_a_slow_drip_is_whole_in_the_end(proxy: FaultProxy, client: http.client.HTTPConnection) -> None:
    always(proxy, Fault(Kind.DRIP_AFTER))
    client.request("GET", "/")
    assert client.getresponse().read() == BODY


@pytest.mark.parametrize(("kind", "applied"), [(Kind.STALL_BEFORE, 0), (Kind.STALL_AFTER, 1)])
def test_a_stall_outlasts_the_clients_patience(
    proxy: FaultProxy, heard: list[tuple[str, str, str]], kind: Kind, applied: int
) -> None:
    acted = threading.Event()
    always(proxy, Fault(kind, act=acted.set))
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=1.0)
    client.request("GET", "/")
    with pytest.raises(TimeoutError):
        client.getresponse()
    assert acted.wait(TIMEOUT_S)
    assert len(heard) == applied
    client.close()


def test_a_late_request_arrives_although_its_client_has_gone(
    proxy: FaultProxy, client: http.client.HTTPConnection, heard: list[tuple[str, str, str]]
) -> None:
    taken, passed = threading.Event(), threading.Event()
    always(proxy, Fault(Kind.LATE, delay_s=0.2, act=taken.set))
    client.request("POST", "/late", BODY)
    assert taken.wait(TIMEOUT_S)
    assert heard == []
    client.close()

    def witness(request: Request) -> Fault:
        return Fault(Kind.WITNESSED, act=passed.set)

    proxy.judge = witness
    while ("POST", "/late") not in [(method, path) for method, path, _ in heard]:
        other = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=TIMEOUT_S)
        other.request("GET", "/other")
        assert other.getresponse().read() == BODY
        other.close()
    assert passed.is_set()
