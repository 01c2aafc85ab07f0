"""Iceberg: the catalog, the tables in it and the storage beneath. The only package that imports PyIceberg.

What decides whether to commit is `protocol`, which knows nothing of this; here is what acts, and what it says of the
outcome. `Lake` opens a catalog and finds tables, `LakeTable` is looked at, written to and committed to.
"""

from neptune_flow.iceberg.catalog import Lake
from neptune_flow.iceberg.commit import Attempt, TableLook
from neptune_flow.iceberg.reading import FileInfo, SnapshotInfo, TableReader
from neptune_flow.iceberg.tables import LakeTable

__all__ = ["Attempt", "FileInfo", "Lake", "LakeTable", "SnapshotInfo", "TableLook", "TableReader"]
