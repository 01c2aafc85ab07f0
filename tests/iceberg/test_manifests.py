"""Manifests that are carried over, and those that PyIceberg's writers write."""

from __future__ import annotations

from neptune_flow.iceberg.manifests import carried
from tests.iceberg.worlds import manifest


def test_manifests_without_a_live_entry_are_not_carried_over() -> None:
    alive, dead = manifest(1, 1), manifest(2, 0, deleted=3)
    assert carried([alive, dead]) == [alive]
