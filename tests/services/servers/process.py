"""A server run as a plain process: what Kafka, the object storages and the catalog share.

A `Server` owns a directory, ports on the loopback address and one operating-system process. It is started and waited
for until it answers, stopped, killed, frozen and restarted on the same ports with the same data. The process is
always ended by its id, and the kernel ends it when this Python process dies, however it dies (see `guard`).
No server's own command line or protocol may live here.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

HOST = "127.0.0.1"
_GUARD = Path(__file__).with_name("guard.py")
_POLL_S = 0.05
_FREEZE_POLLS = 400
_LOG_TAIL_LINES = 40
# Below the range from which Linux, macOS and Windows take the ports of outgoing connections: a server that is down for
# a moment finds its port free again.
# The workers of one test run, which do not know what the others have handed out, share it among them.
_PORTS = range(
    20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
    32_000,
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
_issued: set[int] = set()


class ServerError(RuntimeError):
    """A server could not be fetched, did not start, or was asked for what its state does not allow."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on and that this process has not handed out before.

    Raises:
        ServerError: a thousand random ports were all taken.
    """
    for port in random.SystemRandom().sample(_PORTS, min(1000, len(_PORTS))):
        if port not in _issued and _can_bind(port):
            _issued.add(port)
            return port
    raise ServerError(f"no free port on {HOST}: a thousand of {_PORTS.start}-{_PORTS.stop - 1} are taken")


def _can_bind(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
        return True


def accepts_connections(port: int, timeout_s: float = 1.0) -> bool:
    """Whether something listens on this port of the loopback address."""
    try:
        with socket.create_connection((HOST, port), timeout_s):
            return True
    except OSError:
        return False


def answers_http(port: int, path: str, timeout_s: float = 2.0) -> bool:
    """Whether `GET path` on this port is answered with status 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Wait until the condition holds.

    Raises:
        ServerError: it did not hold within `limit_s` seconds; the message names `what`.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {limit_s:g} s")
        time.sleep(_POLL_S)


@cache
def _spawner(pid: int) -> ThreadPoolExecutor:
    """The thread that starts every server of process `pid`.

    The kernel's "die with the parent" is bound to the *thread* that started the child, so that thread must live as
    long as the process does; a test's own worker thread may not.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-spawner")


def _spawn(command: Sequence[str], env: Mapping[str, str], cwd: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    guarded = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            process_group=0,
        )

    return _spawner(os.getpid()).submit(start).result()


class Server(ABC):
    """One server process with its own directory and ports.

    Args:
        directory: where its data, configuration and log live; it is kept. None means a temporary one, which `close`
            removes.
        start_limit_s: seconds within which the server must answer after its process was started.

    As a context manager it starts on entry and closes on exit.
    """

    name: ClassVar[str]

    def __init__(self, *, directory: Path | None = None, start_limit_s: float = 90.0) -> None:
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix=f"neptune-{self.name}-", ignore_cleanup_errors=True)
            directory = Path(self._temporary.name)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.start_limit_s = start_limit_s
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program's absolute path and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers a request of its own protocol now."""

    def environment(self) -> Mapping[str, str]:
        """What is added to this process's environment for the server."""
        return {}

    def prepare(self) -> None:  # noqa: B027  (most servers have something to prepare; none must)
        """Fetch what the server needs and write its configuration; called before each start."""

    @property
    def log(self) -> Path:
        """The file that holds the server's output, over all its starts."""
        return self.directory / "server.log"

    @property
    def is_running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the server's process.

        Raises:
            ServerError: it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            ServerError: it runs already, its files cannot be fetched, its process ended, or it did not answer within
                `start_limit_s`; the message ends with the tail of its log.
        """
        if self.is_running:
            raise ServerError(f"{self.name} runs already, as process {self.pid}")
        self.prepare()
        with self.log.open("ab") as log:
            self._process = _spawn(self.command(), {**os.environ, **self.environment()}, self.directory, log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_ready(self) -> None:
        try:
            wait_until(lambda: not self.is_running or self.is_ready(), f"{self.name} answers", self.start_limit_s)
        except ServerError as error:
            raise ServerError(f"{error}\n{self.log_tail()}") from None
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ServerError(f"{self.name} ended with status {status} before it answered\n{self.log_tail()}")

    def stop(self, limit_s: float = 30.0) -> None:
        """End the process with SIGTERM, with SIGKILL after `limit_s` seconds; data and ports stay for a next start."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process with SIGKILL; data and ports stay for a next start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> Self:
        """Stop if running, then start on the same ports with the same data. Raises as `start` does."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the process with SIGSTOP: connections stay open and nothing is answered. Raises as `pid` does."""
        os.kill(self.pid, signal.SIGSTOP)
        # One thread takes the signal and stops the others; on a busy machine those go on answering for a while.
        for _ in range(_FREEZE_POLLS):
            if not _is_running(self.pid):
                return
            time.sleep(_POLL_S)
        raise ServerError(f"process {self.pid} does not stand still")

    def resume(self) -> None:
        """Let a frozen process go on. One that has ended is left alone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze the process for the length of a `with` block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """Stop the server and remove its directory, unless that was given from outside."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines of the server's output, for error messages."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- last lines of {self.log} ---", *text.splitlines()[-lines:]])

    def cpu_s(self) -> float:
        """CPU seconds, user and system, that the process has used since its start (Linux). Raises as `pid` does."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Bytes of memory that the process holds now (Linux). Raises as `pid` does."""
        return self._status_bytes("VmRSS")

    def rss_peak_bytes(self) -> int:
        """The most bytes of memory that the process has held since its start (Linux). Raises as `pid` does."""
        return self._status_bytes("VmHWM")

    def _status_bytes(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ServerError(f"{self.name}: no {field} in its process status")


def _is_running(pid: int) -> bool:
    """Whether any thread of the process is not stopped; where the system does not tell, none is."""
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(task.read_text().rpartition(")")[2].split()[0])
    return any(state not in "TtZX" for state in states)
