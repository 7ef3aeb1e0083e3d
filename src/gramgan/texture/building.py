"""From photographs to a table's rows: decoded, sampled and described by several at once, in a fixed order."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.errors import UserError, in_one_line
from gramgan.images import read_rgb8
from gramgan.progress import Progress
from gramgan.team import Team, Threads, in_order
from gramgan.texture.descriptors import DescriptorName
from gramgan.texture.sampling import Patches, photograph_key, sample_patches
from gramgan.texture.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

_LEAST_SCALE = 0.01  # of the shipped one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How patches are drawn from photographs: what `sample_patches` takes."""

    descriptor: DescriptorName
    k: int
    flat_share: float
    warp_share: float
    seed: int

    def __post_init__(self) -> None:
        for name, share in (("flat_share", self.flat_share), ("warp_share", self.warp_share)):
            if not 0 <= share <= 1:
                raise UserError(f"{name}: {share:g} is no share; give one from 0 to 1")
        if self.k < 1:
            raise UserError(f"k: {self.k} is too small; give 1 or more")
        if self.seed < 0:
            raise UserError(f"seed: {self.seed} is negative; give 0 or more")


class ScaleEstimate:
    """Standard deviation of each component over all vectors added, in one pass."""

    def __init__(self, size: int) -> None:
        self._count = 0
        self._sum = np.zeros(size)
        self._square = np.zeros(size)

    def add(self, vectors: np.ndarray) -> None:
        """Take in some vectors, `[N, D]`."""
        self.add_moments(_moments(vectors))

    def add_moments(self, moments: tuple[int, np.ndarray, np.ndarray]) -> None:
        """Take in some vectors by their number, sum and sum of squares."""
        count, total, square = moments
        self._count += count
        self._sum += total
        self._square += square

    def scale(self, shipped: Sequence[float]) -> tuple[float, ...]:
        """The standard deviations, none much smaller than the `shipped` ones."""
        variance = self._square / self._count - np.square(self._sum / self._count)
        # A component that hardly varies in these photographs must not rule the distances of all others.
        least = _LEAST_SCALE * np.asarray(shipped)
        return tuple(np.maximum(np.sqrt(variance.clip(min=0)), least).tolist())


@dataclass(frozen=True)
class Sampled:
    """What was made of one photograph; `moments` are the number, sum and sum of squares of its vectors."""

    source: Source
    source_id: str
    key: int
    patches: Patches
    moments: tuple[int, np.ndarray, np.ndarray]


def sampled(
    sources: Sequence[Source],
    shares: Sequence[int],
    sampling: Sampling,
    progress: Progress,
    known: Callable[[np.ndarray], bool] = lambda patch_ids: False,
    team: Team | None = None,
) -> Iterator[Sampled]:
    """The patches of one photograph after the other, as many as `shares` says.

    Photographs that are unreadable, too small, or copies of another one are logged and left out; so are those with
    patch ids that are `known`. What comes out depends on the photographs and on `sampling`, and not on the `team`: by
    default as many threads as torch would use for one operation.
    """
    seen: dict[int, Path] = {}
    work = [(source, share) for source, share in zip(sources, shares, strict=True) if share]
    idle = len(sources) - len(work)
    with contextlib.nullcontext(team) if team else _threads() as workers:
        results = in_order(workers, _Sample(sampling), work, reads=work[0][0].path.parent if work else None)
        for number, ((source, _), result) in enumerate(zip(work, results, strict=True)):
            if isinstance(result, str):
                _log.warning("left out of the texture database: %s", result)
            elif (twin := seen.setdefault(result.key, source.path)) != source.path:
                _log.warning("left out of the texture database: %s: the same picture as %s", source.path, twin)
            elif not len(result.patches):
                _log.warning("left out of the texture database: %s: too small or without any texture", source.path)
            elif known(result.patches.patch_id):
                _log.warning("left out of the texture database: %s: a picture that it holds already", source.path)
            else:
                yield result
            progress(number + 1 + idle, len(sources))


def record_batch(sampled: Sampled, schema: "pa.Schema") -> "pa.RecordBatch":
    """The rows of one photograph."""
    import pyarrow as pa

    patches, source = sampled.patches, sampled.source
    size, width = len(patches), patches.gram.shape[1]
    pixels = pa.py_buffer(np.ascontiguousarray(patches.pixels))
    columns: dict[str, Any] = {
        "patch": pa.FixedSizeBinaryArray.from_buffers(pa.binary(patches.pixels.shape[1]), size, [None, pixels]),
        "gram": pa.FixedSizeListArray.from_arrays(pa.array(patches.gram.ravel()), width),
        "domain": pa.repeat(source.domain, size),
        "source_id": pa.repeat(sampled.source_id, size),
        "licence": pa.repeat(source.licence, size),
    }
    for name in ("patch_id", "x", "y", "scale", "count", "warped"):
        columns[name] = pa.array(getattr(patches, name))
    return pa.RecordBatch.from_arrays([columns[field.name] for field in schema], schema=schema)


@dataclass(frozen=True)
class _Sample:
    """The work on a photograph, of which so many patches are wanted."""

    sampling: Sampling

    def open(self) -> Callable[[tuple[Source, int]], Sampled | str]:
        return self._sampled

    def lost(self, task: tuple[Source, int], why: str) -> str:
        return f"{task[0].path}: {why}"

    def _sampled(self, task: tuple[Source, int]) -> Sampled | str:
        source, share = task
        try:
            photograph = read_rgb8(source.path)
            key = photograph_key(photograph)
            patches = sample_patches(photograph, share, key=key, **vars(self.sampling))
            return Sampled(source, source.source_id, key, patches, _moments(patches.gram))
        except Exception as error:  # noqa: BLE001 (one odd file must not end the build)
            return in_one_line(error, source.path)


def _moments(vectors: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    values = vectors.astype(np.float64)
    return len(values), values.sum(axis=0), np.square(values).sum(axis=0)


@contextlib.contextmanager
def _threads() -> Iterator[Threads]:
    """As many as torch would use for one operation. Its operations take one meanwhile: photographs run in parallel."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield Threads(threads)
    finally:
        torch.set_num_threads(threads)
