"""Manifests and manifest lists: what a snapshot consists of, written with PyIceberg's writers. No catalog, no decision.

A commit writes one manifest for its data files and one list that names it beside the manifests of the parent, some of
them merged (`merging`). Manifests of others, also those of deletes, are carried over as they are. Nothing is ever
removed from storage.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from pyiceberg.avro.codecs import AvroCompressionCodec
from pyiceberg.io import FileIO, InputFile, OutputFile
from pyiceberg.manifest import (
    UNASSIGNED_SEQ,
    DataFileContent,
    FileFormat,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.table import Table
from pyiceberg.table.locations import LocationProvider
from pyiceberg.typedef import Record

from neptune_flow.records import DataFile


@dataclass(slots=True)
class Traffic:
    """What a commit asked of the storage."""

    objects_read: int = 0
    objects_written: int = 0
    bytes_written: int = 0


@dataclass(frozen=True, slots=True)
class OpenManifest:
    """A manifest in memory that still takes entries."""

    writer: ManifestWriter
    output: _Output

    def put(self, entry: ManifestEntry) -> None:
        """Take the entry of a file that an earlier snapshot has added."""
        self.writer.existing(entry)


@dataclass(slots=True)
class Writer:
    """Writes the manifests of one snapshot.

    Every object is collected in memory and stored in one request: Avro writers write field by field, and PyIceberg
    would ask the storage for the length of what was just written.
    """

    table: Table
    snapshot_id: int
    sequence_number: int
    locations: LocationProvider
    traffic: Traffic = field(default_factory=Traffic)
    _run: uuid.UUID = field(default_factory=uuid.uuid4)
    _count: int = 0

    def add(self, files: Sequence[DataFile]) -> list[ManifestFile]:
        """One manifest for new data files; none where there are none."""
        if not files:
            return []
        spec_id = self.table.metadata.default_spec_id
        manifest = self.open()
        for file in files:
            manifest.writer.add(added_entry(file, spec_id, self.snapshot_id))
        return [self.close(manifest)]

    def read(self, manifest: ManifestFile) -> list[ManifestEntry]:
        """The live entries of a manifest."""
        self.traffic.objects_read += 1
        return manifest.fetch_manifest_entry(self.table.io)

    def open(self) -> OpenManifest:
        """A manifest that may be closed by a later snapshot's writer."""
        output = _Output(self.locations.new_metadata_location(f"{self._run}-m{self._count}.avro"))
        self._count += 1
        writer = write_manifest(
            format_version=self.table.metadata.format_version,
            spec=self.table.spec(),
            schema=self.table.schema(),
            output_file=output,
            snapshot_id=self.snapshot_id,
            avro_compression=self._codec,
        )
        return OpenManifest(writer.__enter__(), output)

    def close(self, manifest: OpenManifest) -> ManifestFile:
        """Store a manifest with at least one entry."""
        manifest.writer.__exit__(None, None, None)
        self._store(manifest.output)
        return manifest.writer.to_manifest_file()

    def write_list(self, manifests: Sequence[ManifestFile], parent: int | None) -> tuple[str, list[ManifestFile]]:
        """Write the manifest list; its path, and the manifests as it names them."""
        path = self.locations.new_metadata_location(f"snap-{self.snapshot_id}-0-{self._run}.avro")
        output = _Output(path)
        with write_manifest_list(
            format_version=self.table.metadata.format_version,
            output_file=output,
            snapshot_id=self.snapshot_id,
            parent_snapshot_id=parent,
            sequence_number=self.sequence_number,
            avro_compression=self._codec,
        ) as writer:
            named = [writer.prepare_manifest(manifest) for manifest in manifests]
            writer.add_manifests(named)
        self._store(output)
        return path, named

    def _store(self, output: _Output) -> None:
        self.traffic.bytes_written += output.store(self.table.io)
        self.traffic.objects_written += 1

    @property
    def _codec(self) -> AvroCompressionCodec:
        return cast(AvroCompressionCodec, self.table.properties.get("write.avro.compression-codec", "gzip"))


def carried(manifests: Iterable[ManifestFile]) -> list[ManifestFile]:
    """The parent's manifests that the next snapshot needs: those with a live entry."""
    return [m for m in manifests if m.has_added_files() or m.has_existing_files()]


def named_by(manifest: ManifestFile, snapshot_id: int) -> ManifestFile:
    """A manifest of existing files as one that this snapshot is the first to name, whoever wrote it."""
    return ManifestFile.from_args(
        manifest_path=manifest.manifest_path,
        manifest_length=manifest.manifest_length,
        partition_spec_id=manifest.partition_spec_id,
        content=manifest.content,
        sequence_number=UNASSIGNED_SEQ,
        min_sequence_number=manifest.min_sequence_number,
        added_snapshot_id=snapshot_id,
        added_files_count=manifest.added_files_count,
        existing_files_count=manifest.existing_files_count,
        deleted_files_count=manifest.deleted_files_count,
        added_rows_count=manifest.added_rows_count,
        existing_rows_count=manifest.existing_rows_count,
        deleted_rows_count=manifest.deleted_rows_count,
        partitions=manifest.partitions,
        key_metadata=manifest.key_metadata,
    )


def added_entry(file: DataFile, spec_id: int, snapshot_id: int, sequence_number: int | None = None) -> ManifestEntry:
    """A manifest's entry of a file that a snapshot adds; it has a sequence number once that has landed."""
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.ADDED,
        snapshot_id=snapshot_id,
        sequence_number=sequence_number,
        file_sequence_number=sequence_number,
        data_file=iceberg_file(file, spec_id),
    )


def iceberg_file(file: DataFile, spec_id: int) -> IcebergFile:
    """The same file as PyIceberg has it."""
    data_file = IcebergFile.from_args(
        content=DataFileContent.DATA,
        file_path=file.path,
        file_format=FileFormat.PARQUET,
        partition=Record(file.day),
        record_count=file.record_count,
        file_size_in_bytes=file.file_size_bytes,
        column_sizes=file.column_sizes,
        value_counts=file.value_counts,
        null_value_counts=file.null_value_counts,
        nan_value_counts=file.nan_value_counts,
        lower_bounds=file.lower_bounds,
        upper_bounds=file.upper_bounds,
        key_metadata=None,
        split_offsets=list(file.split_offsets),
        equality_ids=None,
        sort_order_id=None,
    )
    data_file.spec_id = spec_id
    return data_file


class _Output(OutputFile):
    """A file that is collected in memory and stored in one piece."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._piece = _Piece()

    def __len__(self) -> int:
        return len(self._piece.content)

    def exists(self) -> bool:
        return False

    def to_input_file(self) -> InputFile:
        raise NotImplementedError("PyIceberg's writers do not read what they write")

    def create(self, overwrite: bool = False) -> _Piece:
        return self._piece

    def store(self, storage: FileIO) -> int:
        """Write the file; its size in bytes."""
        with storage.new_output(self.location).create(overwrite=True) as stream:
            stream.write(self._piece.content)
        return len(self._piece.content)


class _Piece(io.BytesIO):
    """A stream that keeps its content when it is closed."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()
