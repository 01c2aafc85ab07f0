"""What every object storage of the tests offers, whichever server stands behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.services.servers.process import HOST, Server, free_port

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem


class Credentials(NamedTuple):
    """What a client of the storage signs its requests with."""

    access_key: str
    secret_key: str


ADMIN = Credentials("admin", "password")


class ObjectStorage(Server):
    """A server of the S3 protocol, addressed by path.

    Args:
        credentials: what it accepts.
        directory, start_limit_s: as for `Server`.
    """

    region = "us-east-1"

    def __init__(
        self,
        *,
        credentials: Credentials = ADMIN,
        directory: Path | None = None,
        start_limit_s: float = 60.0,
    ) -> None:
        super().__init__(directory=directory, start_limit_s=start_limit_s)
        self.port = free_port()
        self.access_key, self.secret_key = credentials

    @property
    def endpoint(self) -> str:
        """The address of the S3 service, as `http://host:port`."""
        return f"http://{HOST}:{self.port}"

    @property
    def data(self) -> Path:
        """The directory of the server's data."""
        return self.directory / "data"

    def prepare(self) -> None:
        """Make the data directory."""
        self.data.mkdir(exist_ok=True)

    def filesystem(self) -> S3FileSystem:
        """A client, which may create buckets; paths are `bucket/key`."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=self.endpoint,
            region=self.region,
            allow_bucket_creation=True,
        )

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket; one that exists is left as it is. Raises `OSError` if the storage refuses."""
        self.filesystem().create_dir(bucket)
