"""Faults of Kafka: brokers that restart, records that retention deletes, a topic that is created anew."""

from __future__ import annotations

import signal

from confluent_kafka import KafkaException

from tests.chaos.arena import PARTITIONS, Arena
from tests.chaos.families.servers import IMPATIENT
from tests.services.neptune import Neptune, wait_for

QUICK_TO_NOTICE = {"NEPTUNE_KAFKA_PROPERTIES": '{"socket.timeout.ms": 3000}'}


def brokers_restart(arena: Arena) -> None:
    """One of two brokers is killed, stopped or frozen, leaders move; or both are away for longer than the limit."""
    cluster = arena.stage.kafka
    with arena.load():
        neptune = arena.start(**QUICK_TO_NOTICE)
        arena.wait_commits(neptune)
        while arena.wants_more():
            if arena.random.random() < 0.2:
                _all_away(arena, neptune)
            else:
                _one_away(arena, neptune)
            neptune = arena.start(**QUICK_TO_NOTICE)
            arena.wait_commits(neptune, arena.random.choice((1, 1, 2)))
    assert cluster.is_running


def _one_away(arena: Arena, neptune: Neptune) -> None:
    node = arena.random.choice(arena.stage.kafka.nodes)
    how = arena.random.choice(("kill", "stop", "pause"))
    arena.counts.faults[f"broker {node.node}: {how}"] += 1
    {"kill": node.kill, "stop": node.stop, "pause": node.pause}[how]()
    arena.let_pass(arena.random.uniform(0, 2))
    is_killed_meanwhile = arena.random.random() < 0.5
    if is_killed_meanwhile:
        arena.kill(neptune)
    if how == "pause":
        node.resume()
    else:
        node.start()
    arena.fault_ended()
    if not is_killed_meanwhile:
        arena.wait_commits(neptune)
        arena.kill(neptune)


def _all_away(arena: Arena, neptune: Neptune) -> None:
    arena.kill(neptune)
    impatient = arena.start(**IMPATIENT, **QUICK_TO_NOTICE)
    arena.wait_commits(impatient)
    arena.counts.faults["all brokers away for longer than the limit"] += 1
    with arena.stage.kafka.paused():
        arena.expect_exit(impatient, 69)


def retention(arena: Arena) -> None:
    """Records are deleted while Neptune is down, or under its hands; what it had not read is counted in the ledger as lost."""
    with arena.load():
        neptune = arena.start()
        arena.wait_commits(neptune)
        while arena.wants_more():
            is_down = arena.random.random() < 0.6
            if is_down:
                arena.kill(neptune)
            else:
                neptune.send(signal.SIGSTOP)
            arena.let_pass(arena.random.uniform(0, 1.5))
            arena.delete_records(_somewhere(arena))
            if is_down:
                neptune = arena.start()
            else:
                neptune.send(signal.SIGCONT)
                arena.fault_ended()
                arena.wait_commits(neptune)
                arena.kill(neptune)
                neptune = arena.start()
            arena.wait_commits(neptune)


def _somewhere(arena: Arena) -> dict[int, int]:
    """Per partition, an offset between the ledger's number and the log's end; not for every partition."""
    ledger, ends = arena.stage.ledger(), arena.stage.log_ends()
    partitions = arena.random.sample(sorted(ends), arena.random.randint(1, len(ends)))
    return {p: arena.random.randint(min(ledger[p]["next"] if p in ledger else 0, ends[p]), ends[p]) for p in partitions}


def topic_recreated(arena: Arena) -> None:
    """The topic is deleted and created anew while Neptune is down, or runs: it stops with 65, and the table holds the old topic alone.

    The new topic lands in a table of its own then.
    """
    stage = arena.stage
    name, number = stage.table, 0
    while arena.wants_more():
        number += 1
        stage.table = stage.group = f"{name}_{number}"
        with arena.load():
            neptune = arena.start()
            arena.wait_commits(neptune, arena.random.choice((1, 2)))
        is_running = arena.random.random() < 0.5
        if not is_running:
            arena.kill(neptune)
        old = arena.traffic
        stage.kafka.delete_topic(stage.topic)
        _create_again(arena)
        arena.traffic = stage.traffic()
        with arena.load():
            if not is_running:
                neptune = arena.start()
            arena.expect_exit(neptune, 65)
        ledger = stage.ledger()
        arena.judge(old.sent, is_excused=lambda p, ledger=ledger: p[1] >= ledger[p[0]]["next"])  # type: ignore[misc]
        arena.verify("--no-kafka")
    stage.table = stage.group = f"{name}_last"
    arena.settle()


def _create_again(arena: Arena) -> None:
    """Kafka may say for a moment that the topic still exists."""

    def created() -> bool:
        try:
            arena.stage.create_topic(PARTITIONS)
        except KafkaException:
            return False
        return True

    wait_for(created, "the topic is created anew")
