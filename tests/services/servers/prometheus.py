"""Prometheus and its `promtool`: those on the PATH, else Debian's package, unpacked into the cache and not installed.

apt checks the package's signature; unpacking needs no root, only Debian's or Ubuntu's tools. Elsewhere install Prometheus by the system's own means.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.services.servers import fetch
from tests.services.servers.process import HOST, Server, ServerError, answers_http, free_port, wait_until

PACKAGE = "prometheus"
_LIMIT_S = 300.0
_QUERY_LIMIT_S = 10.0
_CONFIGURATION = """\
global:
  scrape_interval: {interval_ms}ms
  evaluation_interval: {interval_ms}ms
rule_files: {rules}
scrape_configs:
"""
_JOB = """\
  - job_name: {job}
    static_configs:
      - targets: {targets}
"""


@cache
def program(name: str) -> Path:
    """`prometheus` or `promtool`; fetched if need be, in seconds.

    Raises:
        ServerError: it is neither here nor to be had.
    """
    if found := shutil.which(name):
        return Path(found)
    unpacked = fetch.cache_directory() / "debian" / PACKAGE
    if not unpacked.exists():
        _fetch(unpacked)
    _run([str(unpacked / "usr" / "bin" / name), "--version"], unpacked)
    return unpacked / "usr" / "bin" / name


def prepare() -> None:
    """Fetch both programs. Raises as `program` does."""
    program("prometheus")
    program("promtool")


def _fetch(unpacked: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ServerError("there is no Prometheus on the PATH, and no apt to fetch it with: install it")
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=unpacked.parent) as name:
        scratch = Path(name)
        try:
            _run(["apt-get", "download", PACKAGE], scratch)
        except ServerError:
            _run(["apt-get", "update"], scratch)  # a new machine has no list of packages
            _run(["apt-get", "download", PACKAGE], scratch)
        (package,) = scratch.glob("*.deb")
        _run(["dpkg-deb", "--extract", package.name, "whole"], scratch)
        if not unpacked.exists():
            (scratch / "whole").rename(unpacked)


def _run(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    if done.returncode != 0:
        raise ServerError(f"`{' '.join(command)}` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")


def promtool(*arguments: str) -> str:
    """What `promtool` prints.

    Raises:
        ServerError: it is missing, or what it checked is wrong; with its words.
    """
    done = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    if done.returncode != 0:
        raise ServerError(done.stdout + done.stderr)
    return done.stdout


class Prometheus(Server):
    """A Prometheus that scrapes what it is told to.

    Args:
        jobs: the addresses (`host:port`) of each job.
        rules: rule files that it evaluates.
        interval_s: seconds between two scrapes, and between two evaluations.
        directory, start_limit_s: as for `Server`.
    """

    name = "prometheus"

    def __init__(
        self,
        jobs: Mapping[str, Sequence[str]],
        *,
        rules: Sequence[Path] = (),
        interval_s: float = 1.0,
        directory: Path | None = None,
        start_limit_s: float = 60.0,
    ) -> None:
        super().__init__(directory=directory, start_limit_s=start_limit_s)
        self.port = free_port()
        self._jobs = jobs
        self._rules = rules
        self._interval_s = interval_s

    @property
    def url(self) -> str:
        """Its address, as `http://host:port`."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Fetch it, and write its configuration."""
        program("prometheus")
        text = _CONFIGURATION.format(
            interval_ms=round(self._interval_s * 1000), rules=json.dumps([str(r) for r in self._rules])
        )
        text += "".join(_JOB.format(job=job, targets=json.dumps(list(t))) for job, t in self._jobs.items())
        (self.directory / "prometheus.yaml").write_text(text)

    def command(self) -> Sequence[str]:
        """Prometheus's command line."""
        return (
            str(program("prometheus")),
            f"--config.file={self.directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        )

    def is_ready(self) -> bool:
        """Whether it says that it is."""
        return answers_http(self.port, "/-/ready")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression gives now; each has `metric` and `value`.

        Raises:
            ServerError: Prometheus refuses the expression; with its words.
        """
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def query_range(self, expression: str, seconds: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """The series that the expression gave over the last seconds; each has `metric` and `values`. Raises as `query` does."""
        now_s = time.time()
        window = {"start": now_s - seconds, "end": now_s, "step": step_s}
        result: list[dict[str, Any]] = self.ask("query_range", query=expression, **window)["result"]
        return result

    def wait_scraped(self, job: str, limit_s: float = 30.0) -> None:
        """Wait until every target of the job has been scraped at least twice. Raises `ServerError` if that takes longer."""
        wait_until(
            lambda: len(self.query(f'count_over_time(up{{job="{job}"}}[1h]) > 1 and up == 1')) == len(self._jobs[job]),
            f"job {job} is scraped",
            limit_s,
        )

    def ask(self, what: str, **parameters: object) -> Any:
        """The `data` of an answer of `/api/v1/{what}`. Raises as `query` does."""
        asked = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        )
        try:
            with urllib.request.urlopen(asked, timeout=_QUERY_LIMIT_S) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ServerError(f"{parameters}: {error.read().decode(errors='replace')}") from None
