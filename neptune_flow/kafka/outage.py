"""Whether brokers are there: asked, since the client tells that they are away once at most, perhaps while messages that it holds still come, and of a
broker that accepts connections and answers nothing it tells nothing for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from neptune_flow.errors import Unavailable
from neptune_flow.kafka.client import KafkaAddress
from neptune_flow.telemetry import get_logger
from neptune_flow.vitals import KAFKA, Vitals

log = get_logger("neptune.kafka")

PROBE_INTERVAL_S = 5.0
"""Of a client that hands over nothing for so long, it is asked whether a broker is there at all."""

PROBE_TIMEOUT_S = 2.0
"""No answer for so long means away; the flow stands still meanwhile."""


class OutageWatch:
    """Finds out that all brokers are away, and gives up after `outage_s_max` seconds."""

    def __init__(
        self, address: KafkaAddress, outage_s_max: float, clock_s: Callable[[], float], vitals: Vitals
    ) -> None:
        self._address = address
        self._outage_s_max = outage_s_max
        self._clock_s = clock_s
        self._vitals = vitals
        self._down_since_s: float | None = None
        self._probe_at_s = clock_s() + PROBE_INTERVAL_S

    def after_poll(self, consumer: Any, *, is_silent: bool) -> None:
        """To be called after each poll; asks the brokers where it is time to.

        Raises:
            Unavailable: they have been away for too long, and the client has no more messages.
        """
        if self._down_since_s is None and not is_silent:
            self._probe_at_s = self._clock_s() + PROBE_INTERVAL_S
            return
        now_s = self._clock_s()
        if now_s < self._probe_at_s:
            return
        if (why := self._complaint(consumer)) is not None:
            self._on_silence(now_s, why, is_silent=is_silent)
        else:
            if self._down_since_s is not None:
                log.info("kafka_back", away_s=round(self._clock_s() - self._down_since_s, 1))
                self._vitals.waits_for(KAFKA, None)
            self._down_since_s = None
        self._probe_at_s = now_s + PROBE_INTERVAL_S

    def _complaint(self, consumer: Any) -> str | None:
        """Why nothing can come; None if a broker answers, and knows the topic."""
        try:
            found = consumer.list_topics(self._address.topic, timeout=PROBE_TIMEOUT_S)
        except KafkaException as error:
            return str(error.args[0].str())
        missing = found.topics[self._address.topic].error
        if missing is None or missing.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        return f"there is no topic {self._address.topic} any more"

    @property
    def is_known(self) -> bool:
        return self._down_since_s is not None

    def begin(self, why: str) -> None:
        """The client says that all brokers are away."""
        self._begin(self._clock_s(), why)

    def _begin(self, since_s: float, why: str) -> None:
        if self._down_since_s is None:
            self._down_since_s = self._probe_at_s = since_s
            self._vitals.waits_for(KAFKA, why, self._clock_s() - since_s)
            log.warning("kafka_away", servers=self._address.bootstrap_servers, error=why, limit_s=self._outage_s_max)

    def _on_silence(self, now_s: float, why: str, *, is_silent: bool) -> None:
        if now_s - self._probe_at_s > PROBE_INTERVAL_S:
            # Nobody has asked for long, since the flow was busy: what was in between is not known.
            self._down_since_s = None
            self._vitals.waits_for(KAFKA, None)
        self._begin(now_s, why)
        away_s = now_s - (self._down_since_s or now_s)
        if is_silent and away_s > self._outage_s_max:
            raise Unavailable(
                f"Kafka at {self._address.bootstrap_servers} has been away for {away_s:.0f} s",
                detail=why,
                hint="start again when it is back: nothing is lost (limit: NEPTUNE_RETRY_S_MAX)",
            ) from None
