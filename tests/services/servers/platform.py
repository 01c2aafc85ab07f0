"""Kafka, object storage and catalog together: what Neptune runs against."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from tests.services.servers import kafka, rest_catalog, storage
from tests.services.servers.kafka import KafkaCluster
from tests.services.servers.rest_catalog import RestCatalog
from tests.services.servers.s3 import ObjectStorage
from tests.services.servers.storage import object_storage


def prepare() -> None:
    """Fetch every program the platform needs. Raises `ServerError` where that fails."""
    storage.prepare()
    kafka.prepare()
    rest_catalog.prepare()


class Platform:
    """One of each server; started together, closed together.

    Args:
        kafka, storage: servers of one's own making; None means the default ones.
        bucket: the bucket of the catalog's warehouse. It is not created.
    """

    def __init__(
        self, kafka: KafkaCluster | None = None, storage: ObjectStorage | None = None, *, bucket: str = "neptune"
    ) -> None:
        self.kafka = kafka or KafkaCluster()
        self.storage = storage or object_storage()
        self.catalog = RestCatalog(self.storage, bucket=bucket)
        self.bucket = bucket

    def settings(self) -> dict[str, str]:
        """Neptune's settings that name these servers, as environment variables."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "ICEBERG_REST_URL": self.catalog.uri,
            "MINIO_ENDPOINT": self.storage.endpoint,
            "MINIO_ACCESS_KEY": self.storage.access_key,
            "MINIO_SECRET_KEY": self.storage.secret_key,
            "MINIO_BUCKET": self.bucket,
        }

    def start(self) -> Self:
        """Start all at the same time. Raises `ServerError` if one does not start; all are closed then."""
        try:
            with ThreadPoolExecutor() as pool:
                starts = [pool.submit(server.start) for server in (self.kafka, self.storage, self.catalog)]
            for start in starts:
                start.result()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop all and remove their temporary directories."""
        for server in (self.catalog, self.storage, self.kafka):
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
