"""Kafka 4.1.0 in KRaft mode, one broker or several, from the project's own jars.

Node 1 is also the controller, the others are brokers only: to move the leader of a partition, stop any broker but the
first. Topics are not created by use.
"""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.services.servers import fetch
from tests.services.servers.java import JavaServer
from tests.services.servers.process import HOST, ServerError, accepts_connections, free_port, wait_until

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.1.0",
    "org.apache.kafka:kafka-tools:4.1.0",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",  # without a logging backend the server is mute
)
_REQUEST_TIMEOUT_S = 10.0
_SASL = "org.apache.kafka.common.security"
PLAIN_USERS = {"neptune": "the-plain-password"}
"""Who may come in by SASL PLAIN; users of SCRAM are made (`KafkaCluster.make_user`)."""
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = CONSOLE
appender.console.type = Console
appender.console.name = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c)%n
"""
# Few internal partitions, threads and buffers: quick to start and to stop, small in memory.
_SMALL = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": str(8 * 2**20),
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "6000",
}


def prepare() -> None:
    """Fetch Kafka's jars. Raises `ServerError` where that fails."""
    fetch.jars("kafka", COORDINATES)


class KafkaBroker(JavaServer):
    """One node of a cluster; made by `KafkaCluster`."""

    name = "kafka"
    heap_mib_default = 512

    def __init__(
        self,
        node: int,
        cluster_id: str,
        controller_port: int,
        properties: Mapping[str, str],
        *,
        heap_mib_max: int | None = None,
        jvm_options: Sequence[str] = (),
        directory: Path | None = None,
        start_limit_s: float = 90.0,
        certificate: Path | None = None,
    ) -> None:
        super().__init__(
            heap_mib_max=heap_mib_max, jvm_options=jvm_options, directory=directory, start_limit_s=start_limit_s
        )
        self.node = node
        self.port = free_port()
        self.secure_port = free_port() if certificate else 0
        self._cluster_id = cluster_id
        self._controller_port = controller_port
        self._properties = {**self._node_properties(), **self._secure_properties(certificate), **properties}

    @property
    def bootstrap(self) -> str:
        """`host:port` of this broker."""
        return f"{HOST}:{self.port}"

    def _node_properties(self) -> dict[str, str]:
        broker = f"PLAINTEXT://{self.bootstrap}"
        controller = f"CONTROLLER://{HOST}:{self._controller_port}"
        first = self.node == 1
        return {
            "process.roles": "broker,controller" if first else "broker",
            "node.id": str(self.node),
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "listeners": f"{broker},{controller}" if first else broker,
            "advertised.listeners": broker,
            "log.dirs": str(self.directory / "data"),
        }

    def _secure_properties(self, certificate: Path | None) -> dict[str, str]:
        """A second way in, by TLS and SASL; the first one stays for the tests themselves."""
        if certificate is None:
            return {}
        plain = self._node_properties()
        secure = f"SECURE://{HOST}:{self.secure_port}"
        here = "listener.name.secure"
        users = " ".join(f'user_{name}="{password}"' for name, password in PLAIN_USERS.items())
        return {
            "listeners": f"{plain['listeners']},{secure}",
            "advertised.listeners": f"{plain['advertised.listeners']},{secure}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SECURE:SASL_SSL",
            f"{here}.ssl.keystore.type": "PEM",
            f"{here}.ssl.keystore.location": str(certificate),
            f"{here}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{here}.scram-sha-512.sasl.jaas.config": f"{_SASL}.scram.ScramLoginModule required;",
            f"{here}.plain.sasl.jaas.config": f"{_SASL}.plain.PlainLoginModule required {users};",
        }

    def prepare(self) -> None:
        """Write the configuration and, the first time, format the data directory."""
        lines = [f"{name}={value}\n" for name, value in self._properties.items()]
        self._properties_file.write_text("".join(lines))
        (self.directory / "log4j2.properties").write_text(_LOG4J)
        if not (self.directory / "data" / "meta.properties").exists():
            self._format()

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    def _format(self) -> None:
        tool = ("kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c", str(self._properties_file))
        done = subprocess.run(
            self.java(*self._logging, main=tool),
            check=False,
            capture_output=True,
            text=True,
            timeout=self.start_limit_s,
        )
        if done.returncode != 0:
            raise ServerError(f"kafka: formatting the data directory failed:\n{(done.stdout + done.stderr)[-2000:]}")

    @property
    def _logging(self) -> tuple[str]:
        return (f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",)

    def classpath(self) -> Sequence[Path]:
        """Kafka's jars."""
        return fetch.jars("kafka", COORDINATES)

    def command(self) -> Sequence[str]:
        """Kafka's main class with its configuration."""
        return self.java(*self._logging, *self._jvm_options, main=self.main())

    def main(self) -> Sequence[str]:
        """Kafka's main class and its configuration file."""
        return ("kafka.Kafka", str(self._properties_file))

    def is_ready(self) -> bool:
        """Whether the broker answers a metadata request that names itself."""
        if not accepts_connections(self.port):
            return False
        try:
            return self.node in _admin(self.bootstrap).list_topics(timeout=2.0).brokers
        except KafkaException:
            return False


class KafkaCluster:
    """Kafka with `brokers` nodes, of which the first is the controller.

    Args:
        brokers: how many; replication of the internal topics follows, up to 3.
        properties: broker properties, over the small defaults.
        heap_mib_max: the most MiB of Java heap of each broker; None means 512.
        jvm_options: further options of the Java runtime; `-XX:TieredStopAtLevel=4` gives the full compiler, for
            measurements.
        directory: where the nodes' directories are made, and kept; None means temporary ones.
        start_limit_s: seconds within which each broker must answer.
        certificate: with its key (PKCS 8) in one PEM file; each broker then has a second port, for TLS with SASL.

    `start`, `stop`, `kill`, `restart`, `pause`, `resume` and `close` act on all nodes; `nodes[i]` is one of them, with
    the same methods. As a context manager it starts on entry and closes on exit.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        properties: Mapping[str, str] | None = None,
        heap_mib_max: int | None = None,
        jvm_options: Sequence[str] = (),
        directory: Path | None = None,
        start_limit_s: float = 90.0,
        certificate: Path | None = None,
    ) -> None:
        cluster_id = uuid.uuid4().hex[:22]  # reads as the 16 bytes in base64 that Kafka wants
        controller_port = free_port()
        merged = {**_SMALL, **_replication(brokers), **(properties or {})}
        self.nodes = [
            KafkaBroker(
                node,
                cluster_id,
                controller_port,
                merged,
                heap_mib_max=heap_mib_max,
                jvm_options=jvm_options,
                directory=None if directory is None else directory / f"broker-{node}",
                start_limit_s=start_limit_s,
                certificate=certificate,
            )
            for node in range(1, brokers + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """`host:port` of every broker, with commas between."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def secure_bootstrap(self) -> str:
        """`host:port` of every broker's port for TLS with SASL."""
        return ",".join(f"{HOST}:{node.secure_port}" for node in self.nodes)

    def make_user(self, name: str, password: str) -> None:
        """A user of SASL SCRAM-SHA-512. Raises `KafkaException` if Kafka refuses."""
        made = UserScramCredentialUpsertion(
            name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode()
        )
        admin = _admin(self.bootstrap)  # must outlive its question
        admin.alter_user_scram_credentials([made])[name].result(_REQUEST_TIMEOUT_S)

    @property
    def pid(self) -> int:
        """The process id of the first node. Raises `ServerError` if it is not running."""
        return self.nodes[0].pid

    @property
    def pids(self) -> list[int]:
        """The process ids of the nodes that run."""
        return [node.pid for node in self.nodes if node.is_running]

    @property
    def is_running(self) -> bool:
        """Whether every node's process exists."""
        return all(node.is_running for node in self.nodes)

    def start(self) -> Self:
        """Start every node that does not run. Raises as `Server.start` does."""
        with ThreadPoolExecutor() as pool:
            starts = [pool.submit(node.start) for node in self.nodes if not node.is_running]
        for start in starts:
            start.result()
        return self

    def stop(self, limit_s: float = 30.0) -> None:
        """Stop every node in good order, the controller last; each is killed after `limit_s` seconds."""
        for node in reversed(self.nodes):
            node.stop(limit_s)

    def kill(self) -> None:
        """End every node with SIGKILL."""
        for node in reversed(self.nodes):
            node.kill()

    def restart(self) -> Self:
        """Stop what runs, then start all on the same ports with the same data. Raises as `Server.start` does."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze every node with SIGSTOP. Raises `ServerError` if one does not run."""
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        """Let frozen nodes go on."""
        for node in self.nodes:
            node.resume()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze every node for the length of a `with` block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """Stop every node and remove its directory, unless one was given from outside."""
        for node in reversed(self.nodes):
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cpu_s(self) -> float:
        """CPU seconds that the running nodes have used since their starts (Linux)."""
        return sum(node.cpu_s() for node in self.nodes if node.is_running)

    def rss_bytes(self) -> int:
        """Bytes of memory that the running nodes hold now (Linux)."""
        return sum(node.rss_bytes() for node in self.nodes if node.is_running)

    def create_topic(
        self, topic: str, partitions: int = 4, *, replication: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic and wait until every partition has a leader.

        Raises:
            KafkaException: Kafka refused it.
            ServerError: a partition had no leader in time.
        """
        admin = _admin(self.bootstrap)
        wanted = NewTopic(topic, partitions, replication, config=dict(config or {}))
        admin.create_topics([wanted], request_timeout=_REQUEST_TIMEOUT_S)[topic].result(_REQUEST_TIMEOUT_S)
        wait_until(lambda: self._has_leaders(admin, topic, partitions), f"leaders of {topic}", _REQUEST_TIMEOUT_S)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until it is gone. Raises as `create_topic` does."""
        admin = _admin(self.bootstrap)
        admin.delete_topics([topic], request_timeout=_REQUEST_TIMEOUT_S)[topic].result(_REQUEST_TIMEOUT_S)
        wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, f"{topic} is gone", _REQUEST_TIMEOUT_S)

    def leaders(self, topic: str) -> dict[int, int]:
        """The node that leads each partition of a topic; -1 where none does."""
        found = _admin(self.bootstrap).list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions
        return {partition: metadata.leader for partition, metadata in found.items()}

    def _has_leaders(self, admin: AdminClient, topic: str, partitions: int) -> bool:
        found = admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions
        return len(found) == partitions and all(metadata.leader >= 0 for metadata in found.values())


def _replication(brokers: int) -> dict[str, str]:
    copies = str(min(brokers, 3))
    return {
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": "1",
    }


def _admin(bootstrap: str) -> AdminClient:
    """A client that says nothing of its own: a broker that is not up yet is no news here."""
    silent: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
    return AdminClient({"bootstrap.servers": bootstrap, **silent})
