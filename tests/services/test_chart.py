"""The world of Bytewax's Helm chart and waxctl, as processes: a shell in front of Python, a hostfile, one recovery store for all pods, and
pods that die or are replaced one by one. None of it loses or doubles a message; what a person must do there is in docs/kubernetes.md."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.services.neptune import OWN_COMMAND, ROOT, Neptune, wait_for
from tests.services.recovery import with_store
from tests.services.servers import free_port
from tests.services.stage import Stage
from tests.services.traffic import live_fleet

RATE = 400.0
STANDSTILL_S = 8.0
"""Twice NEPTUNE_COMMIT_AGE_S_MAX: who has not committed by then does not land."""
GRACE = {"NEPTUNE_DRAIN_S_MAX": "5"}
"""The chart gives a pod 10 s, so k8s/waxctl sets a lower limit for the drain."""


class Pods:
    """The pods of a StatefulSet of the chart. Each finds the others by the hostfile of the rendering that it was made from.

    Args:
        stage: where they land.
        options: Bytewax's, for all of them.
    """

    def __init__(self, stage: Stage, *options: str) -> None:
        self._stage = stage
        self._options = options
        self._addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]

    def start(
        self, numbers: Sequence[int], of: int, command: Sequence[str] = OWN_COMMAND, **changes: str
    ) -> list[Neptune]:
        """Start these pods, at once, as a rendering with `of` replicas makes them."""
        hostfile = self._stage.directory / f"hostfile-of-{of}.txt"
        hostfile.write_text("".join(f"{address}\n" for address in self._addresses[:of]))
        environments = [{**_chart(number, of, hostfile), **GRACE, **changes} for number in numbers]
        return [self._stage.start(*self._options, command=command, **environ) for environ in environments]


def _chart(number: int, of: int, hostfile: Path) -> dict[str, str]:
    """What the chart puts into a pod's environment beside the values' own."""
    return {
        "RUST_LOG": "librdkafka=debug,rdkafka::client=debug",
        "RUST_BACKTRACE": "full",
        "PYTHONUNBUFFERED": "1",
        "BYTEWAX_PYTHON_FILE_PATH": str(ROOT / "dataflow.py"),
        "BYTEWAX_WORKDIR": str(ROOT),
        "BYTEWAX_WORKERS_PER_PROCESS": "1",
        "BYTEWAX_POD_NAME": f"neptune-{number}",
        "BYTEWAX_REPLICAS": str(of),
        "BYTEWAX_KEEP_CONTAINER_ALIVE": "false",
        "BYTEWAX_HOSTFILE_PATH": str(hostfile),
        "BYTEWAX_STATEFULSET_NAME": "neptune",
        "BYTEWAX_DATAFLOW_API_PORT": "8080",
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": "/var/bytewax-api-cache",
        "BYTEWAX_OTLP_URL": "http://neptune-opentelemetry-collector:4317",
    }


def wait_for_commits(pods: list[Neptune], count: int = 2) -> None:
    wait_for(lambda: sum(len(pod.events("committed")) for pod in pods) >= count, f"{count} commits")


def stop(pods: list[Neptune]) -> list[int]:
    """SIGTERM to all, as when a StatefulSet is scaled to zero or deleted; their exit codes."""
    for pod in pods:
        pod.send(signal.SIGTERM)
    return [pod.wait() for pod in pods]


def test_behind_the_charts_shell_neptune_never_hears_sigterm_and_the_kill_after_the_grace_costs_nothing(
    stage: Stage, seed: int
) -> None:
    stage.create_topic(2)
    traffic = stage.traffic()
    with traffic.load(live_fleet(seed, RATE), RATE):
        first = stage.start(command=in_a_container(f"{shlex.quote(sys.executable)} dataflow.py; echo Process ended."))
        first.wait_event("committed")
        (shell,) = psutil.Process(first.pid).children()
        assert shell.name() == "sh"
        shell.terminate()
        first.wait_event("committed", count=3)
        assert not first.events("draining")
        shell.kill()
        first.wait()
        second = stage.start(command=OWN_COMMAND)
        second.wait_event("committed")
    stage.wait_caught_up(second)
    assert second.terminate() == 0, second.tail()
    stage.assert_exact(traffic.sent)


def in_a_container(script: str) -> list[str]:
    """A command that runs the script as a container does: its shell has the process id 1, which signals without a handler do not reach."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *as_root, "--pid", "--fork", "--kill-child", "sh", "-c", script]
    return ["-c", f"import os; os.execvp('unshare', {unshare!r})"]


def test_pods_with_one_recovery_store_begin_together_end_together_and_go_on_exactly(stage: Stage, seed: int) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    pods = Pods(stage, *with_store(stage.directory / "recovery"))
    with traffic.load(live_fleet(seed, RATE), RATE):
        first, second = pods.start([0, 1], of=2)
        wait_for_commits([first, second])
        assert [len(e["addresses"]) for e in first.events("waiting_for_cluster")] == [2]
        second.kill()
        assert first.wait() == 76, first.tail()
        again = pods.start([1, 0], of=2)
        wait_for_commits(again)
    stage.wait_caught_up(again[0])
    assert stop(again) == [0, 0], again[0].tail()
    stage.assert_exact(traffic.sent)


def test_a_rolling_update_to_more_pods_stands_still_until_all_have_ended(stage: Stage, seed: int) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    pods = Pods(stage)
    with traffic.load(live_fleet(seed, RATE), RATE):
        zero, one = pods.start([0, 1], of=2)
        wait_for_commits([zero, one])
        # The update replaces the pod of the highest number first. It waits for the one that stays, which hears no signal.
        assert stop([one]) == [73], one.tail()
        assert zero.wait() == 76, zero.tail()
        (old,), (new,) = pods.start([0], of=2), pods.start([1], of=3)
        # The old one takes the new one for the second of two, and begins; the new one waits for the third.
        old.wait_event("started")
        sent = len(traffic.sent)
        wait_for(lambda: len(traffic.sent) > sent + STANDSTILL_S * RATE, "messages that should land")
        assert not old.events("committed")
        assert not new.events("started")
        assert {old.exit_code, new.exit_code} == {None}
        assert set(stop([old, new])) <= {0, 73, 76}
        all_new = pods.start([0, 1, 2], of=3)
        wait_for_commits(all_new)
    stage.wait_caught_up(all_new[0])
    assert stop(all_new) == [0, 0, 0], all_new[0].tail()
    stage.assert_exact(traffic.sent)


def test_in_group_mode_each_pod_of_the_chart_stands_for_itself(stage: Stage, seed: int) -> None:
    stage.create_topic(4)
    traffic = stage.traffic()
    group = {"NEPTUNE_GROUP_MODE": "true", "NEPTUNE_SESSION_TIMEOUT_S": "6"}
    with traffic.load(live_fleet(seed, RATE), RATE):
        zero, one = Pods(stage).start([0, 1], of=2, command=("-m", "neptune_flow", "run"), **group)
        wait_for_commits([zero])
        wait_for_commits([one])
        assert one.terminate() == 0, one.tail()
        zero.wait_for(lambda: zero.events("partitions_assigned")[-1]["now"] == [0, 1, 2, 3], "all partitions")
    stage.wait_caught_up(zero)
    assert zero.terminate() == 0, zero.tail()
    stage.assert_exact(traffic.sent)
