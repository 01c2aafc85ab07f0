"""Fuzzed messages, what must become of each, and the shortest one that shows a fault.

    subjects   the contracts, and how a good message of each is written
    tokens     contents on which decoders disagree
    messages   from a seed to messages, as producers, bad programs and bad memory would write them
    oracle     what Pydantic and the documented rules say of a message, and the same of what landed
    shrink     a failing message made small
    live       a million of them through the real process

`python -m tests.fuzz 1000000` runs them through a real Kafka, Neptune, object storage and catalog. Nothing of `neptune_flow.validation` may be used to say what
is expected.
"""
