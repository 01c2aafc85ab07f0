"""compose.yaml is played: real servers with the environment that it gives them, two Neptunes, the simulator, Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compose import COMPOSE, PROFILES, ROOT, rendered
from tests.compose.composed import Composed
from tests.services.conftest import without_servers
from tests.services.servers import ServerError
from tests.services.servers import prometheus as prometheus_server
from tests.services.servers.platform import prepare

MESSAGES = 2000
PASSED_ON = ("PATH", "HOME", "NEPTUNE_TEST_CACHE", "NEPTUNE_TEST_TRINO", "JAVA_HOME")
"""All that the play sees of the environment: a setting of Neptune's in it must change nothing."""


pytestmark = pytest.mark.services


@pytest.fixture
def prometheus() -> None:
    """Prometheus and promtool are there."""
    try:
        prometheus_server.prepare()
    except ServerError as error:
        without_servers(error)


@pytest.mark.usefixtures("prometheus")
def test_prometheus_can_read_what_is_mounted(project: dict[str, Any], tmp_path: Path) -> None:
    files = Composed(project, "prometheus", tmp_path).files()
    prometheus_server.promtool("check", "config", str(files / "etc" / "prometheus" / "prometheus.yml"))


@pytest.mark.usefixtures("prometheus", "loader")
def test_two_neptunes_land_what_the_simulator_sends_and_prometheus_finds_both(tmp_path: Path) -> None:
    try:
        prepare()
    except ServerError as error:
        without_servers(error)
    project = rendered(COMPOSE, *PROFILES, environ={"SIMULATOR_RATE": "max"})
    project["services"]["neptune"]["environment"]["NEPTUNE_IDLE_TIMEOUT_S"] = (
        "2"  # as in neptune.env; else half a minute
    )
    (tmp_path / "project.json").write_text(json.dumps(project))
    told = play(tmp_path / "project.json", tmp_path)
    assert sum(told["committed"]) == MESSAGES
    assert min(told["committed"]) > 0, "one of the two had nothing to do"
    assert told["scraped"] == ["127.0.3.1:8080", "127.0.3.2:8080"]
    assert told["brokers seen from outside"] == ["localhost:9093"]
    assert told["counted by Trino"] in (None, MESSAGES)


def play(project: Path, folder: Path) -> dict[str, Any]:
    """What the play tells."""
    played = subprocess.run(
        [*of_its_own(), sys.executable, "-m", "tests.compose.play", project, folder, str(MESSAGES)],
        cwd=ROOT,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert played.returncode == 0, played.stderr
    told: dict[str, Any] = json.loads(played.stdout)
    return told


def of_its_own() -> list[str]:
    """What gives a program a network and mounts of its own; the test is skipped where that is not allowed."""
    words = ["unshare", "--net", "--mount"]
    tools = [name for name in ("unshare", "ip", "mount") if shutil.which(name) is None]
    if tools or subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
        without_servers(
            ServerError(f"a network namespace needs Linux, root, and: {' '.join(tools) or 'the right to make one'}")
        )
    return words
