"""Pictures of the page for README and docs, from a real run: Kafka inside this process, the real flow, simulated vehicles, a real browser."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from neptune_flow.demo.stage import TOPIC, FlowProcess, Simulation, environment
from neptune_flow.kafka.in_process import InProcessBroker
from tests.services.servers.process import HOST, free_port
from tests.web.browser import Browser

SETTLES_S = 14.0
"""Until some commits are there and the rates have become steady."""


def take(folder: Path) -> None:
    """Write page-light.png, page-dark.png and page-phone.png."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="neptune-page-") as data, InProcessBroker() as broker, Browser() as browser:
        broker.make_topic(TOPIC)
        settings = environment(broker.bootstrap_servers, Path(data))
        settings |= {"NEPTUNE_HTTP_PORT": str(port), "NEPTUNE_HTTP_HOST": HOST}
        simulation = Simulation(broker.bootstrap_servers, seed=1, rate=1500, vehicles=200)
        simulation.start()
        try:
            with FlowProcess(settings, Path(data) / "neptune.log") as flow:
                while not flow.said.commits:
                    time.sleep(0.1)
                browser.open(f"http://{HOST}:{port}/")
                browser.wait_text("Data lands.", "#word")
                time.sleep(SETTLES_S)
                for name, width, height, is_dark in (
                    ("light", 1200, 1120, False),
                    ("dark", 1200, 1120, True),
                    ("phone", 390, 844, False),
                ):
                    browser.shape(
                        width, height, is_dark=is_dark, is_phone=name == "phone", scale=1.5 if name == "phone" else 1.0
                    )
                    time.sleep(0.5)
                    browser.picture(folder / f"page-{name}.png")
                flow.drain(30)
        finally:
            simulation.stop()
