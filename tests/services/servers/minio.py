"""MinIO, built with Go once and then kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.servers import fetch
from tests.services.servers.process import HOST, answers_http
from tests.services.servers.s3 import ObjectStorage

MODULE = "github.com/minio/minio"
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"


def prepare() -> Path:
    """The MinIO program; built if need be. Raises `ServerError` where that fails."""
    return fetch.go_binary("minio", MODULE, VERSION)


def is_available() -> bool:
    """Whether MinIO is there already, or Go is, to build it."""
    return fetch.go_binary_path("minio", VERSION).exists() or shutil.which("go") is not None


class MinIO(ObjectStorage):
    """One MinIO node with one drive."""

    name = "minio"

    def command(self) -> Sequence[str]:
        """MinIO's command line."""
        return (str(prepare()), "server", "--quiet", "--address", f"{HOST}:{self.port}", str(self.data))

    def environment(self) -> Mapping[str, str]:
        """Credentials, and no console, update check or report home."""
        return {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "HOME": str(self.directory),
        }

    def is_ready(self) -> bool:
        """Whether MinIO says that it can serve requests."""
        return answers_http(self.port, "/minio/health/ready")
