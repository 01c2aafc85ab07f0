"""Verification: from the tables alone, and from Kafka where it is reached, whether each message is there once. Changes nothing.

    task ─► run ─┬─► tables         every data file becomes sets of offsets (offsets)
                 ├─► judge, past    what the ledgers say beside what the tables hold: faults
                 └─► against_kafka  which of the missing offsets Kafka still delivers
                     report ─► text

It shares with the flow the ledger's format and the readers of table and topic, and nothing that decides or writes: an error of the flow must
not be its own witness. Memory is bounded: per Kafka partition two sets of offsets, at worst a bit and a little for each offset of the range,
one manifest's entries, and a few row groups of the columns that tell a message's place.
"""
