"""Kafka, as Neptune sees it: the only place that imports confluent_kafka.

`topic` finds the topic at the start and says where each partition begins; `reader` takes messages as batches of contiguous
offsets; `source` is the Bytewax face of the reader; `group_offsets` tells lag tools, after a commit, how far the table is;
`membership` is this process's place in the consumer group, where several processes share the topic.
"""

from neptune_flow.kafka.client import KafkaAddress
from neptune_flow.kafka.group_offsets import GroupOffsets
from neptune_flow.kafka.membership import Membership
from neptune_flow.kafka.reader import Progress, Reader, ReaderLimits, ReadFrom
from neptune_flow.kafka.source import KafkaSource
from neptune_flow.kafka.topic import Topic, TopicWatch, find_topic, log_ranges, make_topic, start_offsets

__all__ = [
    "GroupOffsets",
    "KafkaAddress",
    "KafkaSource",
    "Membership",
    "Progress",
    "ReadFrom",
    "Reader",
    "ReaderLimits",
    "Topic",
    "TopicWatch",
    "find_topic",
    "log_ranges",
    "make_topic",
    "start_offsets",
]
