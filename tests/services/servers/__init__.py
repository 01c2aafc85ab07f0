"""Real servers as plain processes, from Python alone: for the service tests, the benchmark and CI.

Each server owns a directory and ports on the loopback address, and dies with the process that started it.
`start`, `stop`, `kill`, `restart`, `pause` and `resume` leave its data and ports alone; `close` removes its directory.
"""

from tests.services.servers.kafka import KafkaBroker, KafkaCluster
from tests.services.servers.minio import MinIO
from tests.services.servers.platform import Platform
from tests.services.servers.process import Server, ServerError, free_port
from tests.services.servers.rest_catalog import RestCatalog
from tests.services.servers.s3 import Credentials, ObjectStorage
from tests.services.servers.seaweedfs import SeaweedFS
from tests.services.servers.storage import object_storage

__all__ = [
    "Credentials",
    "KafkaBroker",
    "KafkaCluster",
    "MinIO",
    "ObjectStorage",
    "Platform",
    "RestCatalog",
    "SeaweedFS",
    "Server",
    "ServerError",
    "free_port",
    "object_storage",
]
