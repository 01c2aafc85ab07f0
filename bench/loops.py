"""What Neptune is measured beside: two loops that land the same topic in an Iceberg table, without any promise.

    bare    the pace that the libraries allow: calls of 200, lines joined, arrow-rs's JSON reader straight to columns, Kafka's offset and time beside
            them, tuned Parquet to S3, one commit at the end. No contract, no quarantine, no windows, nothing exact; one bad message ends it.
    naive   what people write: json.loads, a Pydantic model each, a pandas frame, PyIceberg's append.

Each is a program of its own (`python -m bench.loops bare …`), so that its CPU and memory can be told. Neither imports anything of Neptune but the
naive one its model, which is the user's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition
from pyarrow.fs import S3FileSystem
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

CALL_MESSAGES = 200
CALLS = 5
"""So many calls make a batch: 1,000 messages, as Neptune takes them."""
FILE_ROWS = 500_000
NAIVE_ROWS = 50_000
"""Rows of one pandas frame, and of one append."""
DICTIONARY_VALUE_BYTES_MAX = 1024
STRINGS = ("device_id", "vehicle_id", "session_id", "order_id", "status")
NUMBERS = ("start_lat", "start_lon", "end_lat", "end_lon", "current_lat", "current_lon")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in STRINGS]
    + [("timestamp", pa.timestamp("us", "UTC"))]
    + [(name, pa.float64()) for name in NUMBERS]
)
SMALL_SCHEMA = pa.schema(
    [
        ("vehicle_id", pa.string()),
        ("timestamp", pa.timestamp("us", "UTC")),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("status", pa.string()),
    ]
)
SCHEMAS = {"delivery": SCHEMA, "small": SMALL_SCHEMA}
PLACES = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), ("kafka_time", pa.timestamp("ms", "UTC"))])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.loops", description=__doc__.splitlines()[0])
    parser.add_argument("loop", choices=["bare", "naive"])
    parser.add_argument("--topic", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--schema", choices=SCHEMAS, default="delivery")
    options = parser.parse_args()
    if options.loop == "bare":
        bare(options.topic, options.table, options.messages, SCHEMAS[options.schema])
    else:
        naive(options.topic, options.table, options.messages)
    sys.stdout.write(json.dumps({"loop": options.loop, "messages": options.messages}) + "\n")


def bare(topic: str, table: str, messages: int, columns_schema: pa.Schema) -> None:
    """The bare loop: see the module's head."""
    from arro3.io import read_json

    catalog = _catalog()
    schema = pa.schema([*columns_schema, *PLACES])
    landed = catalog.create_table(("default", table), schema=schema)
    storage = S3FileSystem(
        endpoint_override=os.environ["MINIO_ENDPOINT"],
        access_key=os.environ["MINIO_ACCESS_KEY"],
        secret_key=os.environ["MINIO_SECRET_KEY"],
        region="us-east-1",
        allow_bucket_creation=False,
    )
    batches: list[pa.RecordBatch] = []
    paths: list[str] = []
    rows = 0

    def write() -> None:
        path = f"{landed.location().removeprefix('s3://')}/data/{len(paths)}.parquet"
        with pq.ParquetWriter(
            path,
            schema,
            filesystem=storage,
            compression="zstd",
            compression_level=1,
            use_dictionary=[*_short_texts(batches[0]), "partition"],
            dictionary_pagesize_limit=8 << 20,
        ) as writer:
            writer.write_table(pa.Table.from_batches(batches, schema))
        paths.append(f"s3://{path}")
        batches.clear()

    for taken in _batches(topic, messages):
        lines = io.BytesIO(b"\n".join([m.value() for m in taken]))
        (columns,) = pa.RecordBatchReader.from_stream(read_json(lines, columns_schema, batch_size=len(taken)))
        count = len(taken)
        places = [
            pa.array(np.fromiter((m.partition() for m in taken), np.int32, count)),
            pa.array(np.fromiter((m.offset() for m in taken), np.int64, count)),
            pa.array(np.fromiter((m.timestamp()[1] for m in taken), np.int64, count)).cast(PLACES.types[2]),
        ]
        batches.append(pa.RecordBatch.from_arrays([*columns.columns, *places], schema=schema))
        rows += count
        if rows >= FILE_ROWS:
            write()
            rows = 0
    if batches:
        write()
    landed.add_files(paths, check_duplicate_files=False)


def _short_texts(batch: pa.RecordBatch) -> list[str]:
    """The text columns for which a dictionary may pay."""
    texts = [name for name, kind in zip(batch.schema.names, batch.schema.types, strict=True) if kind == pa.string()]
    return [name for name in texts if batch.column(name).nbytes <= DICTIONARY_VALUE_BYTES_MAX * batch.num_rows]


def naive(topic: str, table: str, messages: int) -> None:
    """The naive loop: see the module's head."""
    import pandas as pd

    from neptune_flow.contract import DeliveryData

    landed: Table = _catalog().create_table(("default", table), schema=SCHEMA)
    rows: list[dict[str, Any]] = []

    def append() -> None:
        frame = pd.DataFrame(rows)
        landed.append(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False))
        rows.clear()

    for taken in _batches(topic, messages):
        rows.extend(DeliveryData.model_validate_json(m.value()).model_dump() for m in taken)
        if len(rows) >= NAIVE_ROWS:
            append()
    if rows:
        append()


def _batches(topic: str, messages: int) -> Iterator[list[Any]]:
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    seen = 0
    while seen < messages:
        taken: list[Any] = []
        for _ in range(CALLS):
            taken += consumer.consume(CALL_MESSAGES, 0.1)
        for message in taken:
            if message.error():
                raise RuntimeError(message.error().str())
        if taken:
            seen += len(taken)
            yield taken
        else:
            time.sleep(0.01)
    consumer.close()


def _catalog() -> Catalog:
    catalog = load_catalog(
        "bench",
        **{
            "type": "rest",
            "uri": os.environ["ICEBERG_REST_URL"],
            "s3.endpoint": os.environ["MINIO_ENDPOINT"],
            "s3.access-key-id": os.environ["MINIO_ACCESS_KEY"],
            "s3.secret-access-key": os.environ["MINIO_SECRET_KEY"],
            "s3.region": "us-east-1",
        },
    )
    catalog.create_namespace_if_not_exists("default")
    return catalog


if __name__ == "__main__":
    main()
