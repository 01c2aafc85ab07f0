"""Certificates as users have them, good and bad, and TLS in front of a server that speaks none.

`Certificates` are files of one private authority, made anew for each use: nothing of them outlives a test.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.services.servers.process import HOST

_CHUNK_BYTES = 1 << 16
_LIMIT_S = 30.0


class Certificates:
    """The files of a private authority in a directory: `ca.pem`, and for each name a certificate with its key."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, host: str = HOST, *, days: float = 1.0) -> Path:
        """A certificate for this host with its key, in one PEM file, as Kafka reads it, too; with negative `days` it ended so long ago."""
        end = datetime.now(UTC) + timedelta(days=days)
        certificate = self._authority.issue_cert(host, not_before=end - timedelta(days=30), not_after=end)
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        chain = [pem.bytes() for pem in certificate.cert_chain_pems]
        path = self._directory / f"{name}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + b"".join(chain))
        return path


class TlsFront:
    """A port that speaks TLS with this certificate and passes everything on to another port of this machine; open from the beginning.

    Args:
        port: its own; 0 chooses one.
    """

    def __init__(self, target_port: int, certificate: Path, port: int = 0) -> None:
        self._target_port = target_port
        self.connections = 0
        """Whose handshake was done; a client may still look at the certificate after that."""
        self.passed_bytes = 0
        """What was said after it, by either side."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls-front", daemon=True)
        self._thread.start()
        opening = asyncio.start_server(self._pass_on, HOST, port, ssl=self._context)
        self._server = asyncio.run_coroutine_threadsafe(opening, self._loop).result(_LIMIT_S)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection(HOST, self._target_port)
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer), return_exceptions=True)
        except OSError:
            writer.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(_CHUNK_BYTES):
                self.passed_bytes += len(piece)
                sink.write(piece)
                await sink.drain()
        finally:
            sink.close()

    def close(self) -> None:
        """Close the port and every connection."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_LIMIT_S)
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
