"""The contract: a Pydantic model of one event, from which the table's columns are derived.

    delivery     the model of a delivery event: the file a user edits
    event_time   the marker that names the event time
    columns      from Python's types to Arrow's
    loading      from "package.module:Model" to a Contract

A leaf: it knows Pydantic and Arrow's types, and nothing of Kafka, of tables or of how messages are validated.
"""

from __future__ import annotations

from neptune_flow.contract.delivery import DeliveryData
from neptune_flow.contract.event_time import EventTime
from neptune_flow.contract.loading import EVENT_DATE, Contract, load_contract

__all__ = ["EVENT_DATE", "Contract", "DeliveryData", "EventTime", "load_contract"]
