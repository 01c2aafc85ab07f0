"""Where benchmarks leave what they found: figures for machines in bench/results (not kept in git), drawings in docs/figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def save(name: str, document: Mapping[str, Any]) -> None:
    """Write bench/results/NAME.json."""
    _write(ROOT / "bench" / "results" / f"{name}.json", json.dumps(document, indent=1))


def save_figure(name: str, svg: str) -> None:
    """Write docs/figures/NAME.svg."""
    _write(ROOT / "docs" / "figures" / f"{name}.svg", svg)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
