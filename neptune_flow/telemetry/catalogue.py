"""What each metric is, once: its name, unit, attributes and meaning; `readings` has where its numbers come from.

Names are OpenTelemetry's where it has them (`messaging.*`, `process.*`), else `neptune.*`; units are UCUM.
`python -m neptune_flow.telemetry.catalogue` prints the table of `docs/metrics.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from neptune_flow.telemetry import readings
from neptune_flow.telemetry.readings import (
    BUFFER,
    COMMIT_PHASE,
    CONTRACT,
    FATE,
    KIND,
    OUTCOME,
    PARTITION,
    PHASE,
    SERVICE,
    STAGE,
    STOP_REASON,
    TABLE,
    Point,
    Seen,
)
from neptune_flow.vitals import Phase


class Kind(StrEnum):
    """How a metric's numbers move."""

    COUNTER = "counter"
    UP_DOWN = "up-down counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `observe` reads its points, and is empty for a histogram, which is fed by each commit."""

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    watch: str
    observe: Callable[[Seen], Iterable[Point]] = lambda _seen: ()

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus."""
        parts = [self.name.replace(".", "_"), {"s": "seconds", "By": "bytes"}.get(self.unit, "")]
        return "_".join([*filter(None, parts), *(["total"] if self.kind is Kind.COUNTER else [])])


COMMIT_DURATION = Metric(
    "neptune.commit.duration",
    Kind.HISTOGRAM,
    "s",
    (COMMIT_PHASE,),
    "How long a commit took, by phase: `write` (the last data files, and Kafka's word that the topic is still the same), `quarantine`, `table`.",
    "Which phase grows: storage, or the catalog.",
)

METRICS = (
    Metric(
        "messaging.client.consumed.messages",
        Kind.COUNTER,
        "{message}",
        (
            "messaging.system",
            "messaging.operation.name",
            "messaging.destination.name",
            "messaging.consumer.group.name",
            PARTITION,
        ),
        "Messages taken from Kafka and judged.",
        "The rate: what Neptune moves.",
        readings.consumed,
    ),
    Metric(
        "neptune.consumed.size",
        Kind.COUNTER,
        "By",
        (),
        "Bytes of the values of messages taken from Kafka.",
        "",
        lambda seen: [(seen.vitals.taken_bytes, {})],
    ),
    Metric(
        "neptune.rows",
        Kind.COUNTER,
        "{row}",
        (),
        "Messages that the contract accepted, committed or not.",
        "",
        lambda seen: [(seen.vitals.rows, {})],
    ),
    Metric(
        "neptune.rejects",
        Kind.COUNTER,
        "{message}",
        (KIND,),
        "Messages that the contract refused, committed or not, by the kind of their first reason: at most 51 kinds, the rest counts as `other`.",
        "The share of all messages; a new kind after a producer's release.",
        readings.rejects,
    ),
    Metric(
        "neptune.commits",
        Kind.COUNTER,
        "{commit}",
        (OUTCOME,),
        "Commits that `landed`, and tries that did not at once: `lost_race` (another writer was first), `unknown` (the answer was lost; the table was read again and told).",
        "No `landed` while messages come; many `lost_race`.",
        lambda seen: seen.sums(OUTCOME, {"landed": "commits", "lost_race": "lost_races", "unknown": "unknown"}),
    ),
    COMMIT_DURATION,
    Metric(
        "neptune.committed.offsets",
        Kind.COUNTER,
        "{offset}",
        (FATE,),
        "Offsets that the ledger has passed, by what became of them: `row`, `reject`, `left_out` (by Kafka itself), `lost` (deleted by retention before they were read).",
        "Any `lost`.",
        lambda seen: seen.sums(FATE, {"row": "rows", "reject": "rejects", "left_out": "left_out", "lost": "lost"}),
    ),
    Metric(
        "neptune.committed.late",
        Kind.COUNTER,
        "{row}",
        (),
        "Committed rows whose window had closed before they came.",
        "A rise: the allowed lateness is too short, or a producer is behind.",
        lambda seen: [(seen.vitals.committed["late"], {})],
    ),
    Metric(
        "neptune.committed.files",
        Kind.COUNTER,
        "{file}",
        (TABLE,),
        "Data files that commits named, by table: `rows`, `quarantine`.",
        "Files per commit: many small ones make readers slow.",
        lambda seen: seen.sums(TABLE, {"rows": "files", "quarantine": "reject_files"}),
    ),
    Metric(
        "neptune.committed.size",
        Kind.COUNTER,
        "By",
        (TABLE,),
        "Bytes of these files.",
        "",
        lambda seen: seen.sums(TABLE, {"rows": "file_bytes", "quarantine": "reject_file_bytes"}),
    ),
    Metric(
        "neptune.freshness",
        Kind.GAUGE,
        "s",
        (),
        "Time since the table's ledger moved last, also before this process began.",
        "Above `NEPTUNE_COMMIT_AGE_S_MAX` while messages come.",
        readings.freshness_s,
    ),
    Metric(
        "neptune.waiting.age",
        Kind.GAUGE,
        "s",
        (),
        "Age of the oldest message that was taken and is not committed; 0 where none waits.",
        "Well above `NEPTUNE_COMMIT_AGE_S_MAX`: it runs and does not commit.",
        readings.waiting_age_s,
    ),
    Metric(
        "neptune.lag",
        Kind.GAUGE,
        "{message}",
        (PARTITION,),
        "Offsets of Kafka's log that are not in the table yet.",
        "Growth over minutes.",
        lambda seen: seen.of_ledger(lambda p: p.lag),
    ),
    Metric(
        "neptune.log.end",
        Kind.GAUGE,
        "{offset}",
        (PARTITION,),
        "Offset after the last message that Kafka holds, as the process that reads the partition heard last.",
        "",
        lambda seen: seen.of_partitions(lambda p: p.log_end),
    ),
    Metric(
        "neptune.ledger.next",
        Kind.GAUGE,
        "{offset}",
        (PARTITION,),
        "Offset after the last one that is in the table.",
        "In a cluster the lag is the greatest `neptune.log.end` less this one.",
        lambda seen: seen.of_ledger(lambda p: p.ledger_next),
    ),
    Metric(
        "neptune.watermark.age",
        Kind.GAUGE,
        "s",
        (PARTITION,),
        "How far the partition's watermark is behind now.",
        "One partition that stands still while the others move.",
        readings.watermark_age_s,
    ),
    Metric(
        "neptune.watermark.least.age",
        Kind.GAUGE,
        "s",
        (),
        "How far the table's least watermark is behind now: up to there it is complete.",
        "What the analyst is promised.",
        readings.least_watermark_age_s,
    ),
    Metric(
        "neptune.waiting",
        Kind.GAUGE,
        "{message}",
        (PARTITION,),
        "Messages that are collected and not yet handed on for a commit.",
        "",
        lambda seen: seen.of_partitions(lambda p: p.waiting),
    ),
    Metric(
        "neptune.waiting.limit",
        Kind.GAUGE,
        "{message}",
        (),
        "`NEPTUNE_COMMIT_ROWS_MAX`: a partition with so many commits without waiting for its window.",
        "",
        lambda seen: [(seen.about.commit_rows_max, {})],
    ),
    Metric(
        "neptune.open_windows",
        Kind.GAUGE,
        "{window}",
        (PARTITION,),
        "Event-time windows that are open.",
        "Growth: event times are spread wide.",
        lambda seen: seen.of_partitions(lambda p: p.open_windows),
    ),
    Metric(
        "neptune.buffer.size",
        Kind.GAUGE,
        "By",
        (BUFFER,),
        "Bytes in memory that wait for a commit (`spool`).",
        "Near its limit, more files are written early.",
        lambda seen: readings.held(seen, 0),
    ),
    Metric(
        "neptune.buffer.limit",
        Kind.GAUGE,
        "By",
        (BUFFER,),
        "How many they may be.",
        "",
        lambda seen: readings.held(seen, 1),
    ),
    Metric(
        "neptune.stage.time",
        Kind.COUNTER,
        "s",
        (STAGE,),
        "Time spent in a stage: `read` (Kafka), `validate` (the contract), `spool` (data files to the storage).",
        "Which stage is the narrow one; the rate is the share of a core, of `spool` also waiting.",
        readings.stage_times_s,
    ),
    Metric(
        "neptune.retries",
        Kind.COUNTER,
        "{retry}",
        (SERVICE,),
        "Tries that a service (`kafka`, `storage`, `catalog`) did not answer, or refused, while the flow waited for it.",
        "Any steady rate.",
        readings.retries,
    ),
    Metric(
        "neptune.service.up",
        Kind.GAUGE,
        "",
        (SERVICE,),
        "1 where the service answers, 0 where it is away: by a question every ten seconds beside the flow, or since the flow itself waits. Not before the first answer; with `NEPTUNE_HTTP_PORT` 0 in group mode alone.",
        "0.",
        readings.services_up,
    ),
    Metric(
        "neptune.service.away.age",
        Kind.GAUGE,
        "s",
        (SERVICE,),
        "For how long the service has been away, whoever noticed it first; 0 where it answers. `/healthz` tells the same.",
        "Above a minute.",
        readings.services_away_s,
    ),
    Metric(
        "neptune.outage.age",
        Kind.GAUGE,
        "s",
        (SERVICE,),
        "For how long the flow has waited for a service, from the first question without an answer; 0 once it has answered. The log's `waited_s` is the same.",
        "Towards `NEPTUNE_RETRY_S_MAX`, at which the process ends.",
        readings.outages_s,
    ),
    Metric(
        "neptune.phase",
        Kind.GAUGE,
        "",
        (PHASE,),
        f"1 for the phase in which the process is, 0 for the others: {', '.join(f'`{p.value}`' for p in Phase)}.",
        "`starting` for long: a service is missing.",
        readings.phase,
    ),
    Metric(
        "neptune.stops",
        Kind.COUNTER,
        "{stop}",
        (STOP_REASON,),
        "1 once the process ends, by the signal or the error. The last push over OTLP has it; a scrape may come too late.",
        "Errors.",
        readings.stops,
    ),
    Metric(
        "process.memory.usage",
        Kind.UP_DOWN,
        "By",
        (),
        "Physical memory of the process (on Linux).",
        "Against the next one.",
        readings.resident_bytes,
    ),
    Metric(
        "neptune.memory.limit",
        Kind.GAUGE,
        "By",
        (),
        "`NEPTUNE_MEMORY_BYTES_MAX`: what Neptune plans its buffers for.",
        "",
        lambda seen: [(seen.about.memory_bytes_max, {})],
    ),
    Metric(
        "process.uptime",
        Kind.GAUGE,
        "s",
        (),
        "How long the process has run.",
        "Falls back to 0 at each restart.",
        lambda seen: seen.age_s(seen.vitals.began_s),
    ),
    Metric(
        "neptune.build.info",
        Kind.GAUGE,
        "",
        ("service.version", "bytewax.version", CONTRACT, "process.runtime.version", TABLE),
        "Always 1; its attributes say what runs.",
        "",
        readings.build,
    ),
)
"""In the order of the table."""


def markdown() -> str:
    """A table of all metrics for the documentation."""
    lines = [
        "| metric | in Prometheus | type | unit | attributes | meaning | watch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for metric in METRICS:
        attributes = ", ".join(f"`{name}`" for name in metric.attributes)
        unit = f"`{metric.unit}`" if metric.unit else ""
        cells = (f"`{metric.name}`", f"`{metric.prometheus}`", metric.kind.value, unit, attributes)
        lines.append(f"| {' | '.join([*cells, metric.meaning, metric.watch])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(markdown() + "\n")
