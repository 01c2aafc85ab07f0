"""The verdict: message batches in, rows and rejects out. Pydantic is the judge (design.md §6).

    validator    the face: a message batch becomes a Judged
    one_by_one   the verdict itself, message by message
    layouts      the fast way in front of it, for flat contracts
    layout       one layout, read by columns; opens with the argument why its yes is Pydantic's yes
    learning     from an accepted message to its layout
    pieces       where its pieces and contents lie
    leaves       escapes, and values that the contract does not name
    parsing      from contents to values
    rules        what the fast way knows of a field, read from the model's core schema
    chunk        many values as one text
    extra        the fields that a contract does not name
    rejects      the columns of the quarantine table

Pure: it takes the time as a value, and knows nothing of Kafka's client but the shape of a message, and nothing of
Iceberg.
"""

from __future__ import annotations

from neptune_flow.validation.one_by_one import Reason
from neptune_flow.validation.validator import EXTRA_COLUMN, KAFKA_COLUMN, Validator

__all__ = ["EXTRA_COLUMN", "KAFKA_COLUMN", "Reason", "Validator"]
