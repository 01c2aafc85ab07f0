"""An HTTP proxy that does harm on request: what stands between Neptune and its catalog, and between Neptune and its storage.

Every request is shown to a *judge*, which answers with a Fault or with None for "pass it on". A fault falls either before the server has
heard of the request (`Kind.is_before`) or after it has answered, so that a client that hears nothing cannot know which. The head of a
request goes on as it came, Host included: it is part of what an S3 client signs. Bodies stream, connections stay open.

One thread with one event loop serves all proxies of a process. Nothing of Neptune, S3 or Iceberg may be known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.services.servers.process import HOST

_T = TypeVar("_T")
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES_MAX = 256 * 1024
"""A request line with a long query and every header fit in it many times over."""
_DRIP_BYTES, _DRIP_PAUSE_S, _DRIP_S_MAX = 128, 0.05, 2.0
"""A slow answer comes in pieces, for so long at the most; the rest follows at once."""
_STALL_S_MAX = 60.0
"""A stalled request is let go when its client leaves, or after this."""


class Kind(Enum):
    """What can be done to a request."""

    RESET_BEFORE = "reset before"
    ERROR_BEFORE = "error before apply"
    STALL_BEFORE = "stall before"
    LOST_AFTER = "answer lost after apply"
    ERROR_AFTER = "error after apply"
    TRUNCATED_AFTER = "truncated answer"
    GARBLED_AFTER = "garbled answer after apply"
    STALL_AFTER = "stall after apply"
    DRIP_AFTER = "slow drip"
    LATE = "applied late"
    """The server hears of it after `Fault.delay_s`, when the client may have gone; the answer goes to whoever is left."""
    WITNESSED = "passed on, then acted"
    """No harm to the request: `Fault.act` is called when its answer has been passed on."""

    @property
    def is_before(self) -> bool:
        """Whether the server never hears of the request."""
        return self in (Kind.RESET_BEFORE, Kind.ERROR_BEFORE, Kind.STALL_BEFORE)


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Fault:
    """One harm to one request."""

    kind: Kind
    status: int = 503
    """Of ERROR_BEFORE and ERROR_AFTER."""
    body: bytes = b'{"error": {"message": "by the fault proxy", "type": "Fault", "code": 503}}'
    content_type: str = "application/json"
    delay_s: float = 0.0
    """Of LATE."""
    act: Callable[[], None] = field(default=_nothing, compare=False)
    """Called, from the proxy's thread, at the moment of the fault; must not block."""

    @property
    def name(self) -> str:
        """The kind, with the status where it has one."""
        has_status = self.kind in (Kind.ERROR_BEFORE, Kind.ERROR_AFTER)
        return f"{self.status}: {self.kind.value}" if has_status else self.kind.value


@dataclass(frozen=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    """Names in lower case."""
    raw: bytes


Judge = Callable[[Request], Fault | None]


def no_fault(_request: Request) -> Fault | None:
    """The judge that passes everything on."""
    return None


class FaultProxy:
    """A proxy in front of one server; it listens on a port of its own of the loopback address.

    Args:
        target: `http://host:port`.

    Attributes:
        judge: decides on each request; to be replaced at any time.
        counts: faults done, by name.
    """

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        assert address.hostname
        assert address.port
        self._target = (address.hostname, address.port)
        self.judge: Judge = no_fault
        self.counts: Counter[str] = Counter()
        self.requests = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server = _await(asyncio.start_server(self._serve, HOST, 0, limit=_HEAD_BYTES_MAX))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        """`http://host:port` of the proxy."""
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """Stop listening and drop every connection."""
        _await(self._close())

    async def _close(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        exchange = _Connection(self, reader, writer, self._target)
        try:
            # The client or the server has gone, or speaks no HTTP: either way the line is closed.
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
                while await exchange.one():
                    pass
        finally:
            self._connections.discard(task)
            exchange.close()

    def judged(self, request: Request) -> Fault | None:
        """The judge's word, counted."""
        self.requests += 1
        fault = self.judge(request)
        if fault is not None:
            self.counts[fault.name] += 1
        return fault


class _Connection:
    """A client's connection, and the one to the server that goes with it."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: tuple[str, int],
    ) -> None:
        self._proxy, self._reader, self._writer, self._target = proxy, reader, writer, target
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def close(self) -> None:
        for writer in (self._writer, *(self._server or ())[1:]):
            writer.close()

    async def one(self) -> bool:
        """One request and its answer; whether the connection may be used again."""
        request = _request(await self._reader.readuntil(b"\r\n\r\n"))
        fault = self._proxy.judged(request)
        if fault and fault.kind.is_before:
            return await self._before(fault)
        if fault and fault.kind is Kind.LATE:
            return await self._late(fault, request)
        answers, server = await self._connect()
        server.write(request.raw)
        head = await self._send_body(request, answers, server)
        body = _answer_body(request, head, answers)
        if fault is None or fault.kind is Kind.WITNESSED:
            await self._pass_on(head, body)
            if fault:
                fault.act()
            return _keeps_open(head)
        content = b"".join([piece async for piece in body])
        fault.act()
        return await self._after(fault, head, content)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is None or self._server[0].at_eof():
            self._server = await asyncio.open_connection(*self._target, limit=_HEAD_BYTES_MAX)
        return self._server

    async def _send_body(self, request: Request, answers: asyncio.StreamReader, server: asyncio.StreamWriter) -> bytes:
        """The request's body to the server; returns the head of its final answer."""
        if request.headers.get("expect", "").lower() == "100-continue":
            interim = await answers.readuntil(b"\r\n\r\n")
            if _status(interim) != 100:
                return interim
            self._writer.write(interim)
        async for piece in _body(request.headers, self._reader):
            server.write(piece)
            await server.drain()
        while _status(head := await answers.readuntil(b"\r\n\r\n")) == 100:
            self._writer.write(head)
        return head

    async def _pass_on(self, head: bytes, body: AsyncIterator[bytes]) -> None:
        self._writer.write(head)
        async for piece in body:
            self._writer.write(piece)
            await self._writer.drain()
        await self._writer.drain()

    async def _before(self, fault: Fault) -> bool:
        fault.act()
        if fault.kind is Kind.STALL_BEFORE:
            await self._stall()
        elif fault.kind is Kind.ERROR_BEFORE:
            await self._answer(fault)
        else:
            self._reset()
        return False

    async def _late(self, fault: Fault, request: Request) -> bool:
        content = b"".join([piece async for piece in _body(request.headers, self._reader)])
        fault.act()
        await asyncio.sleep(fault.delay_s)
        answers, server = await self._connect()
        server.write(request.raw + content)
        head = await answers.readuntil(b"\r\n\r\n")
        await self._pass_on(head, _answer_body(request, head, answers))
        return False

    async def _after(self, fault: Fault, head: bytes, content: bytes) -> bool:
        match fault.kind:
            case Kind.ERROR_AFTER:
                await self._answer(fault)
            case Kind.GARBLED_AFTER:
                self._writer.write(_answer(200, b"<html>not what you asked for</html>", "text/html"))
                await self._writer.drain()
            case Kind.TRUNCATED_AFTER:
                self._writer.write(head + content[: len(content) // 2])
                await self._writer.drain()
            case Kind.DRIP_AFTER:
                await self._drip(head + content)
                return _keeps_open(head)
            case Kind.STALL_AFTER:
                await self._stall()
            case _:
                self._reset()
        return False

    async def _answer(self, fault: Fault) -> None:
        self._writer.write(_answer(fault.status, fault.body, fault.content_type))
        await self._writer.drain()
        # What is left of the request's body is read, or the close would reset the line before the answer is heard.
        self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                while await self._reader.read(_CHUNK_BYTES):
                    pass

    async def _stall(self) -> None:
        """Answer nothing until the client leaves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STALL_S_MAX):
                while await self._reader.read(_CHUNK_BYTES):
                    pass

    async def _drip(self, content: bytes) -> None:
        steps = int(_DRIP_S_MAX / _DRIP_PAUSE_S)
        slow = content[: steps * _DRIP_BYTES]
        for begin in range(0, len(slow), _DRIP_BYTES):
            self._writer.write(slow[begin : begin + _DRIP_BYTES])
            await self._writer.drain()
            await asyncio.sleep(_DRIP_PAUSE_S)
        self._writer.write(content[len(slow) :])
        await self._writer.drain()

    def _reset(self) -> None:
        """Close so that the client sees "connection reset", not an orderly end."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def _request(raw: bytes) -> Request:
    line, *rest = raw.decode("latin-1").split("\r\n")
    method, path, _version = line.split(" ", 2)
    return Request(method, path, _headers(rest), raw)


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


def _keeps_open(head: bytes) -> bool:
    headers = _headers(head.decode("latin-1").split("\r\n")[1:])
    is_framed = "content-length" in headers or "transfer-encoding" in headers or _status(head) in (204, 304)
    return is_framed and headers.get("connection", "").lower() != "close"


def _answer_body(request: Request, head: bytes, stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    headers = _headers(head.decode("latin-1").split("\r\n")[1:])
    if request.method == "HEAD" or _status(head) in (204, 304):
        return _body({}, stream)
    return _body(headers, stream, until_end=True)


async def _body(
    headers: dict[str, str], stream: asyncio.StreamReader, *, until_end: bool = False
) -> AsyncIterator[bytes]:
    """The pieces of a body as they come, chunk marks included.

    Args:
        until_end: an answer without a length goes on until its connection ends; a request without one has no body.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        async for piece in _chunks(stream):
            yield piece
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            piece = await stream.read(min(left, _CHUNK_BYTES))
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece
    elif until_end:
        while piece := await stream.read(_CHUNK_BYTES):
            yield piece


async def _chunks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        mark = await stream.readuntil(b"\r\n")
        size = int(mark.split(b";")[0], 16)
        if size == 0:
            break
        yield mark + await stream.readexactly(size + 2)
    yield mark
    while (line := await stream.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line


def _answer(status: int, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status} Fault\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of the one thread that serves all proxies."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="fault-proxy", daemon=True).start()
    return loop


def _await(what: Coroutine[Any, Any, _T]) -> _T:
    future: Future[_T] = asyncio.run_coroutine_threadsafe(what, _loop())
    return future.result(30.0)
