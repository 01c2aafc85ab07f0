"""What one process sends, to a receiver that decodes it: at its pace, at the end, and never at the flow's cost."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune_flow.errors import SettingsError, Unavailable
from neptune_flow.telemetry import configure_logging, get_logger
from neptune_flow.telemetry.signals import FLUSH_S_MAX, LastFlush, Signals
from neptune_flow.vitals import Vitals
from tests.telemetry.commits import ABOUT, facts
from tests.telemetry.receiver import Receiver, attributes, receiver

ROOT = Path(__file__).parents[2]
PROCESS = """
import sys
from neptune_flow.errors import Unavailable
from neptune_flow.process import Lifecycle, before_leaving, install_exit_codes
from neptune_flow.telemetry.signals import Signals
from tests.telemetry.commits import ABOUT, facts

install_exit_codes()
lifecycle = Lifecycle()
vitals = lifecycle.vitals
signals = Signals(vitals, ABOUT)
before_leaving(lifecycle.ended)
before_leaving(lambda _error: signals.flush())
with signals.traces.commit():
    vitals.has_committed(facts())
if sys.argv[1] == "fails":
    raise Unavailable("the catalog is away")
"""


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as kept:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", kept.address)
        yield kept


def committed() -> Signals:
    vitals = Vitals()
    signals = Signals(vitals, ABOUT)
    assert signals.traces
    vitals.rows = 7
    with signals.traces.commit():
        vitals.has_committed(facts())
    return signals


def ended(how: str, address: str) -> tuple[int, float, str]:
    """Exit code, seconds and log of a process that has committed once."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, how],
        cwd=ROOT,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, time.monotonic() - began_s, done.stderr


def test_without_a_variable_nothing_is_made_that_could_send() -> None:
    before = {thread.ident for thread in threading.enumerate()}
    signals = Signals(Vitals(), ABOUT)
    assert signals.traces is None
    assert {thread.ident for thread in threading.enumerate()} == before
    assert b"neptune_build_info" in signals.metrics.page()[2]


def test_a_variable_that_cannot_be_followed_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(SettingsError, match="OTEL_TRACES_EXPORTER"):
        Signals(Vitals(), ABOUT)


def test_metrics_and_traces_arrive_with_who_sent_them(received: Receiver) -> None:
    committed().flush()
    (root,) = received.spans("commit ")
    assert attributes(root)["neptune.ledger"] == ["0:0-10"]
    assert {span.parent_span_id for span in received.spans() if span.name != root.name} == {root.span_id}
    assert received.numbers("neptune.rows") == {(): 7}
    assert received.numbers("neptune.commits") == {("landed",): 1, ("lost_race",): 1, ("unknown",): 0}
    assert received.numbers("neptune.commit.duration") == {("write",): 0.5, ("quarantine",): 0.25, ("table",): 0.25}
    assert received.resource()["service.name"] == "neptune"


def test_headers_are_sent_and_not_logged(received: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=quite%20hidden")
    stream = io.StringIO()
    configure_logging("INFO", "json", stream=stream)
    committed().flush()
    get_logger("neptune.x").info("sent with quite hidden words")
    configure_logging("WARNING", "json")
    assert {headers["api-key"] for headers in received.headers} == {"quite hidden"}
    assert "quite hidden" not in stream.getvalue()


def test_a_receiver_that_hangs_holds_the_end_up_for_no_longer_than_the_limit(received: Receiver) -> None:
    signals = committed()
    received.go_on.clear()
    began_s = time.monotonic()
    signals.flush()
    assert FLUSH_S_MAX - 0.5 < time.monotonic() - began_s < FLUSH_S_MAX + 1
    received.go_on.set()


def test_the_last_flush_happens_once_and_its_parts_do_not_wait_for_each_other() -> None:
    ran: list[str] = []
    never = threading.Event()
    flush = LastFlush([never.wait, lambda: ran.append("sent")])
    flush.run(0.2)
    flush.run(0.2)
    assert ran == ["sent"]
    never.set()


@pytest.mark.parametrize(("how", "code"), [("ends", 0), ("fails", Unavailable.exit_code)])
def test_a_process_sends_what_is_left_when_it_ends(how: str, code: int) -> None:
    with receiver() as kept:
        assert ended(how, kept.address)[0] == code
        assert len(kept.spans("commit ")) == 1
        assert kept.numbers("neptune.commits")[("landed",)] == 1
        assert kept.numbers("neptune.stops") == ({} if how == "ends" else {("Unavailable",): 1})


@pytest.mark.parametrize(("how", "code"), [("ends", 0), ("fails", Unavailable.exit_code)])
def test_a_process_ends_in_time_and_with_its_own_code_where_the_receiver_hangs(how: str, code: int) -> None:
    with receiver() as kept:
        kept.go_on.clear()
        found, took_s, log = ended(how, kept.address)
    assert found == code
    assert took_s < FLUSH_S_MAX + 15
    assert "Traceback" not in log


def test_a_receiver_that_is_away_is_an_error_in_the_log_and_no_more() -> None:
    code, _, log = ended("ends", "http://127.0.0.1:9")
    assert code == 0
    assert "Traceback" not in log
