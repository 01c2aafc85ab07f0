"""Chooses the object storage that the service tests run on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.services.servers import minio, seaweedfs
from tests.services.servers.minio import MinIO
from tests.services.servers.process import ServerError
from tests.services.servers.s3 import ADMIN, Credentials, ObjectStorage
from tests.services.servers.seaweedfs import SeaweedFS

_KINDS: dict[str, type[ObjectStorage]] = {"minio": MinIO, "seaweedfs": SeaweedFS}


def in_ci() -> bool:
    """Whether this runs in CI, where no server may be missing."""
    return os.environ.get("CI", "").lower() in ("true", "1")


def chosen_kind() -> str:
    """`minio` or `seaweedfs`.

    `NEPTUNE_TEST_STORAGE` decides. Without it: MinIO in CI (`CI=true`) and wherever it is built or Go is there to
    build it, else SeaweedFS.

    Raises:
        ServerError: the variable names something else.
    """
    asked = os.environ.get("NEPTUNE_TEST_STORAGE", "")
    if asked and asked not in _KINDS:
        raise ServerError(f"NEPTUNE_TEST_STORAGE={asked}: allowed are {', '.join(_KINDS)}")
    return asked or ("minio" if in_ci() or minio.is_available() else "seaweedfs")


def prepare() -> None:
    """Fetch the chosen storage's program. Raises `ServerError` where that fails."""
    programs = {"minio": minio.prepare, "seaweedfs": seaweedfs.prepare}
    programs[chosen_kind()]()


def object_storage(
    *,
    credentials: Credentials = ADMIN,
    directory: Path | None = None,
    start_limit_s: float = 60.0,
) -> ObjectStorage:
    """The chosen storage, not yet started; arguments as for `ObjectStorage`. Raises as `chosen_kind` does."""
    kind = _KINDS[chosen_kind()]
    return kind(credentials=credentials, directory=directory, start_limit_s=start_limit_s)
