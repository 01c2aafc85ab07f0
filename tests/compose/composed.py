"""The services of compose.yaml as plain processes, each with the environment, commands and files that it gives them.

Kafka's properties are made by the program that its image runs, and the catalog is the image's main class. What an image alone has
(users, folders, rights) is not here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.compose import ROOT
from tests.services.servers import MinIO, Server, ServerError, fetch, kafka, prometheus, rest_catalog
from tests.services.servers.java import JavaServer
from tests.services.servers.process import answers_http

LIMIT_S = 90.0


class Composed:
    """A service of the project, with folders in place of its volumes."""

    def __init__(self, project: dict[str, Any], name: str, folder: Path) -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._service = project["services"][name]
        self._volumes = {
            m["target"]: self.folder / "volume" for m in self._service.get("volumes") or () if m["type"] == "volume"
        }
        for volume in self._volumes.values():
            volume.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """What the service is told, beside what every program here needs."""
        base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        told = {name: self._here(text) for name, text in self._service["environment"].items()}
        return {**base, "PYTHONPATH": str(ROOT), **told}

    @property
    def command(self) -> list[str]:
        """The arguments of its image's program."""
        return [self._here(text) for text in self._service.get("command") or ()]

    def is_healthy(self) -> bool | None:
        """What its health check says; None if this machine lacks the program that its image has for it."""
        _, program, *arguments = self._service["healthcheck"]["test"]
        if shutil.which(program) is None:
            return None
        done = subprocess.run([program, *arguments], capture_output=True, check=False, timeout=30)
        return done.returncode == 0

    def files(self) -> Path:
        """A folder with the files that are mounted, where the service finds them."""
        for mount in self._service["volumes"]:
            if mount["type"] == "bind":
                target = self.folder / "root" / mount["target"].lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(mount["source"], target)
        return self.folder / "root"

    def _here(self, text: str) -> str:
        for target, volume in self._volumes.items():
            text = text.replace(target, str(volume))
        return text


class Kafka(JavaServer):
    """Kafka, whose properties the image's own program makes of the environment."""

    name = "kafka"
    heap_mib_default = 512

    def __init__(self, service: Composed) -> None:
        super().__init__(directory=service.folder / "server")
        self._service = service

    def environment(self) -> dict[str, str]:
        """As composed."""
        return self._service.environment

    def classpath(self) -> Sequence[Path]:
        """Kafka's jars."""
        return fetch.jars("kafka", kafka.COORDINATES)

    def prepare(self) -> None:
        """Make the properties and format the volume, as the image does at each start."""
        default, mounted, final = (self.directory / name for name in ("default", "mounted", "final"))
        for folder in (default, mounted, final):
            folder.mkdir(exist_ok=True)
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (default / name).write_text("")
        self.run(
            "kafka.docker.KafkaDockerWrapper",
            "setup",
            f"--default-configs-dir={default}",
            f"--mounted-configs-dir={mounted}",
            f"--final-configs-dir={final}",
        )

    def main(self) -> Sequence[str]:
        """Kafka's main class and the properties that were made."""
        return ("kafka.Kafka", str(self.directory / "final" / "server.properties"))

    def is_ready(self) -> bool:
        """As its health check says."""
        return bool(self._service.is_healthy())

    def run(self, main: str, *arguments: str) -> None:
        """Run one of Kafka's programs to its end. Raises `ServerError` if that is a failure."""
        done = subprocess.run(
            self.java(main=(main, *arguments)),
            env=self._service.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        if done.returncode != 0:
            raise ServerError(f"{main}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


class Storage(MinIO):
    """MinIO."""

    def __init__(self, service: Composed) -> None:
        super().__init__(directory=service.folder / "server")
        self._service = service

    def environment(self) -> dict[str, str]:
        """As composed."""
        return self._service.environment

    def command(self) -> Sequence[str]:
        """As composed."""
        return (super().command()[0], *self._service.command)

    def is_ready(self) -> bool:
        """As MinIO says."""
        return answers_http(9000, "/minio/health/ready")


class Catalog(JavaServer):
    """The Iceberg project's REST catalog: the main class of its image."""

    name = "catalog"
    heap_mib_default = 384

    def __init__(self, service: Composed) -> None:
        super().__init__(directory=service.folder / "server")
        self._service = service

    def environment(self) -> dict[str, str]:
        """As composed."""
        return self._service.environment

    def classpath(self) -> Sequence[Path]:
        """Its jars."""
        return fetch.jars("rest-catalog", rest_catalog.COORDINATES)

    def main(self) -> Sequence[str]:
        """Its main class."""
        return ("org.apache.iceberg.rest.RESTCatalogServer",)

    def is_ready(self) -> bool:
        """As its health check says."""
        healthy = self._service.is_healthy()
        return answers_http(8181, "/v1/config") if healthy is None else healthy


class Neptune(Server):
    """One of the Neptunes."""

    name = "neptune"

    def __init__(self, service: Composed, address: str) -> None:
        super().__init__(directory=service.folder / address)
        self._service = service
        self._address = address

    def command(self) -> Sequence[str]:
        """The image's program and command, in the environment that is composed, with the address that is its own, and in no other."""
        environ = {**self._service.environment, "NEPTUNE_HTTP_HOST": self._address}
        return ("/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environ.items()), *neptune("run"))

    def is_ready(self) -> bool:
        """As `/readyz` says."""
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False

    def get(self, path: str) -> str:
        """The answer to a request of its port. Raises `OSError` if that is none, or no good one."""
        with urllib.request.urlopen(f"http://{self._address}:8080{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def has_partitions(self) -> bool:
        """Whether the group has given it some."""
        return "partitions_assigned" in self.log.read_text()

    def committed(self) -> int:
        """Offsets that it has committed."""
        return sum(
            int(float(n))
            for n in re.findall(r"^neptune_committed_offsets_total\{.*\} (\S+)", self.get("/metrics"), re.M)
        )


def neptune(*arguments: str) -> list[str]:
    """The program of Neptune's image."""
    return [sys.executable, "-m", "neptune_flow", *arguments]


class Scraping(Server):
    """Prometheus, with the files that are mounted."""

    name = "prometheus"

    def __init__(self, service: Composed) -> None:
        super().__init__(directory=service.folder / "server")
        self._configuration = service.files() / "etc" / "prometheus" / "prometheus.yml"

    def command(self) -> Sequence[str]:
        """As its image starts it."""
        return (
            str(prometheus.program("prometheus")),
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self.directory}",
        )

    def is_ready(self) -> bool:
        """As it says."""
        return answers_http(9090, "/-/ready")

    def targets_up(self) -> list[str]:
        """The targets that it has scraped."""
        with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/query?query=up==1", timeout=5) as answer:
            return sorted(series["metric"]["instance"] for series in json.load(answer)["data"]["result"])


class Trino(Server):
    """Trino, unpacked, with the catalog that is mounted.

    Args:
        service: it.
        home: a folder that holds what its image has in `/usr/lib/trino`, at least with the plugin `iceberg`.
        java: a Java that this version of Trino runs on.
    """

    name = "trino"
    port = 8090
    """Not its image's own, 8080: Neptunes have that here."""

    def __init__(self, service: Composed, home: Path, java: Path) -> None:
        super().__init__(directory=service.folder / "server", start_limit_s=LIMIT_S)
        self._service = service
        self._home = home
        self._java = java
        self._configuration = service.files() / "etc" / "trino"

    def environment(self) -> dict[str, str]:
        """As composed."""
        return self._service.environment

    def prepare(self) -> None:
        """Write what its image has in `/etc/trino`."""
        lines = ("coordinator=true", "node-scheduler.include-coordinator=true", f"http-server.http.port={self.port}")
        (self._configuration / "config.properties").write_text(
            "\n".join([*lines, f"discovery.uri=http://localhost:{self.port}"])
        )

    def command(self) -> Sequence[str]:
        """As its launcher starts it."""
        properties = {
            "config": self._configuration / "config.properties",
            "catalog.config-dir": self._configuration / "catalog",
            "plugin.dir": self._home / "plugin",
            "node.data-dir": self.directory,
            "node.environment": "docker",
            "node.id": "play",
        }
        options = ("-Xmx2g", "--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED")
        told = [f"-D{name}={value}" for name, value in properties.items()]
        return (str(self._java), *options, *told, "-cp", f"{self._home}/lib/*", "io.trino.server.TrinoServer")

    def is_ready(self) -> bool:
        """Whether it has started, as its image's health check asks."""
        try:
            return self._get("/v1/info")["starting"] is False
        except OSError:
            return False

    def count(self, table: str) -> int:
        """The rows of a table of the catalog `iceberg`. Raises `ServerError` with Trino's words."""
        statement = f'select count(*) from iceberg."default".{table}'  # noqa: S608
        page = self._get("/v1/statement", statement.encode())
        rows: list[list[int]] = []
        while "nextUri" in page:
            page = self._get(urlsplit(page["nextUri"]).path)
            rows += page.get("data", [])
        if "error" in page:
            raise ServerError(page["error"]["message"])
        return rows[0][0]

    def _get(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"X-Trino-User": "play"})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            page: dict[str, Any] = json.load(answer)
            return page
