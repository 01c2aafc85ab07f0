"""Whether the topic can be read now, and how far its log goes; asked for health, with a client of its own. Nothing of the flow waits for it.

A client that gave no answer is dropped, for the reason that `topic` gives; the next question makes a fresh one.
"""

from __future__ import annotations

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from neptune_flow.errors import Unavailable
from neptune_flow.kafka.client import KafkaAddress, error_of

PROBE_TIMEOUT_S = 4.0
"""Each of the two questions."""


class TopicProbe:
    """Asks for the topic's partitions and for the ends of their logs; all calls come from one thread."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._admin: AdminClient | None = None
        """One that has answered last time."""

    def ask(self) -> dict[int, int]:
        """Per partition, the offset after the last message that may be read; of open transactions none may.

        Raises:
            Unavailable: no broker answered, the topic does not exist, or a partition has no leader.
            AccessDenied: the credentials do not allow it.
        """
        admin = self._admin or self._address.admin()
        self._admin = None
        try:
            ends = self._ends(admin, self._partitions(admin))
        except KafkaException as error:
            raise error_of(error, self._address, "asking how far the log goes") from None
        except TimeoutError:
            raise Unavailable(
                f"Kafka at {self._address.bootstrap_servers}: no answer within {PROBE_TIMEOUT_S:g} s"
            ) from None
        self._admin = admin
        return ends

    def _partitions(self, admin: AdminClient) -> list[int]:
        topic = admin.list_topics(self._address.topic, timeout=PROBE_TIMEOUT_S).topics[self._address.topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        without = sorted(p for p, found in topic.partitions.items() if found.leader < 0)
        if without:
            raise Unavailable(f"Kafka, topic {topic.topic}: no broker leads partition {', '.join(map(str, without))}")
        return list(topic.partitions)

    def _ends(self, admin: AdminClient, partitions: list[int]) -> dict[int, int]:
        end = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(self._address.topic, p): end for p in partitions}
        answers = admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=PROBE_TIMEOUT_S
        )
        return {where.partition: answer.result(PROBE_TIMEOUT_S).offset for where, answer in answers.items()}
