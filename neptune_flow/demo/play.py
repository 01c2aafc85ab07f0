"""One run of the demonstration: stages it, watches it, and judges what landed."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from neptune_flow.demo.evidence import Evidence, count_reasons, examine, offsets_by_partition
from neptune_flow.demo.report import show, show_way_on
from neptune_flow.demo.stage import TOPIC, FlowProcess, Simulation, environment
from neptune_flow.errors import NeptuneError
from neptune_flow.iceberg import Lake
from neptune_flow.kafka.in_process import InProcessBroker
from neptune_flow.ledger import Ledger
from neptune_flow.settings import Settings
from neptune_flow.simulator import BAD_KINDS

_TICK_S = 0.2
_START_S_MAX = 60.0
"""A flow that has not started by then will not."""
_CATCH_UP_S_MAX = 60.0
"""How long the last messages may take to be committed; the commit age limit of the demonstration is 10 s."""
_DRAIN_S_MAX = 40.0
_SAMPLE_ROWS = 5
_PLAIN_LINE_EVERY_S = 5.0


@dataclass
class Demo:
    """One run."""

    console: Console
    folder: Path
    seconds: float
    rate: float
    vehicles: int
    seed: int

    def run(self) -> int:
        """The exit code: 0 if everything holds."""
        with ExitStack() as stack:
            stop = stack.enter_context(_stop_on_signal())
            broker = stack.enter_context(InProcessBroker())
            broker.make_topic(TOPIC)
            settings = environment(broker.bootstrap_servers, self.folder)
            simulation = Simulation(broker.bootstrap_servers, seed=self.seed, rate=self.rate, vehicles=self.vehicles)
            stack.callback(simulation.stop)
            flow = stack.enter_context(FlowProcess(settings, self.folder / "flow.log"))
            ended_well = self._watch(flow, simulation, stop)
            if stop.is_set() and simulation.sent == 0:
                self.console.print("stopped before the first message")
                return 130
            if not ended_well:
                return self._explain(flow)
            return self._judge(settings, simulation, broker)

    def _watch(self, flow: FlowProcess, simulation: Simulation, stop: threading.Event) -> bool:
        """Shows the progress until everything has landed and the flow has drained; whether it did."""
        begun = time.monotonic()
        first_row_s: float | None = None
        with _progress(self.console) as say:

            def tell(what: str) -> bool:
                nonlocal first_row_s
                said = flow.said
                if first_row_s is None and said.rows:
                    first_row_s = time.monotonic() - begun
                say(
                    f"{what}: {simulation.sent:,} sent, landed {said.rows:,} rows, {said.rejects:,} rejects "
                    f"in {said.commits} commits"
                )
                return flow.exit_code is None

            _wait(stop, _START_S_MAX, lambda: tell("starting") and not flow.said.started)
            if not flow.said.started:
                return False
            # Not before: what the broker retains is too little to hold a slow start's backlog.
            simulation.start()
            until = time.monotonic() + self.seconds
            _wait(stop, self.seconds, lambda: tell(f"{max(0, until - time.monotonic()):.0f} s more"))
            simulation.stop()
            landed = threading.Event()
            _wait(landed, _CATCH_UP_S_MAX, lambda: tell("last window") and _landed(flow) < simulation.sent)
            tell("draining")
            ended_well = flow.exit_code is None and flow.drain(_DRAIN_S_MAX) == 0
        if ended_well and first_row_s is not None:
            self.console.print(
                f"{simulation.sent:,} messages produced; first row committed {first_row_s:.1f} s after the start; "
                f"{flow.said.commits} commits; SIGTERM drained the flow, exit code 0"
            )
        return ended_well

    def _explain(self, flow: FlowProcess) -> int:
        for line in flow.said.last_lines:
            self.console.print(line, markup=False, highlight=False)
        self.console.print(f"the flow did not end well: exit code {flow.exit_code}", style="bold red")
        return 1

    def _judge(self, environ: dict[str, str], simulation: Simulation, broker: InProcessBroker) -> int:
        settings = Settings.load(environ)
        lake = Lake.open(settings.catalog.name, settings.catalog_properties(), request_timeout_s=30)
        rows = lake.find_table(settings.catalog.namespace, settings.catalog.table)
        rejects = lake.find_table(settings.catalog.namespace, settings.quarantine_table)
        ledger = rows.read_ledger() if rows else None
        if rows is None or rejects is None or ledger is None:
            self.console.print("no row has landed", style="bold red")
            return 1
        kafka = rows.to_arrow(columns=["_kafka"])["_kafka"].combine_chunks()
        refused = rejects.to_arrow(columns=["partition", "offset", "reasons"]).combine_chunks()
        evidence = _evidence(
            ledger,
            simulation,
            broker.ends(TOPIC),
            offsets_by_partition(kafka.field("partition"), kafka.field("offset")),
            offsets_by_partition(refused["partition"], refused["offset"]),
            count_reasons(refused["reasons"]),
        )
        sample = rows.to_arrow(limit=_SAMPLE_ROWS).to_pylist()
        show(self.console, evidence, dict(simulation.bad), rows.files(), sample)
        return 0 if all(verdict.holds for verdict in evidence.verdicts()) else 1


def _evidence(
    ledger: Ledger,
    simulation: Simulation,
    ends: dict[int, int],
    row_offsets: dict[int, np.ndarray],
    reject_offsets: dict[int, np.ndarray],
    reasons: Counter[str],
) -> Evidence:
    none = np.empty(0, dtype=np.int64)
    bad: Counter[str] = Counter()
    for kind in BAD_KINDS:
        if simulation.bad[kind.name]:
            bad[kind.reason] += simulation.bad[kind.name]
    partitions = tuple(
        examine(entry, number, ends[number], row_offsets.get(number, none), reject_offsets.get(number, none))
        for number, entry in sorted(ledger.entries.items())
    )
    return Evidence(simulation.sent, bad, reasons, partitions)


def _landed(flow: FlowProcess) -> int:
    return flow.said.rows + flow.said.rejects


def _wait(stop: threading.Event, seconds: float, go_on: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while go_on() and time.monotonic() < until and not stop.wait(_TICK_S):
        pass


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """A line that is rewritten on a terminal; elsewhere a new line from time to time."""
    if not console.is_terminal:
        yield _now_and_then(console)
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("starting")
        yield lambda text: progress.update(task, description=text)


def _now_and_then(console: Console) -> Callable[[str], None]:
    told_s = float("-inf")

    def say(text: str) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _PLAIN_LINE_EVERY_S:
            told_s = time.monotonic()
            console.print(text, highlight=False)

    return say


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """The first Ctrl-C or SIGTERM asks for an orderly end, the second cuts off."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def play(*, folder: Path | None, seconds: float, rate: float, vehicles: int, seed: int) -> int:
    """Run the demonstration on the terminal.

    Args:
        folder: where catalog, tables and log are kept, empty or not there yet; None is a temporary one.
        seconds: how long messages are produced.
        rate: messages per second, not more than the broker's retention bears (`neptune demo --help`).

    Returns:
        The exit code: 0 everything holds; 1 something does not; 2 the folder is not empty; 130 interrupted; else that of a NeptuneError.
    """
    console = Console()
    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neptune-demo-")))
        else:
            place = folder.resolve()
            place.mkdir(parents=True, exist_ok=True)
            if any(place.iterdir()):
                console.print(f"{place} is not empty: give a new folder", style="bold red", highlight=False)
                return 2
        try:
            code = Demo(console, place, seconds, rate, vehicles, seed).run()
        except NeptuneError as error:
            console.print(str(error), markup=False, style="bold red")
            return error.exit_code
        except KeyboardInterrupt:
            return 130
        show_way_on(console, None if folder is None else place)
    return code
