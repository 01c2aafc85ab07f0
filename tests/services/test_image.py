"""The image at work as a hardened platform runs it, against real servers: read-only, without rights, as process 1 (`tests.image.container`)."""

from __future__ import annotations

import re
import urllib.request
from contextlib import closing
from itertools import islice
from pathlib import Path

from tests.image.conftest import image
from tests.image.container import Container, Image
from tests.services.neptune import wait_for
from tests.services.servers.process import free_port
from tests.services.stage import Stage
from tests.services.traffic import live_fleet

__all__ = ["image"]
EXEC = ("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])")
"""Python becomes the program that follows."""
MESSAGES = 2_000
NOT_YET = {
    f"NEPTUNE_{limit}": "3600" for limit in ("WINDOW_S", "ALLOWED_LATENESS_S", "IDLE_TIMEOUT_S", "COMMIT_AGE_S_MAX")
}
"""Settings with which nothing is committed before the drain."""


def test_a_container_becomes_healthy_and_when_it_is_stopped_commits_what_it_has_read(
    image: Image, stage: Stage, tmp_path: Path, seed: int
) -> None:
    kind, *check = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    port = free_port()
    settings = stage.settings(NEPTUNE_HTTP_PORT=str(port), **NOT_YET)
    with closing(Container(image, tmp_path / "container", **settings)) as container:
        neptune = stage.start(command=[*EXEC, *container.command])
        neptune.wait_event("http_open")
        early = container.execute(*check)
        assert (early.returncode, early.stderr.split()[:1]) == (1, ["starting"]), "there is no topic yet"
        stage.create_topic(4)
        wait_for(lambda: container.execute(*check).returncode == 0, "the health check is content", 60)
        traffic = stage.traffic()
        traffic.send(islice(live_fleet(seed, 400), MESSAGES))
        neptune.wait_for(lambda: consumed(port) == MESSAGES, "all is read")
        assert neptune.total("rows") == 0
        assert neptune.terminate() == 0, neptune.tail()
    assert [event["signal"] for event in neptune.events("draining")] == ["SIGTERM"]
    stage.assert_exact(traffic.sent)


def consumed(port: int) -> int:
    """Messages that the Neptune of this port has taken from Kafka."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
    return sum(int(float(n)) for n in re.findall(r"^messaging_client_consumed_messages_total\{.*\} (\S+)", text, re.M))
