"""The Iceberg project's own REST catalog (its test fixture, 1.11.0), over SQLite and an object storage.

The fixture's main class listens on every network address. So it is not used: Jetty is configured to put the same
catalog, servlet and compression behind a connector on the loopback address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement

from tests.services.servers import fetch
from tests.services.servers.java import JavaServer
from tests.services.servers.process import HOST, answers_http, free_port
from tests.services.servers.s3 import ObjectStorage

_ICEBERG = "1.11.0"
_JETTY = "12.1.14"
_HADOOP = "3.4.1"
COORDINATES = (
    f"org.apache.iceberg:iceberg-open-api:{_ICEBERG}:test-fixtures",
    f"org.apache.iceberg:iceberg-core:{_ICEBERG}",
    f"org.apache.iceberg:iceberg-core:{_ICEBERG}:tests",
    f"org.apache.iceberg:iceberg-aws:{_ICEBERG}",
    f"org.apache.iceberg:iceberg-aws-bundle:{_ICEBERG}",
    "org.xerial:sqlite-jdbc:3.53.4.0",
    f"org.eclipse.jetty:jetty-server:{_JETTY}",
    f"org.eclipse.jetty:jetty-xml:{_JETTY}",
    f"org.eclipse.jetty.ee10:jetty-ee10-servlet:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-server:{_JETTY}",
    f"org.eclipse.jetty.compression:jetty-compression-gzip:{_JETTY}",
    f"org.apache.hadoop:hadoop-client-api:{_HADOOP}",
    f"org.apache.hadoop:hadoop-client-runtime:{_HADOOP}",
    "org.slf4j:slf4j-simple:2.0.17",
)
_NO_DOCTYPE = "-Dorg.eclipse.jetty.xml.XmlParser.Validating=false"
# A commit waits for another's lock instead of failing, and readers do not block writers.
_SQLITE = "journal_mode=WAL&synchronous=NORMAL&busy_timeout=30000"


def prepare() -> None:
    """Fetch the catalog's jars. Raises `ServerError` where that fails."""
    fetch.jars("rest-catalog", COORDINATES)


class RestCatalog(JavaServer):
    """The catalog.

    Args:
        storage: where tables live and the catalog writes their metadata.
        bucket: the bucket of the warehouse: table `n.t` lies at `s3://bucket/n/t`. It is not created.
        s3_endpoint: the address at which the catalog reaches the storage, where that is not the storage's own.
        properties: catalog properties, over the ones set here.
        heap_mib_max, jvm_options, directory, start_limit_s: as for `JavaServer`; the heap's default is 384 MiB.
    """

    name = "rest-catalog"
    heap_mib_default = 384

    def __init__(
        self,
        storage: ObjectStorage,
        *,
        bucket: str = "neptune",
        s3_endpoint: str | None = None,
        properties: Mapping[str, str] | None = None,
        heap_mib_max: int | None = None,
        jvm_options: Sequence[str] = (),
        directory: Path | None = None,
        start_limit_s: float = 90.0,
    ) -> None:
        super().__init__(
            heap_mib_max=heap_mib_max,
            jvm_options=(_NO_DOCTYPE, *jvm_options),
            directory=directory,
            start_limit_s=start_limit_s,
        )
        self.port = free_port()
        self._properties = {
            "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            "jdbc.schema-version": "V1",
            "uri": f"jdbc:sqlite:file:{self.directory / 'catalog.db'}?{_SQLITE}",
            "warehouse": f"s3://{bucket}",
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "client.region": storage.region,
            "s3.endpoint": s3_endpoint or storage.endpoint,
            "s3.path-style-access": "true",
            "s3.access-key-id": storage.access_key,
            "s3.secret-access-key": storage.secret_key,
            **(properties or {}),
        }

    @property
    def uri(self) -> str:
        """The address of the catalog, as `http://host:port`."""
        return f"http://{HOST}:{self.port}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "jetty.xml"

    def prepare(self) -> None:
        """Write Jetty's configuration."""
        ElementTree(_jetty(self.port, self._properties)).write(self._configuration, encoding="unicode")

    def classpath(self) -> Sequence[Path]:
        """The catalog's jars."""
        return fetch.jars("rest-catalog", COORDINATES)

    def main(self) -> Sequence[str]:
        """Jetty's main class for a configuration in XML."""
        return ("org.eclipse.jetty.xml.XmlConfiguration", str(self._configuration))

    def is_ready(self) -> bool:
        """Whether the catalog lists its namespaces, which asks its database."""
        return answers_http(self.port, "/v1/namespaces")


def _jetty(port: int, properties: Mapping[str, str]) -> Element:
    server = Element("Configure", {"id": "Server", "class": "org.eclipse.jetty.server.Server"})
    connector = _new(_argument(_call(server, "addConnector")), "org.eclipse.jetty.server.ServerConnector")
    SubElement(SubElement(connector, "Arg", name="server"), "Ref", refid="Server")
    SubElement(connector, "Set", name="host").text = HOST
    SubElement(connector, "Set", name="port").text = str(port)
    context = _new(SubElement(server, "Set", name="handler"), "org.eclipse.jetty.ee10.servlet.ServletContextHandler")
    call = _call(context, "addServlet")
    holder = _new(_argument(call), "org.eclipse.jetty.ee10.servlet.ServletHolder")
    _argument(call).text = "/*"
    servlet = _new(_argument(holder), "org.apache.iceberg.rest.RESTCatalogServlet")
    _catalog(_argument(_new(_argument(servlet), "org.apache.iceberg.rest.RESTCatalogAdapter")), properties)
    _compression(context)
    return server


def _catalog(parent: Element, properties: Mapping[str, str]) -> None:
    call = _call(parent, "buildIcebergCatalog", "org.apache.iceberg.CatalogUtil")
    _argument(call).text = "rest_backend"
    entries = SubElement(_argument(call), "Map")
    for name, value in properties.items():
        entry = SubElement(entries, "Entry")
        SubElement(entry, "Item").text = name
        SubElement(entry, "Item").text = value
    _new(_argument(call), "org.apache.hadoop.conf.Configuration")


def _compression(context: Element) -> None:
    call = _call(context, "insertHandler")
    handler = _new(_argument(call), "org.eclipse.jetty.compression.server.CompressionHandler")
    _new(_argument(_call(handler, "putCompression")), "org.eclipse.jetty.compression.gzip.GzipCompression")


def _call(parent: Element, method: str, static_class: str | None = None) -> Element:
    attributes = {"class": static_class} if static_class else {}
    return SubElement(parent, "Call", {"name": method, **attributes})


def _argument(parent: Element) -> Element:
    return SubElement(parent, "Arg")


def _new(parent: Element, kind: str) -> Element:
    return SubElement(parent, "New", {"class": kind})
