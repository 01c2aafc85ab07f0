"""What a run came to, as a table for people and as JSON for machines. Nothing is judged here."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from tests.chaos.arena import Counts
from tests.chaos.run import Outcome

COLUMNS = ("family", "restarts", "messages", "lost", "twin", "skip", "strange", "worst recovery")


def table(outcome: Outcome) -> str:
    """The table in Markdown: one line for each family, and their sum."""
    rows = [_row(name, counts) for name, counts in outcome.counts.items()]
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *rows, _row("**all**", outcome.total)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def text(outcome: Outcome) -> str:
    """The table with what belongs to it: seed, length, faults by kind, findings."""
    total = outcome.total
    parts = [
        f"seed {outcome.seed}; {outcome.duration_s / 60:.0f} minutes on {platform.system()} {platform.machine()}",
        table(outcome),
    ]
    if total.deleted:
        parts.append(
            f"Kafka deleted {total.deleted} messages on purpose before they were read: the ledgers count each of them."
        )
    parts.append("faults: " + "; ".join(f"{name} {count}" for name, count in sorted(total.faults.items())))
    parts.append("\n".join(total.found) or "nothing was found")
    return "\n\n".join(parts)


def write(outcome: Outcome, file: Path) -> None:
    """Write `file` with .md and with .json at its end."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".md").write_text(text(outcome) + "\n")
    document = {
        "seed": outcome.seed,
        "duration_s": round(outcome.duration_s, 1),
        "families": {name: _facts(counts) for name, counts in outcome.counts.items()},
        "total": _facts(outcome.total),
    }
    file.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


def _row(name: str, counts: Counts) -> tuple[str, ...]:
    numbers = (counts.restarts, counts.messages, counts.lost, counts.twin, counts.skip, counts.strange)
    return (name, *(f"{number:,}" for number in numbers), f"{counts.recovery_s_max:.1f} s")


def _facts(counts: Counts) -> dict[str, object]:
    return {**vars(counts), "faults": dict(counts.faults)}
