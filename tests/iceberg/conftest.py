from __future__ import annotations

from pathlib import Path

import pytest

from neptune_flow.iceberg import Lake, LakeTable
from tests.iceberg.worlds import open_lake, open_table


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path)


@pytest.fixture
def table(lake: Lake) -> LakeTable:
    return open_table(lake)
