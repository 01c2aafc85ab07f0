"""What a process has around its flow: settings, logs, signals, exit codes, metrics, health and page. Two ways in:

flow       the dataflow for Bytewax to run (`dataflow.py`); this process, or its cluster, lands all of the topic
run_group  this process lands what the consumer group assigns to it (`group`), round after round

What is wrong with settings, contract or port stops the start before anything is opened.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import NamedTuple

from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow

from neptune_flow.cluster import cluster_addresses
from neptune_flow.group import Round, run_rounds
from neptune_flow.health import HealthWatch
from neptune_flow.pipeline import build
from neptune_flow.process import Lifecycle, before_leaving, install_exit_codes
from neptune_flow.settings import Settings
from neptune_flow.start import Start
from neptune_flow.telemetry import configure_logging, get_logger, register_secret
from neptune_flow.telemetry.readings import About
from neptune_flow.telemetry.signals import Signals
from neptune_flow.web import POLICIES, open_server, status_routes

log = get_logger("neptune")


def flow() -> Dataflow:
    """The dataflow that the environment's settings describe, with this process's signals and exit codes.

    Raises:
        SettingsError, ContractError: what is wrong, before anything is opened.
    """
    around = _prepare()
    around.lifecycle.nothing_to_drain = True
    dataflow = build(around.settings, around.lifecycle, around.signals.traces)
    if around.settings.kafka.group_mode:
        log.info(
            "group_mode_not_used",
            reason="Bytewax runs this flow, which lands all of the topic, alone or as a cluster",
            hint="`neptune run` shares the topic with the other processes of the group",
        )
    if around.settings.http_port:
        _open_http(around, _watch(around))
    addresses = cluster_addresses()
    if addresses:
        # The engine waits for all processes of a cluster without a word.
        log.info("waiting_for_cluster", addresses=addresses, effect="nothing begins until all processes are there")
    return dataflow


def run_group(workers: int = 1, epoch_s: int = 1) -> None:
    """Land what the consumer group assigns; returns when a signal has drained it.

    Args:
        workers: threads of this process.
        epoch_s: seconds between commits at most.

    Raises:
        NeptuneError: what is wrong, or why it stopped.
    """
    settings, lifecycle, signals = around = _prepare()
    start = Start.of(settings, lifecycle)
    health = _watch(around)
    if settings.http_port:
        _open_http(around, health)

    def land(this: Round) -> None:
        dataflow = build(settings, lifecycle, signals.traces, this)
        cli_main(dataflow, workers_per_process=workers, epoch_interval=timedelta(seconds=epoch_s))  # type: ignore[no-untyped-call]

    run_rounds(settings, lifecycle, start, land, is_alive=lambda: health.verdict().live)


class _Around(NamedTuple):
    settings: Settings
    lifecycle: Lifecycle
    signals: Signals


def _prepare() -> _Around:
    install_exit_codes()
    configure_logging()
    settings = Settings.load()
    for secret in settings.secrets():
        register_secret(secret)
    configure_logging(settings.log_level, settings.log_format)
    lifecycle = Lifecycle()
    signals = Signals(lifecycle.vitals, _about(settings))
    before_leaving(lifecycle.ended)
    before_leaving(lambda _error: signals.flush())
    if threading.current_thread() is threading.main_thread():
        lifecycle.install(settings.drain_s_max)
    return _Around(settings, lifecycle, signals)


def _watch(around: _Around) -> HealthWatch:
    health = HealthWatch(around.settings, around.lifecycle.vitals)
    health.start()
    return health


def _open_http(around: _Around, health: HealthWatch) -> None:
    """Health, page and metrics, in threads beside the flow; one server a process, whatever its workers."""
    settings, vitals = around.settings, around.lifecycle.vitals
    routes = {**status_routes(settings, vitals, health), "/metrics": around.signals.metrics.page}
    open_server(settings.http_host, settings.http_port, routes, POLICIES)


def _about(settings: Settings) -> About:
    return About(
        topic=settings.kafka.topic,
        group=settings.kafka.group,
        table=".".join([*settings.catalog.namespace, settings.catalog.table]),
        contract=settings.contract,
        memory_bytes_max=settings.memory_bytes_max,
        commit_rows_max=settings.commit_rows_max,
    )
