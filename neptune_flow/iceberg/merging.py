"""Merging manifests: what keeps the manifest list short, done a little with every commit so that no commit pays for all.

Left alone, the manifest list, and with it the cost of a commit, would grow with every commit. So where MERGE_COUNT
manifests of one tier have gathered, they become one of the next tier. Each entry is rewritten once per tier, and the list
grows like the logarithm of the number of commits up to FULL_ENTRIES, beyond which a manifest is never touched again.

To rewrite thousands of entries takes a second. So a merge goes on over many commits, in memory: each takes up a few of
the old manifests and puts some of their entries into the new one, and the last of them stores it and names it in their
place. Old manifests do not change, so nothing that happens meanwhile can spoil it: where one of them is no longer part of
the table, the merge is given up. A merge that a process did not finish is begun again by the next; where too many
manifests wait because processes never live long enough, one commit does the rest at once (OVERDUE_COUNT).

Only data manifests of the current partition spec are merged. A merge keeps each entry's snapshot and sequence numbers, by
which readers apply deletes and incremental scans, and leaves out entries that tell of deleted files: they concern only the
snapshot that wrote them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestFile

from neptune_flow.iceberg.manifests import OpenManifest, Writer, added_entry, named_by
from neptune_flow.records import DataFile

MERGE_COUNT = 16
"""Manifests of a tier that are merged together."""

FULL_ENTRIES = 4096
"""A manifest with this many entries (some 2.5 MB) is full; also the most that one merge rewrites."""

TIERS = (MERGE_COUNT, MERGE_COUNT**2, FULL_ENTRIES)
"""A manifest belongs to the first tier whose number is above its count of live entries."""

ENTRIES_PER_COMMIT_MIN = 4
ENTRIES_PER_FILE = 2
"""Entries of a tier that one commit rewrites, some 0.2 ms each: twice what it adds, so that merging keeps ahead, and at least four."""

INPUTS_PER_COMMIT_MAX = 2
"""Old manifests of a tier that one commit takes up: one is added per commit, and one that is not remembered costs a request."""

OVERDUE_COUNT = 4 * MERGE_COUNT
"""So many manifests of a tier are merged at once, whatever it takes."""

REMEMBERED_FILES_MAX = 512
"""Data files of this process's own small manifests that are kept for the merge to come, some 2 KB each: nothing is read for it."""


class Merged(NamedTuple):
    """What the merges of one commit come to."""

    new: list[ManifestFile]
    replaced: set[ManifestFile]
    """By the new ones; the snapshot must not name them any more."""
    entries: int
    """Of the new ones."""


class _Work(NamedTuple):
    """What a commit may do for one merge."""

    entries_max: int
    inputs_max: int


_ALL_AT_ONCE = _Work(2 * FULL_ENTRIES, OVERDUE_COUNT)


class Merger:
    """The merges of one table that go on from commit to commit. It belongs to one committer."""

    def __init__(self) -> None:
        self._merges: dict[int, _Merge] = {}
        self._remembered: dict[str, Sequence[DataFile]] = {}

    def remember(self, manifest: ManifestFile, files: Sequence[DataFile]) -> None:
        """Keep what a manifest of this process holds, if it is a small one."""
        if len(files) < MERGE_COUNT:
            self._remembered[manifest.manifest_path] = files
        while sum(map(len, self._remembered.values())) > REMEMBERED_FILES_MAX:
            del self._remembered[next(iter(self._remembered))]

    def step(self, writer: Writer, manifests: Sequence[ManifestFile], new_files: int) -> Merged:
        """Go on with the merges of a table for one commit upon these manifests.

        What it returns may be named in the snapshot. If that snapshot does not land, the next step returns it again.

        Args:
            writer: of the new snapshot.
            manifests: of the parent.
            new_files: data files that the commit adds.
        """
        live = set(manifests)
        self._merges = {tier: m for tier, m in self._merges.items() if m.fits(writer) and live.issuperset(m.inputs)}
        work = _Work(max(ENTRIES_PER_COMMIT_MIN, ENTRIES_PER_FILE * new_files), INPUTS_PER_COMMIT_MAX)
        for tier, waiting in enumerate(tiers(manifests, writer.table.metadata.default_spec_id)):
            merge = self._merges.pop(tier, None)
            if merge is None and (chosen := due(waiting)):
                merge = _Merge(writer, chosen)
            if merge is not None:
                self._go_on(writer, merge, _ALL_AT_ONCE if len(waiting) >= OVERDUE_COUNT else work)
                self._merges[tier] = merge  # not if anything went wrong: an entry may be missing then
        done = [merge for merge in self._merges.values() if merge.is_done]
        return Merged(
            [named_by(m.result, writer.snapshot_id) for m in done if m.result],
            {manifest for merge in done for manifest in merge.inputs},
            sum(merge.entries for merge in done),
        )

    def _go_on(self, writer: Writer, merge: _Merge, work: _Work) -> None:
        entries_left, inputs_left = work
        while entries_left and not merge.is_done:
            if not merge.pending and merge.left:
                if not inputs_left:
                    return
                inputs_left -= 1
                merge.take_up(self._entries(writer, merge.left[0]))
            elif merge.pending:
                merge.rewrite_one()
                entries_left -= 1
            else:
                merge.finish(writer)

    def _entries(self, writer: Writer, manifest: ManifestFile) -> list[ManifestEntry]:
        files = self._remembered.pop(manifest.manifest_path, None)
        if files is None:
            return writer.read(manifest)
        snapshot_id, number = manifest.added_snapshot_id or 0, manifest.sequence_number
        return [added_entry(file, manifest.partition_spec_id, snapshot_id, number) for file in files]


class _Merge:
    """One merge on its way: manifests become one."""

    def __init__(self, writer: Writer, inputs: Sequence[ManifestFile]) -> None:
        self.inputs = inputs
        self.left = deque(inputs)
        self.pending: deque[ManifestEntry] = deque()
        self.entries = 0
        self.is_done = False
        self.result: ManifestFile | None = None
        """None as long as it is not done, and where no entry is alive."""
        self._open: OpenManifest = writer.open()
        self._made_for = _shape(writer)

    def fits(self, writer: Writer) -> bool:
        """Whether the table still has the columns, the partitioning and the format that the new manifest is made for."""
        return self._made_for == _shape(writer)

    def take_up(self, entries: Sequence[ManifestEntry]) -> None:
        """The entries of the next manifest that is left."""
        self.pending.extend(entries)
        self.left.popleft()

    def rewrite_one(self) -> None:
        self._open.put(self.pending.popleft())
        self.entries += 1

    def finish(self, writer: Writer) -> None:
        self.result = writer.close(self._open) if self.entries else None
        self.is_done = True


def tiers(manifests: Sequence[ManifestFile], spec_id: int) -> Iterator[list[ManifestFile]]:
    """Per tier, the manifests that may be merged, the smallest and oldest first."""
    data = [m for m in manifests if m.content == ManifestContent.DATA and m.partition_spec_id == spec_id]
    data.sort(key=lambda m: (_entries(m), m.sequence_number))
    for floor, ceiling in pairwise((0, *TIERS)):
        yield [m for m in data if floor <= _entries(m) < ceiling]


def due(tier: Sequence[ManifestFile]) -> list[ManifestFile]:
    """The first MERGE_COUNT of a tier's manifests, all together at most FULL_ENTRIES entries; empty if they are too few."""
    if len(tier) < MERGE_COUNT:
        return []
    chosen: list[ManifestFile] = []
    total = 0
    for manifest in tier[:MERGE_COUNT]:
        total += _entries(manifest)
        if total > FULL_ENTRIES:
            break
        chosen.append(manifest)
    return chosen if len(chosen) > 1 else []


def _entries(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _shape(writer: Writer) -> tuple[int, int, int]:
    metadata = writer.table.metadata
    return metadata.format_version, metadata.default_spec_id, metadata.current_schema_id
