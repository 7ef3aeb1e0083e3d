"""New tables: of photographs, or of other tables. A table appears at its place when it is whole."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gramgan.errors import UserError
from gramgan.places import ObjectPath
from gramgan.progress import Progress
from gramgan.team import Team
from gramgan.texture.building import Sampling, ScaleEstimate, record_batch, sampled
from gramgan.texture.commits import create, new_table
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.metadata import Metadata
from gramgan.texture.rows import record_batches, without_known
from gramgan.texture.snapshot import TableLike
from gramgan.texture.sources import Source
from gramgan.texture.table import LanceTable, schema_of, values

if TYPE_CHECKING:
    import pyarrow as pa


def build_table(
    path: Path,
    sources: Iterable[Source],
    patches: int,
    sampling: Sampling,
    *,
    overwrite: bool,
    progress: Progress,
    team: Team | None,
) -> None:
    """A table of patches from photographs; for arguments and errors see `TextureDatabase.build`."""
    _check_free(path, overwrite)
    ordered = sorted(sources, key=lambda source: source.path)
    if not ordered:
        raise UserError(f"{path}: no photographs were given to build a texture database from")
    shipped = Descriptor.default(sampling.descriptor, sampling.k)
    estimate = ScaleEstimate(shipped.dimension)
    schema = schema_of(Metadata.new(shipped, {}))

    def batches() -> "Iterator[pa.RecordBatch]":
        for one in sampled(ordered, shares_of(patches, len(ordered)), sampling, progress, team=team):
            estimate.add_moments(one.moments)
            yield record_batch(one, schema)

    with new_table(path) as staging:
        if not staging.write(path, schema, batches()):
            raise UserError(f"{path}: none of the photographs gave a patch of texture; nothing was built")
        scaled = Descriptor(shipped.name, shipped.k, estimate.scale(shipped.scale))
        create(path, staging, Metadata.new(scaled, {"patches": patches} | vars(sampling)))


def merge_tables(
    path: Path, tables: Sequence[TableLike], *, new_scale: bool, overwrite: bool, progress: Progress
) -> None:
    """A table of the patches of several, which fit together; for errors see `TextureDatabase.merge`.

    `new_scale`: the scale is estimated anew, instead of that of the first.
    """
    _check_free(path, overwrite)
    descriptor = tables[0].metadata.descriptor
    estimate = ScaleEstimate(descriptor.dimension)
    schema = schema_of(Metadata.new(descriptor, {}))

    def batches() -> "Iterator[pa.RecordBatch]":
        known = np.zeros(0, np.int64)
        for number, table in enumerate(tables):
            ids = table.numbers("patch_id")
            for batch in without_known(record_batches(table, schema), known, table.path):
                if new_scale:
                    estimate.add(values(batch.column("gram")))
                yield batch
            known = np.union1d(known, ids)
            progress(number + 1, len(tables))

    with new_table(path) as staging:
        if not staging.write(path, schema, batches()):
            raise UserError(f"{path}: the given texture databases hold no patches; nothing was built")
        if new_scale:
            shipped = Descriptor.default(descriptor.name, descriptor.k).scale
            descriptor = Descriptor(descriptor.name, descriptor.k, estimate.scale(shipped))
        create(path, staging, Metadata.new(descriptor, {}))


def shares_of(patches: int, photographs: int) -> list[int]:
    """So many patches, spread evenly.

    Raises:
        UserError: there are none.
    """
    if patches < 1:
        raise UserError(f"patches: {patches} is too few; give 1 or more")
    share, more = divmod(patches, photographs)
    return [share + (number < more) for number in range(photographs)]


def _check_free(path: Path, overwrite: bool) -> None:
    if path.suffix != ".lance":
        raise UserError(f"{path}: a texture database's name ends in .lance; use {path.with_suffix('.lance')}")
    if not (path / "_versions" if isinstance(path, ObjectPath) else path).exists():  # what died may have left data
        return
    if not overwrite:
        raise UserError(f"{path}: exists already; choose another name or pass --overwrite")
    try:
        LanceTable.open(path)
    except UserError:
        raise UserError(
            f"{path}: is no texture database and will not be replaced; choose another name or delete it yourself"
        ) from None
