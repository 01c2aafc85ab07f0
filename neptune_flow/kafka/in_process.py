"""A Kafka broker inside this process: librdkafka's own, for the demo and for tests without servers.

Other processes of this machine can reach it. It makes a topic of four partitions when one is first asked for, keeps
transactions and group offsets, and retains about 5 MB per partition, so a reader must keep up. It does not answer
describe_topics, create_topics or delete_records, and forgets everything when it is closed.
"""

from __future__ import annotations

from types import TracebackType

from confluent_kafka import Consumer, Producer, TopicPartition

_ANSWER_S_MAX = 10.0


class InProcessBroker:
    """A broker on a free port of the loopback interface, as long as the `with` block lasts."""

    def __init__(self) -> None:
        # Level 4 (warning) leaves out librdkafka's notice that the cluster is not a real one.
        self._cluster: Producer | None = Producer({"test.mock.num.brokers": 1, "log_level": 4})
        (broker,) = self._cluster.list_topics(timeout=_ANSWER_S_MAX).brokers.values()
        self.bootstrap_servers = f"{broker.host}:{broker.port}"

    def make_topic(self, topic: str) -> None:
        """Makes a topic of four partitions, if it is not there."""
        assert self._cluster is not None  # noqa: S101
        self._cluster.list_topics(topic, timeout=_ANSWER_S_MAX)

    def ends(self, topic: str) -> dict[int, int]:
        """Per partition of the topic, the offset after its last message."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "ends"})
        try:
            partitions = consumer.list_topics(topic, timeout=_ANSWER_S_MAX).topics[topic].partitions
            parts = [TopicPartition(topic, partition) for partition in sorted(partitions)]
            return {p.partition: consumer.get_watermark_offsets(p, timeout=_ANSWER_S_MAX)[1] for p in parts}
        finally:
            consumer.close()

    def close(self) -> None:
        self._cluster = None

    def __enter__(self) -> InProcessBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
