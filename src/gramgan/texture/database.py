"""The texture database: real high-resolution patches and their Gram vectors in one Lance table."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gramgan.arguments import checked_methods, known
from gramgan.errors import UserError
from gramgan.places import as_place
from gramgan.progress import Progress, silent
from gramgan.team import Team
from gramgan.texture.building import Sampling, record_batch, sampled
from gramgan.texture.commits import append_rows, changing, delete_rows, drop_fragments, newest_of
from gramgan.texture.descriptors import Descriptor, DescriptorName
from gramgan.texture.info import DatabaseInfo, info_of
from gramgan.texture.metadata import Metadata
from gramgan.texture.new_table import build_table, merge_tables, shares_of
from gramgan.texture.rows import Added, condition_of, is_present, record_batches, vector_blocks, without_known
from gramgan.texture.snapshot import SUFFIX, Snapshot, TableLike, write_snapshot
from gramgan.texture.sources import Source, sources_of
from gramgan.texture.table import NUMBERS, WORDS, LanceTable, schema_of, values
from gramgan.texture.verify import Report, verify_table
from gramgan.texture.versions import Cleaned, Version, clean, tag, untag, versions_of_table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Cleaned", "DatabaseInfo", "MergeScale", "Report", "Source", "TextureDatabase", "Version", "sources_of"]

MergeScale = Literal["same", "first", "new"]
"""Which scale tables get that are put together: they must have the same; that of the first; estimated anew."""

_PATCHES = 200_000


@checked_methods
class TextureDatabase:
    """Real texture patches, their Gram vectors, and where each comes from: one version of a table, for reading.

    It lies in a Lance table `NAME.lance`, or in a snapshot of one, `NAME.safetensors`, which needs no Lance and cannot
    be changed. Columns: `patch_id` (stable), `patch` (uint8, k·k·3, row by row, RGB), `gram` (float32, natural units,
    of the stored 8-bit patch), `domain`, `source_id` (file name and content hash), `x`, `y` (pixels of the photograph's
    copy at that scale), `scale`, `licence`, `count`, `warped`. Identity, descriptor, k and scale are the table's
    metadata, and the same in all its versions.

    What changes the table makes a new version and leaves this object, and everybody who reads, with the version that
    was opened.
    """

    def __init__(self, storage: TableLike) -> None:
        self._storage = storage

    @classmethod
    def open(cls, path: str | Path, version: int | str | None = None) -> "TextureDatabase":
        """Open the table or snapshot at `path`, at its newest version or at `version`, a number or a tag.

        Raises:
            UserError: it is missing, no texture database, or has no such version.
        """
        path = as_place(path)
        kind = Snapshot if path.suffix == SUFFIX else LanceTable
        return cls(kind.open(path, version))

    @classmethod
    def build(
        cls,
        path: str | Path,
        sources: Iterable[Source],
        *,
        patches: int = _PATCHES,
        descriptor: DescriptorName = "rgb",
        k: int = 4,
        flat_share: float = 0.1,
        warp_share: float = 0.1,
        seed: int = 0,
        overwrite: bool = False,
        progress: Progress = silent,
        team: Team | None = None,
    ) -> "TextureDatabase":
        """Build a table from photographs, the same number of patches from each.

        Photographs that are unreadable, too small or copies of another one are logged and left out. The table appears
        at `path` when it is whole; until then, and if anything goes wrong, `path` stays as it was.

        Args:
            path: where to, ending in `.lance`.
            sources: the photographs; their order does not matter.
            patches: how many patches in all (fewer if the photographs hold fewer different ones).
            descriptor: see `gramgan.texture.descriptors`.
            k: patch side in pixels.
            flat_share: largest share of patches without texture, in [0, 1].
            warp_share: share of patches that are slightly warped, in [0, 1].
            seed: not negative; two builds with the same photographs and seed are equal.
            overwrite: replace a texture database that is there.
            progress: told the number of photographs done.
            team: who works on the photographs; by default threads of this process.

        Raises:
            UserError: no photograph gave a patch, something stands at `path`, or it cannot be written.
        """
        sampling = Sampling(descriptor, k, flat_share, warp_share, seed)
        build_table(as_place(path), sources, patches, sampling, overwrite=overwrite, progress=progress, team=team)
        return cls.open(path)

    @classmethod
    def merge(
        cls,
        path: str | Path,
        databases: Sequence["TextureDatabase"],
        *,
        scale: MergeScale = "same",
        overwrite: bool = False,
        progress: Progress = silent,
    ) -> "TextureDatabase":
        """Merge several tables into one; a patch that two of them hold is taken once.

        Args:
            path: where to, ending in `.lance`.
            databases: tables or snapshots (with patches) of one descriptor and k.
            scale: vectors are stored in natural units, so that tables of different scales can be put together; how
                their patches are compared then has to be said.
            overwrite: replace a texture database that is there.
            progress: told the number of databases done.

        Raises:
            UserError: they do not fit together, something stands at `path`, or it cannot be written.
        """
        if not databases:
            raise UserError(f"{path}: no texture databases were given to merge")
        for other in databases[1:]:
            databases[0]._check_fits(other, any_scale=scale != "same")
        tables = [database._storage for database in databases]
        merge_tables(as_place(path), tables, new_scale=scale == "new", overwrite=overwrite, progress=progress)
        return cls.open(path)

    @property
    def path(self) -> Path:
        """The table's folder or the snapshot's file."""
        return self._storage.path

    @property
    def descriptor(self) -> Descriptor:
        """What the vectors are, and the scale that makes their components comparable."""
        return self._storage.metadata.descriptor

    @property
    def identity(self) -> str:
        """Made anew by every build and merge: a table built again at the same place has another one."""
        return self._storage.metadata.identity

    @property
    def version(self) -> int:
        """The version of the table that this object reads."""
        return self._storage.version

    def __len__(self) -> int:
        return len(self._storage)

    def require(self, descriptor: DescriptorName, k: int) -> None:
        """Refuse a table of another descriptor or patch side.

        Raises:
            UserError: naming both.
        """
        if (self.descriptor.name, self.descriptor.k) != (descriptor, k):
            raise UserError(
                f"{self.path}: this texture database holds {self.descriptor.name} vectors of {self.descriptor.k}x"
                f"{self.descriptor.k} patches, the run asks for {descriptor} with k = {k}; build one that fits, or set "
                f"texture.descriptor={self.descriptor.name} texture.k={self.descriptor.k}"
            )

    def vectors(self, domain: str | None = None) -> np.ndarray:
        """The Gram vectors of all patches or of one domain's, standardised: float32 `[N, D]`.

        Raises:
            UserError: a fragment is damaged.
        """
        vectors = self.natural_vectors(domain)
        vectors /= np.asarray(self.descriptor.scale, np.float32)
        return vectors

    def natural_vectors(self, domain: str | None = None) -> np.ndarray:
        """The Gram vectors as they are stored, in natural units and the order of `vectors`: float32 `[N, D]`.

        Raises:
            UserError: a fragment is damaged.
        """
        return self._storage.numbers("gram", domain)

    def patch_ids(self, domain: str | None = None) -> np.ndarray:
        """All patch ids in the order of `vectors`: int64 `[N]`.

        Raises:
            UserError: a fragment is damaged.
        """
        return self._storage.numbers("patch_id", domain)

    def vector_blocks(self, domain: str | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """`natural_vectors` with `patch_ids`, block by block, so that a table need not fit into memory."""
        return vector_blocks(self._storage, domain)

    def numbers(self, column: str, domain: str | None = None) -> np.ndarray:
        """`x`, `y`, `scale`, `count`, `warped` (`[N]`) or `patch` (uint8 `[N, k*k*3]`) in the order of `vectors`.

        Raises:
            UserError: there is no such column, a fragment is damaged, or a snapshot holds no patches.
        """
        return self._storage.numbers(known("column", column, (*NUMBERS, "patch", "gram")), domain)

    def words(self, column: str, domain: str | None = None) -> tuple[np.ndarray, list[str]]:
        """`domain`, `source_id` or `licence` in the order of `vectors`: codes `[N]`, and the text of each code.

        Raises:
            UserError: there is no such column, or a fragment is damaged.
        """
        return self._storage.words(known("column", column, WORDS), domain)

    def rows(self, patch_ids: Iterable[int]) -> list[dict[str, Any]]:
        """The table's rows for some patch ids, in the order asked for; `patch` becomes uint8 `[k, k, 3]`.

        Raises:
            UserError: an id is not in the table, or a snapshot holds no patches.
        """
        wanted = [int(patch_id) for patch_id in patch_ids]
        if not wanted:
            return []
        side = self.descriptor.k
        by_id = {
            patch_id: row | {"patch": np.frombuffer(row["patch"], np.uint8).reshape(side, side, 3)}
            for patch_id, row in self._storage.rows(wanted).items()
        }
        return [by_id[known("patch", patch_id, by_id, "ask for those of patch_ids()")] for patch_id in wanted]

    def info(self) -> DatabaseInfo:
        """Counts by domain, licence, scale and photograph.

        Raises:
            UserError: a fragment is damaged.
        """
        return info_of(self._storage)

    def add(
        self,
        sources: Iterable[Source],
        *,
        patches: int | None = None,
        flat_share: float | None = None,
        warp_share: float | None = None,
        seed: int | None = None,
        progress: Progress = silent,
        team: Team | None = None,
    ) -> "TextureDatabase":
        """Add photographs to the newest version; existing patches are neither read again nor rewritten.

        Descriptor, k and scale are the table's. Photographs that it holds already are logged and left out. Others may
        read meanwhile, and add: what a process adds is there when this returns, and if it fails or dies, nothing is.

        Args:
            sources: the photographs; their order does not matter.
            patches: how many patches in all; by default from each photograph as many as the table has from each.
            flat_share: see `build`; as the table was built, like the following, if None.
            warp_share: see `build`.
            seed: see `build`.
            progress: told the number of photographs done.
            team: see `build`.

        Returns:
            The new version.

        Raises:
            UserError: nothing new was given, the table was rebuilt meanwhile, or it cannot be written (disk full).
        """
        newest = self._newest("added to")
        ordered = sorted(sources, key=lambda source: source.path)
        present = {source_id.rpartition("#")[2] for source_id in newest.counts(["source_id"])["source_id"]}
        fresh = [source for source in ordered if not is_present(source, present)]
        if not fresh:
            raise UserError(f"{self.path}: holds all of the {len(ordered)} photographs already; nothing was added")
        settings = newest.metadata.build
        sampling = Sampling(
            self.descriptor.name,
            self.descriptor.k,
            settings.get("flat_share", 0.1) if flat_share is None else flat_share,
            settings.get("warp_share", 0.1) if warp_share is None else warp_share,
            settings.get("seed", 0) if seed is None else seed,
        )
        total = len(fresh) * round(len(newest) / max(1, len(present))) if patches is None else patches
        added = Added(newest.numbers("patch_id"))

        def batches() -> "Iterator[pa.RecordBatch]":
            schema = schema_of(newest.metadata)
            for one in sampled(fresh, shares_of(total, len(fresh)), sampling, progress, added.any_known, team):
                added.note(one.patches.patch_id)
                yield record_batch(one, schema)

        append_rows(newest, batches(), added)
        return TextureDatabase.open(self.path)

    def add_database(self, other: "TextureDatabase", *, any_scale: bool = False) -> "TextureDatabase":
        """Add the patches of another table or snapshot that are not in this one's newest version.

        Args:
            other: of the same descriptor and k.
            any_scale: whether a table of another scale is taken; this one's scale stays.

        Returns:
            The new version.

        Raises:
            UserError: they do not fit, there is nothing new, or the table cannot be written (disk full).
        """
        newest = self._newest("added to")
        self._check_fits(other, any_scale=any_scale)
        added = Added(newest.numbers("patch_id"))

        def batches() -> "Iterator[pa.RecordBatch]":
            schema = schema_of(newest.metadata)
            for batch in without_known(record_batches(other._storage, schema), added.known, other.path):
                added.note(values(batch.column("patch_id")))
                yield batch

        append_rows(newest, batches(), added)
        return TextureDatabase.open(self.path)

    def remove(
        self, *, domains: Sequence[str] = (), sources: Sequence[str] = (), licences: Sequence[str] = ()
    ) -> "TextureDatabase":
        """Remove patches from the newest version: those of any of the domains *and* any of the sources *and* licences.

        What is not given does not narrow. A source is a photograph's file name or its `source_id`. Older versions keep
        the patches until they are cleaned up.

        Returns:
            The new version.

        Raises:
            UserError: nothing is asked for or found, nothing would be left, or the table cannot be written.
        """
        if not (domains or sources or licences):
            raise UserError(f"{self.path}: nothing says what to remove; give a domain, a source or a licence")
        newest = self._newest("changed")
        with changing(self.path):
            newest = newest_of(newest)
            delete_rows(newest, condition_of(newest, domains=domains, sources=sources, licences=licences))
        return TextureDatabase.open(self.path)

    def snapshot(self, path: str | Path, *, patches: bool = True) -> "TextureDatabase":
        """Write this version into one safetensors file, which opens like a table where Lance is not installed.

        Args:
            path: where to, ending in `.safetensors`; a file that is there is replaced.
            patches: whether the patches' pixels go along, which reports and `browse` show; search needs none.

        Raises:
            UserError: it cannot be written.
        """
        write_snapshot(self._storage, as_place(path), patches=patches)
        return TextureDatabase.open(path)

    def versions(self) -> list[Version]:
        """All versions of the table, the oldest first.

        Raises:
            UserError: this is a snapshot.
        """
        return versions_of_table(self._table("asked for its versions").path)

    def tag(self, version: int, name: str) -> None:
        """Keep `version` from clean-up, until `untag`; a tag of that name is moved. A snapshot needs none.

        Raises:
            UserError: there is no such version, the name cannot be a tag, or the table cannot be written to.
        """
        if isinstance(self._storage, LanceTable):
            tag(self.path, version, name)

    def untag(self, name: str) -> None:
        """Take a tag away. A snapshot has none.

        Raises:
            UserError: there is no such tag, or the table cannot be written to.
        """
        if isinstance(self._storage, LanceTable):
            untag(self.path, name)

    def cleanup(self, keep: int = 1) -> Cleaned:
        """Remove all versions but tagged ones and the newest `keep`, and what interrupted additions left behind.

        Raises:
            UserError: this is a snapshot, or the table cannot be written to.
        """
        return clean(self._table("cleaned up").path, keep=keep)

    def verify(self, progress: Progress = silent) -> Report:
        """Read everything in this version, and compare it with its checksums and itself.

        Raises:
            UserError: this is a snapshot.
        """
        return verify_table(self._table("verified"), progress)

    def drop_fragments(self, fragments: Sequence[int]) -> "TextureDatabase":
        """Make a version without some fragments (`verify` names damaged ones), which need not be readable.

        Returns:
            The new version.

        Raises:
            UserError: nothing would be left, or the table cannot be written to.
        """
        newest = self._newest("changed")
        with changing(self.path):
            drop_fragments(newest_of(newest), fragments)
        return TextureDatabase.open(self.path)

    def _table(self, what: str) -> LanceTable:
        if not isinstance(self._storage, LanceTable):
            raise UserError(f"{self.path}: a snapshot cannot be {what}; use the table that it was made from")
        return self._storage

    def _newest(self, what: str) -> LanceTable:
        newest = LanceTable.open(self._table(what).path)
        if newest.metadata.identity != self.identity:
            raise UserError(f"{self.path}: the table was built anew since it was opened; run the command again")
        if newest.metadata.format < Metadata.new(self.descriptor, {}).format:
            raise UserError(
                f"{self.path}: written by an earlier version of the program, and cannot be {what}; "
                "build it again: gramgan db build"
            )
        return newest

    def _check_fits(self, other: "TextureDatabase", *, any_scale: bool) -> None:
        mine, its = self.descriptor, other.descriptor
        if (mine.name, mine.k) != (its.name, its.k):
            raise UserError(
                f"{other.path}: holds {its.name} vectors of {its.k}x{its.k} patches, {self.path} {mine.name} vectors "
                f"of {mine.k}x{mine.k}; build one of them again"
            )
        if not any_scale and mine.scale != its.scale:
            raise UserError(
                f"{other.path}: has another scale than {self.path}; pass --scale first to keep the first one's (stored "
                "vectors do not depend on it)"
            )
