"""The contract of a delivery event: the file to edit when the event changes.

A message is a row of the table if this model accepts it, with the value that the model gives; otherwise it goes to
quarantine with the model's reasons. The table's columns are the fields below, in this order. Another event is another
model in another file, named by `NEPTUNE_CONTRACT=package.module:Model`. Nothing but the model may live here.

Neptune validates in strict mode: a value has the JSON type that its field names, and nothing is coerced (`"40.6"` is
no latitude, `true` is no number; an integer is one). Strings are kept as they come, byte for byte. A field that the
model does not name is no reason to refuse: it is kept in the column `_extra`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, computed_field

from neptune_flow.contract.event_time import EventTime

Text = Annotated[str, Field(min_length=1)]
"""Any text but the empty one: an id has whatever form its maker gives it, and tomorrow's status is not refused today."""
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class DeliveryData(BaseModel):
    """Where a vehicle is on its way from a start to an end."""

    model_config = ConfigDict(strict=True)

    device_id: Text
    vehicle_id: Text
    session_id: Text
    order_id: Text
    status: Text
    timestamp: Annotated[datetime, EventTime()]
    start_lat: Latitude
    start_lon: Longitude
    end_lat: Latitude
    end_lon: Longitude
    current_lat: Latitude
    current_lon: Longitude

    @computed_field  # type: ignore[prop-decorator]
    @property
    def event_date(self) -> date:
        """UTC day of the event; messages do not carry it. The table is partitioned by it."""
        return self.timestamp.date()
