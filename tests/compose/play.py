"""Plays compose.yaml without an engine: its services as plain processes (`composed`), which find each other by its names.

    python -m tests.compose.play PROJECT FOLDER MESSAGES

PROJECT is the rendered file, FOLDER holds the volumes. It must run in a network and a mount namespace of its own (`unshare --net
--mount`): there the services' names lead to addresses of the loopback interface, so they may listen on all addresses, and nothing
outside can reach them.

Two Neptunes share the topic while the simulator sends, Prometheus finds both, and the tables outlive the catalog. What came of it is
printed as JSON. Trino reads the tables too, if `NEPTUNE_TEST_TRINO` names a folder of it, and JAVA_HOME a Java that it runs on.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from tests.compose.composed import LIMIT_S, Catalog, Composed, Kafka, Neptune, Scraping, Storage, Trino, neptune
from tests.services.servers import ServerError
from tests.services.servers.process import wait_until

NEPTUNES = ("127.0.3.1", "127.0.3.2")
"""Their addresses. Each opens its port on its own alone, since they have one network in common."""
ADDRESSES = {"kafka": "127.0.2.1", "minio": "127.0.2.2", "iceberg-rest": "127.0.2.3"}
DNS = "127.0.0.11"
"""Where Docker's own server of names is, too."""


def answer_names(names: Mapping[str, Sequence[str]]) -> None:
    """Answer questions for the IPv4 addresses of these names, as Docker's server of names does for services, until the process ends."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((DNS, 53))

    def serve() -> None:
        while True:
            question, client = server.recvfrom(512)
            server.sendto(_answer(question, names), client)

    threading.Thread(target=serve, daemon=True).start()


def _answer(question: bytes, names: Mapping[str, Sequence[str]]) -> bytes:
    """The answer to a question of the DNS (RFC 1035, 4.1): every address of its name, or none."""
    labels, end = [], 12
    while size := question[end]:
        labels.append(question[end + 1 : end + 1 + size].decode())
        end += size + 1
    is_for_ipv4 = question[end + 1 : end + 3] == b"\0\1"
    found = names.get(".".join(labels), ()) if is_for_ipv4 else ()
    head = struct.pack("!2s5H", question[:2], 0x8180, 1, len(found), 0, 0)
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in found]
    return head + question[12 : end + 5] + b"".join(records)


def name_the_services(folder: Path) -> None:
    """Make the names of the network known here: in the file of hosts, and to who asks a server of names."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in ADDRESSES.items())]
    for name, text in {"hosts": "\n".join(lines), "resolv.conf": f"nameserver {DNS}"}.items():
        (folder / name).write_text(f"{text}\n")
        subprocess.run(["mount", "--bind", folder / name, Path("/etc", name)], check=True)
    answer_names({"neptune": NEPTUNES, **{name: (address,) for name, address in ADDRESSES.items()}})


def play(project: dict[str, Any], folder: Path, messages: int) -> dict[str, Any]:
    """Start all, let the simulator send so many messages, verify the tables, and tell what came of it."""
    services = {name: Composed(project, name, folder) for name in project["services"]}
    with ExitStack() as stack:
        broker = stack.enter_context(Kafka(services["kafka"]))
        broker.run("org.apache.kafka.tools.TopicCommand", *services["topic"].command[1:])
        stack.enter_context(Storage(services["minio"]))
        catalog = stack.enter_context(Catalog(services["iceberg-rest"]))
        neptunes = [stack.enter_context(Neptune(services["neptune"], address)) for address in NEPTUNES]
        wait_until(lambda: all(n.has_partitions() for n in neptunes), "each has partitions", LIMIT_S)
        run_neptune(services["simulator"], *services["simulator"].command, "--count", str(messages))
        wait_until(lambda: sum(n.committed() for n in neptunes) >= messages, "all is committed", LIMIT_S)
        came = {
            "committed": [n.committed() for n in neptunes],
            "scraped": scraped(services["prometheus"]),
            "brokers seen from outside": seen_from_outside(),
            "counted by Trino": counted(services["trino"]),
        }
        for one in neptunes:
            one.stop(60)
        catalog.restart()
        run_neptune(services["neptune"], "verify")
        return came


def run_neptune(service: Composed, *arguments: str) -> None:
    """Run one of Neptune's commands as this service would. Raises `ServerError` if it fails, with its words."""
    done = subprocess.run(
        neptune(*arguments), env=service.environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    if done.returncode != 0:
        raise ServerError(f"neptune {' '.join(arguments)}: {done.stdout}{done.stderr}")


def seen_from_outside() -> list[str]:
    """Where Kafka says that its brokers are, to whom asks it from this machine."""
    found = AdminClient({"bootstrap.servers": "localhost:9093"}).list_topics(timeout=10)
    return [f"{broker.host}:{broker.port}" for broker in found.brokers.values()]


def scraped(service: Composed) -> list[str]:
    """The Neptunes that Prometheus finds and reaches."""
    with Scraping(service) as server:
        wait_until(lambda: len(server.targets_up()) >= len(NEPTUNES), "every Neptune is scraped", LIMIT_S)
        return server.targets_up()


def counted(service: Composed) -> int | None:
    """Rows and rejects, as Trino counts them; None where there is no Trino."""
    if not os.environ.get("NEPTUNE_TEST_TRINO"):
        return None
    java = Path(os.environ["JAVA_HOME"], "bin", "java")
    with Trino(service, Path(os.environ["NEPTUNE_TEST_TRINO"]).resolve(), java) as trino:
        return trino.count("raw_delivery_data") + trino.count("raw_delivery_data_quarantine")


def main() -> None:
    """Play a project; the command's arguments are the three of `play`."""
    project, folder, messages = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    name_the_services(folder)
    sys.stdout.write(json.dumps(play(json.loads(project.read_text()), folder, messages)))


if __name__ == "__main__":
    main()
