"""The texture database: real high-resolution patches and their Gram vectors in one Lance table."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.collect import read_manifest
from gramgan.errors import UserError
from gramgan.files import ensure_folder, sha256
from gramgan.images import read_rgb8
from gramgan.progress import Progress, silent
from gramgan.texture.descriptors import Descriptor, DescriptorName, dimension
from gramgan.texture.sampling import Patches, photograph_key, sample_patches

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA_KEY = b"gramgan.texture"
_FORMAT = 1
_ROWS_PER_WRITE = 1_000_000  # held in memory at a time while a table is built: about 150 MB
_LEAST_SCALE = 0.01  # of the shipped one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One photograph that patches are taken from."""

    path: Path
    licence: str = "unknown"
    domain: str = "photo"

    @property
    def source_id(self) -> str:
        """What the table calls the photograph: its file name and the beginning of its SHA-256. Reads the file."""
        return f"{self.path.name}#{sha256(self.path)[:12]}"


def sources_of(
    folder: Path, photographs: Iterable[Path], *, licence: str = "unknown", domain: str = "photo"
) -> list[Source]:
    """`photographs` of `folder` with the licences that its manifest tells; `licence` for those that it does not list.

    Raises:
        UserError: the manifest is damaged.
    """
    licences = {folder / entry.file: entry.licence for entry in read_manifest(folder) or []}
    return [Source(path, licences.get(path, licence), domain) for path in photographs]


@dataclass(frozen=True)
class DatabaseInfo:
    """What `gramgan db info` shows."""

    path: Path
    version: int
    patches: int
    descriptor: Descriptor
    bytes_on_disk: int
    by_domain: dict[str, int]
    by_licence: dict[str, int]
    by_scale: dict[str, int]
    by_source: dict[str, int]


class TextureDatabase:
    """Real texture patches, their Gram vectors, and where each comes from; a Lance table `NAME.lance`.

    Columns: `patch_id` (stable), `patch` (uint8, k·k·3, row by row, RGB), `gram` (float32, natural units, of the stored
    8-bit photograph), `domain`, `source_id` (file name and content hash), `x`, `y`, `scale`, `licence`, `count`.
    Descriptor, k and scale are the table's metadata.
    """

    def __init__(self, path: Path, dataset: Any, descriptor: Descriptor) -> None:
        self.path = path
        self.descriptor = descriptor
        self._dataset = dataset

    @classmethod
    def open(cls, path: str | Path, version: int | None = None) -> "TextureDatabase":
        """Open the table at `path`, at its newest version or at `version`.

        Raises:
            UserError: it is missing, no texture database, or has no such version.
        """
        import lance

        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: there is no such texture database; build one: gramgan db build PHOTOS -o {path}")
        if not (path / "_versions").is_dir():  # Lance tries for seconds before it gives up
            raise UserError(f"{path}: not a Lance table; build one: gramgan db build PHOTOS -o NAME.lance")
        try:
            dataset = lance.dataset(str(path))
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: a damaged Lance table ({reason}); build it again: gramgan db build") from None
        descriptor = _read_metadata(path, dataset.schema.metadata)
        if version is not None and version != dataset.version:
            if version not in {known["version"] for known in dataset.versions()}:
                raise UserError(
                    f"{path}: has no version {version}, the newest is {dataset.version}; give another version or none"
                )
            dataset = dataset.checkout_version(version)
        return cls(path, dataset, descriptor)

    @classmethod
    def build(
        cls,
        path: str | Path,
        sources: Iterable[Source],
        *,
        patches: int = 200_000,
        descriptor: DescriptorName = "rgb",
        k: int = 4,
        flat_share: float = 0.1,
        seed: int = 0,
        overwrite: bool = False,
        progress: Progress = silent,
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
            seed: not negative; two builds with the same photographs and seed are equal.
            overwrite: replace a texture database that is there.
            progress: told the number of photographs done.

        Raises:
            UserError: no photograph gave a patch, something stands at `path`, or it cannot be written.
        """
        path = Path(path)
        _check_free(path, overwrite)
        ordered = sorted(sources, key=lambda source: source.path)
        if not ordered:
            raise UserError(f"{path}: no photographs were given to build a texture database from")
        ensure_folder(path.parent)
        settings = {"patches": patches, "descriptor": descriptor, "k": k, "flat_share": flat_share, "seed": seed}
        statistics = _ScaleEstimate(dimension(descriptor))
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            dataset = None
            for batch in _collected(_batches(ordered, progress, **settings), _ROWS_PER_WRITE):
                statistics.add(batch)
                dataset = _append(path, unfinished, batch, new=dataset is None)
            if dataset is None:
                raise UserError(f"{path}: none of the photographs gave a patch of texture; nothing was built")
            scale = statistics.scale(Descriptor.default(descriptor, k).scale)
            metadata = {"format": _FORMAT, "descriptor": descriptor, "k": k, "scale": scale, "build": settings}
            dataset.update_schema_metadata({_METADATA_KEY.decode(): json.dumps(metadata)})
            del dataset  # Windows renames no folder with open files in it
            _put_in_place(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return cls.open(path)

    @property
    def version(self) -> int:
        """The version of the table that this object reads."""
        return int(self._dataset.version)

    def __len__(self) -> int:
        return int(self._dataset.count_rows())

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

    def vectors(self) -> np.ndarray:
        """All Gram vectors, standardised: float32 `[N, D]`."""
        column = self._dataset.to_table(columns=["gram"]).column("gram")
        return _vectors(column, self.descriptor.dimension) / np.asarray(self.descriptor.scale, np.float32)

    def patch_ids(self) -> np.ndarray:
        """All patch ids in the order of `vectors`: int64 `[N]`."""
        return self._dataset.to_table(columns=["patch_id"]).column("patch_id").to_numpy().copy()  # Arrow's is read-only

    def rows(self, patch_ids: Iterable[int]) -> list[dict[str, Any]]:
        """The table's rows for some patch ids, in the order asked for; `patch` becomes uint8 `[k, k, 3]`.

        Raises:
            KeyError: an id is not in the table.
        """
        wanted = [int(patch_id) for patch_id in patch_ids]
        if not wanted:
            return []
        listing = ", ".join(str(patch_id) for patch_id in sorted(set(wanted)))
        found = self._dataset.to_table(filter=f"patch_id IN ({listing})").to_pylist()
        side = self.descriptor.k
        by_id = {
            row["patch_id"]: row | {"patch": np.frombuffer(row["patch"], np.uint8).reshape(side, side, 3)}
            for row in found
        }
        return [by_id[patch_id] for patch_id in wanted]

    def info(self) -> DatabaseInfo:
        """Counts by domain, licence, scale and photograph."""
        table = self._dataset.to_table(columns=["domain", "licence", "scale", "source_id"])
        scales = _counts(table.column("scale"))
        return DatabaseInfo(
            path=self.path,
            version=self.version,
            patches=table.num_rows,
            descriptor=self.descriptor,
            bytes_on_disk=sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()),
            by_domain=_counts(table.column("domain")),
            by_licence=_counts(table.column("licence")),
            by_scale={f"{scale:g}": scales[scale] for scale in sorted(scales, reverse=True)},
            by_source=_counts(table.column("source_id")),
        )


class _ScaleEstimate:
    """Standard deviation of each component over all patches of a build, in one pass."""

    def __init__(self, size: int) -> None:
        self._count = 0
        self._sum = np.zeros(size)
        self._square = np.zeros(size)

    def add(self, batch: "pa.Table") -> None:
        values = _vectors(batch.column("gram"), len(self._sum)).astype(np.float64)
        self._count += len(values)
        self._sum += values.sum(axis=0)
        self._square += np.square(values).sum(axis=0)

    def scale(self, shipped: Sequence[float]) -> list[float]:
        variance = self._square / self._count - np.square(self._sum / self._count)
        # A component that hardly varies in these photographs must not rule the distances of all others.
        least = _LEAST_SCALE * np.asarray(shipped)
        return np.maximum(np.sqrt(variance.clip(min=0)), least).tolist()


def _batches(
    sources: list[Source],
    progress: Progress,
    *,
    patches: int,
    descriptor: DescriptorName,
    k: int,
    flat_share: float,
    seed: int,
) -> "Iterator[pa.RecordBatch]":
    """The patches of one photograph after the other."""
    schema = _schema(descriptor, k)
    share, more = divmod(patches, len(sources))
    seen: dict[int, Path] = {}
    for number, source in enumerate(sources):
        try:
            photograph = read_rgb8(source.path)
        except UserError as error:
            log.warning("left out of the texture database: %s", error)
        else:
            key = photograph_key(photograph)
            twin = seen.setdefault(key, source.path)
            wanted = share + (number < more)
            if twin != source.path:
                log.warning("left out of the texture database: %s: the same picture as %s", source.path, twin)
            elif wanted:
                sampled = sample_patches(
                    photograph, wanted, key=key, descriptor=descriptor, k=k, flat_share=flat_share, seed=seed
                )
                if len(sampled):
                    yield _record_batch(sampled, source, schema)
                else:
                    log.warning("left out of the texture database: %s: too small or without any texture", source.path)
        progress(number + 1, len(sources))


def _collected(batches: "Iterator[pa.RecordBatch]", rows: int) -> "Iterator[pa.Table]":
    """Tables of at least `rows` rows; the last may have fewer."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= rows:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _append(path: Path, unfinished: Path, batch: "pa.Table", *, new: bool) -> Any:
    """The Lance table at `unfinished`, with one more batch; `path` is the name that errors speak of."""
    import lance

    try:
        return lance.write_dataset(batch, str(unfinished), mode="create" if new else "append")
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be written ({reason}); free some space or choose another place") from error


def _put_in_place(unfinished: Path, path: Path) -> None:
    old = unfinished.with_suffix(".replaced")
    try:
        if path.exists():
            path.replace(old)
        unfinished.replace(path)
    except OSError as error:
        if old.exists():
            old.replace(path)
        raise UserError(f"{path}: cannot be replaced ({error.strerror}); close what uses it and try again") from error
    shutil.rmtree(old, ignore_errors=True)


def _vectors(column: "pa.ChunkedArray", size: int) -> np.ndarray:
    """A column of fixed-size lists as `[N, size]`."""
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, size)


def _counts(column: "pa.ChunkedArray") -> dict[Any, int]:
    """How often each value occurs, the most frequent first."""
    pairs = [(entry["values"], entry["counts"]) for entry in column.value_counts().to_pylist()]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _record_batch(patches: Patches, source: Source, schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    size, width = len(patches), patches.gram.shape[1]
    gram = pa.FixedSizeListArray.from_arrays(pa.array(patches.gram.ravel()), width)
    columns = {
        "patch_id": pa.array(patches.patch_id),
        "patch": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(patches.pixels.shape[1]), size, [None, pa.py_buffer(np.ascontiguousarray(patches.pixels))]
        ),
        "gram": gram,
        "domain": pa.array([source.domain] * size),
        "source_id": pa.array([source.source_id] * size),
        "x": pa.array(patches.x),
        "y": pa.array(patches.y),
        "scale": pa.array(patches.scale),
        "licence": pa.array([source.licence] * size),
        "count": pa.array(patches.count),
    }
    return pa.RecordBatch.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)


def _schema(descriptor: DescriptorName, k: int) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("patch_id", pa.int64()),
            ("patch", pa.binary(k * k * 3)),
            ("gram", pa.list_(pa.float32(), dimension(descriptor))),
            ("domain", pa.string()),
            ("source_id", pa.string()),
            ("x", pa.int32()),
            ("y", pa.int32()),
            ("scale", pa.float32()),
            ("licence", pa.string()),
            ("count", pa.int32()),
        ]
    )


def _read_metadata(path: Path, metadata: dict[bytes, bytes] | None) -> Descriptor:
    raw = (metadata or {}).get(_METADATA_KEY)
    if raw is None:
        raise UserError(
            f"{path}: this Lance table is no texture database; build one: gramgan db build PHOTOS -o FILE.lance"
        )
    values = json.loads(raw)
    if values["format"] != _FORMAT:
        raise UserError(
            f"{path}: written in format {values['format']}, this version reads format {_FORMAT}; build it again"
        )
    return Descriptor(values["descriptor"], values["k"], tuple(values["scale"]))


def _check_free(path: Path, overwrite: bool) -> None:
    if path.suffix != ".lance":
        raise UserError(f"{path}: a texture database's name ends in .lance; use {path.with_suffix('.lance')}")
    if not path.exists():
        return
    if not overwrite:
        raise UserError(f"{path}: exists already; choose another name or pass --overwrite")
    try:
        TextureDatabase.open(path)
    except UserError:
        raise UserError(
            f"{path}: is no texture database and will not be replaced; choose another name or delete it yourself"
        ) from None
