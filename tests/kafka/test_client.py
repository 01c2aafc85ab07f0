"""A Kafka client that cannot be made is a wrong setting, and says so."""

from __future__ import annotations

import pytest

from neptune_flow.errors import SettingsError
from neptune_flow.kafka import KafkaAddress


@pytest.mark.parametrize("properties", [{"security.protocl": "SSL"}, {"security.protocol": "nothing"}])
def test_a_property_that_librdkafka_does_not_know_stops_the_start_with_its_name(properties: dict[str, str]) -> None:
    address = KafkaAddress("127.0.0.1:1", "sessions", "neptune", properties)
    for make in (address.consumer, address.admin):
        with pytest.raises(SettingsError, match=next(iter(properties))):
            make()
