"""A real browser without a window: Chromium, told what to do through its debugging pipe.

Nothing is fetched: Debian's package `chromium` or any Chrome on the PATH will do (`python -m tests.web prepare` installs the package where it can). The browser
has a profile of its own, ends with the `with` block, and the kernel ends it when the test process dies.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LIMIT_S = 30.0
"""How long a question to the browser, or a condition, may take."""
_POLL_S = 0.1
_GUARD = Path(__file__).parent.parent / "services" / "servers" / "guard.py"
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
)


class BrowserError(RuntimeError):
    """There is no browser, or it did not answer."""


def find_browser() -> str:
    """The browser's program. Raises BrowserError where there is none."""
    for program in PROGRAMS:
        if path := shutil.which(program):
            return path
    raise BrowserError(f"none of {', '.join(PROGRAMS)} is installed")


def prepare() -> str:
    """The browser's program, installed with apt where it is missing and this user may.

    Raises:
        BrowserError: it is missing, and could not be installed.
    """
    try:
        return find_browser()
    except BrowserError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BrowserError(f"apt-get {' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return find_browser()


class Browser:
    """One browser with one page open.

    Raises:
        BrowserError: there is none, or it does not answer.
    """

    def __init__(self) -> None:
        program = find_browser()
        self._profile = tempfile.TemporaryDirectory(prefix="neptune-browser-", ignore_cleanup_errors=True)
        own = [f"--user-data-dir={self._profile.name}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        command = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), program, *_OPTIONS, *own, "about:blank"]
        self._number = 0
        self._answers: dict[int, SimpleQueue[dict[str, Any]]] = {}
        self.said: list[str] = []
        """What the page wrote to its console, and what the browser refused it."""
        self._start(command)
        targets = self._ask("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _start(self, command: list[str]) -> None:
        """The browser reads its orders from descriptor 3 and answers on 4."""
        (read_3, self._orders), (answers, write_4) = os.pipe(), os.pipe()
        ours = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (read_3, write_4)]
        quiet = (os.POSIX_SPAWN_OPEN, 2, f"{self._profile.name}/log", os.O_WRONLY | os.O_CREAT, 0o600)
        actions = [(os.POSIX_SPAWN_DUP2, ours[0], 3), (os.POSIX_SPAWN_DUP2, ours[1], 4), quiet]
        self._pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions, setpgroup=0)
        for fd in (read_3, write_4, *ours):
            os.close(fd)
        threading.Thread(target=self._listen, args=[answers], name="browser", daemon=True).start()

    def _listen(self, answers: int) -> None:
        with os.fdopen(answers, "rb") as stream:
            rest = b""
            while chunk := os.read(stream.fileno(), 1 << 16):
                *whole, rest = (rest + chunk).split(b"\0")
                for text in whole:
                    self._hear(json.loads(text))

    def _hear(self, message: dict[str, Any]) -> None:
        if queue := self._answers.get(message.get("id", -1)):
            queue.put(message)
            return
        facts = message.get("params", {})
        if message.get("method") == "Log.entryAdded":
            self.said.append(facts["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.said.append(str(facts["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.said.append(str(facts["args"]))

    def _ask(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        self._number += 1
        number, queue = self._number, SimpleQueue[dict[str, Any]]()
        self._answers[number] = queue
        order = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        try:
            answer = queue.get(timeout=LIMIT_S)
        except Empty:
            raise BrowserError(f"{method}: no answer within {LIMIT_S:g} s") from None
        finally:
            del self._answers[number]
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """One order of the DevTools protocol to the page."""
        return self._ask(method, self._session, **params)

    def open(self, address: str) -> None:
        """Go to an address."""
        answer = self.call("Page.navigate", url=address)
        if "errorText" in answer:
            raise BrowserError(f"{address}: {answer['errorText']}")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def wait_for(self, script: str, limit_s: float = LIMIT_S) -> Any:
        """Wait until the expression is truthy; returns its value.

        Raises:
            BrowserError: it was not within `limit_s` seconds; with what the page shows.
        """
        deadline = time.monotonic() + limit_s
        while not (value := self.run(script)):
            if time.monotonic() > deadline:
                raise BrowserError(f"{script}: not within {limit_s:g} s; the page shows\n{self.text()}\n{self.said}")
            time.sleep(_POLL_S)
        return value

    def wait_text(self, words: str, selector: str = "body", limit_s: float = LIMIT_S) -> None:
        """Wait until these words are shown there."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"({place}?.innerText ?? '').includes({json.dumps(words)})", limit_s)

    def shape(
        self, width: int, height: int, *, is_dark: bool = False, scale: float = 1.0, is_phone: bool = False
    ) -> None:
        """The window's size in CSS pixels, and the colours that the person prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=is_phone
        )
        features: list[Mapping[str, str]] = [
            {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        """A screenshot of what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser and remove its profile."""
        os.close(self._orders)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._profile.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def in_ci() -> bool:
    """Whether nothing may be skipped."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def browser_or_skip() -> Iterator[Browser]:
    """What a fixture yields. Where there is no browser the test is skipped; in CI (`CI=true`) it fails."""
    try:
        browser = Browser()
    except BrowserError as error:
        if in_ci():
            pytest.fail(f"there is no browser: {error}")
        pytest.skip(f"there is no browser: {error}")
    with browser:
        yield browser
