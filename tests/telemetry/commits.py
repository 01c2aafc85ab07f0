"""Facts of commits, and what goes with them, for tests of what is told of them."""

from __future__ import annotations

from typing import Any

from neptune_flow.telemetry.readings import About
from neptune_flow.vitals import CommitFacts

ABOUT = About("sessions", "neptune", "default.raw", "package:Model", memory_bytes_max=512 << 20, commit_rows_max=1000)


def facts(**changes: Any) -> CommitFacts:
    """A commit of ten messages of one partition: seven rows, two rejects, one left out."""
    return CommitFacts(
        **{
            "began_s": 100.0,
            "written_s": 100.5,
            "quarantined_s": 100.75,
            "landed_s": 101.0,
            "snapshot": 11,
            "quarantine_snapshot": 12,
            "ranges": {0: (0, 10)},
            "rows": 7,
            "rejects": 2,
            "late": 1,
            "left_out": 1,
            "lost": 0,
            "files": 3,
            "file_bytes": 4096,
            "reject_files": 1,
            "reject_file_bytes": 512,
            "watermark_least": 90_000_000,
            "attempts": 2,
            "lost_races": 1,
            "unknown": 0,
            **changes,
        }
    )
