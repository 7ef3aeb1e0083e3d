"""The upscaling engine: any picture, in tiles, with memory bounded by a few tiles and rows of tiles of the input."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gramgan.arguments import checked, expect
from gramgan.errors import UserError
from gramgan.images import Raster, Window
from gramgan.images.canvas import WindowPlan
from gramgan.ops.bicubic import CONTEXT, SCALE, enlarge
from gramgan.ops.extend import REACH, extend_colours
from gramgan.progress import Progress, silent
from gramgan.upscaling.backends import Backend, OutOfMemory
from gramgan.upscaling.pipeline import Behind, ahead
from gramgan.upscaling.refine import Refine
from gramgan.upscaling.tiles import Cell, Composer, Put, TilePlan, cut_tiles, final_window, needed_tiles, plan_tiles

if TYPE_CHECKING:
    from gramgan.networks.build import LoadedGenerator, OwnGenerator

MIN_TILE = 16
"""Smallest side of the part of a tile that is used, in low-resolution pixels."""
TILES = (512, 256, 128, 64, 32, MIN_TILE)
"""Sides that are chosen from where none is asked for. Few, so that a picture comes out alike on most days."""
MEMORY_SHARE = 0.5
"""Of the free memory, what the network may take; the rest is for the picture's rows, the results and other programs."""

_MIN_SIDE = 16  # smaller windows are padded: no network has learned from pictures that are nothing but border

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileTask:
    """A tile `[C, h, w]` of a picture, its place there, and what is done to it after the network."""

    pixels: np.ndarray
    top: int
    left: int
    refine: Refine | None


Elsewhere = Callable[[Iterable[TileTask]], Iterator[tuple[np.ndarray, np.ndarray | None]]]
"""Enlarges tiles in other processes: gives what `Upscaler.tile` gives, in the order of the tasks."""

_Read = Callable[[int, int], np.ndarray]  # (top, bottom) → float32 [C, bottom - top, W]


class Sink(Protocol):
    """Takes the result window by window, as `RasterWriter` does (see there)."""

    width: int
    height: int

    @property
    def plan(self) -> WindowPlan | None: ...  # noqa: D102
    def follow(self, plan: WindowPlan) -> None: ...  # noqa: D102
    def holds(self, window: Window) -> bool: ...  # noqa: D102
    def write(self, window: Window, array: np.ndarray) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class _Picture:
    """What is read: `[channels, height, width]`, rows `read(top, bottom)`; `source` names it in messages."""

    read: _Read
    channels: int
    height: int
    width: int
    source: str
    refine: Refine | None

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)


class Upscaler:
    """A generator ready to enlarge pictures. Not for several threads at once.

    Args:
        backend: what runs the network.
        name: of the weights, for messages.
        overlap: low-resolution pixels of context around every pixel that is used: what the weights' card says. A
            refinement may look at more.
        tile: largest side of the part of a tile that is used, in low-resolution pixels. The network sees `overlap` more
            on each side. None: one of `TILES`, the largest that fits into the free memory.
        scale: how many times larger the network makes a picture.
        block: sides that are no multiple of it are mirrored at the right and bottom for the network.
        align: tiles begin at multiples of it, so that the network's blocks and windows lie as in the whole picture.
        elsewhere: who computes the tiles of a picture instead; None for `backend`.

    Raises:
        UserError: `tile` or `overlap` is out of range.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        name: str,
        overlap: int,
        tile: int | None = None,
        scale: int = SCALE,
        block: int = 1,
        align: int = 1,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        if tile is not None and tile < MIN_TILE:
            raise UserError(f"tile: {tile} is too small; use at least {MIN_TILE}, or leave it out")
        if overlap < 0:
            raise UserError(f"overlap: {overlap} is negative; use 0 or more, or leave it out")
        self.backend, self.name, self.overlap = backend, name, overlap
        self.scale, self._block, self._align = scale, block, align
        self._check_overlap(overlap)
        self._elsewhere = elsewhere
        self._tile = tile
        self._limit: int | None = None  # largest side of a tile, with context, that memory is known to suffice for
        self._batch = max(backend.batch, 1)

    @classmethod
    def for_generator(
        cls,
        generator: "LoadedGenerator | OwnGenerator",
        precision: str = "auto",
        device: str = "auto",
        *,
        overlap: int | None = None,
        tile: int | None = None,
    ) -> "Upscaler":
        """An upscaler for a network in memory, on torch; `precision` and `device` as in `open_model`.

        Raises:
            UserError: see `Upscaler`; precision or device is not there.
        """
        from gramgan.networks.build import LoadedGenerator, OwnGenerator  # imports torch
        from gramgan.upscaling.backends.torch_backend import TorchBackend

        expect("generator", generator, LoadedGenerator | OwnGenerator)
        expect("overlap, tile", (overlap, tile), Sequence[int | None])
        card = generator.card
        backend = TorchBackend(generator.network, card.name, precision, device)
        return cls(backend, overlap=card.overlap if overlap is None else overlap, tile=tile, **card.geometry)

    @checked
    def upscale_array(
        self, image: np.ndarray, refine: Refine | None = None, progress: Progress | None = None
    ) -> np.ndarray:
        """Enlarge a picture in memory.

        Args:
            image: float32 `[C, H, W]` in [0, 1]; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
            refine: applied to the network's result of each tile.
            progress: told (tiles done, tiles in all).

        Returns:
            float32 `[C, sH, sW]` in [0, 1].

        Raises:
            UserError: another shape or dtype, values that are not finite, or no memory for even the smallest tile.
        """
        if image.ndim != 3 or image.shape[0] not in (1, 2, 3, 4) or 0 in image.shape or image.dtype.kind != "f":
            raise UserError(f"image: is {image.dtype} {list(image.shape)}; give floats [C, H, W] with 1 to 4 channels")
        channels, height, width = image.shape
        image = image.astype(np.float32, copy=False)
        result = np.empty((channels, self.scale * height, self.scale * width), dtype=np.float32)

        picture = _Picture(lambda top, bottom: image[:, top:bottom], channels, height, width, "image", refine)
        overlap = self._overlap_for(picture)
        plan = plan_tiles(height, width, self._choose_tile(picture, overlap), overlap, self._align)
        self._run(picture, plan, plan.cells, _filling(result), progress or silent)
        return result

    def upscale_raster(
        self, raster: Raster, writer: Sink, refine: Refine | None = None, progress: Progress | None = None
    ) -> None:
        """Enlarge a picture from file to file: read, computed and written at the same time, in bounded memory.

        Of what `writer` holds already (see its `resume_key`) nothing is computed again, except for the tiles that
        blend into the first missing ones; the result is the same as without an interruption.

        Args:
            raster: the picture.
            writer: entered, as large as the result, with the picture's channels.
            refine: applied to the network's result of each tile.
            progress: told (tiles done, tiles in all); tiles that were found done count as done.

        Raises:
            UserError: the source cannot be read or has values that are not finite, the target cannot be written, or
                there is no memory for even the smallest tile.
            ValueError: `writer` is of another size.
        """
        info = raster.info
        if (writer.width, writer.height) != (self.scale * info.width, self.scale * info.height):
            raise ValueError(f"{writer.width}x{writer.height} is not {self.scale} times {info.width}x{info.height}")

        def read(top: int, bottom: int) -> np.ndarray:
            return raster.read(Window(0, top, info.width, bottom - top))

        picture = _Picture(read, info.channels, info.height, info.width, str(info.path), refine)
        overlap = self._overlap_for(picture)
        tile = self._choose_tile(picture, overlap)
        if self._tile is None and writer.plan is not None and self._can_follow(writer.plan, overlap):
            # As it was begun; what was free then need not be free now, so such a tile may be computed in parts.
            side = tile + 2 * overlap
            self._limit = side if self._limit is None else min(side, self._limit)
            tile = writer.plan["tile"]
        plan = plan_tiles(info.height, info.width, tile, overlap, self._align)
        writer.follow({"tile": tile, "overlap": overlap})
        missing = [cell for cell in plan.cells if not writer.holds(final_window(plan, cell, self.scale))]
        self._run(picture, plan, missing, writer.write, progress or silent)

    def tile(self, task: TileTask) -> tuple[np.ndarray, np.ndarray | None]:
        """Enlarge one tile by itself: what it becomes, `[C, sh, sw]`, and the sums of its refinement's residual."""
        has_alpha = task.pixels.shape[0] in (2, 4)
        result = self._enlarge(_as_rgb(task.pixels, has_alpha)[None])[0]
        finished = self._finished(task, result, self._drawn_alpha(task.pixels))
        return finished, None if task.refine is None else task.refine.take_sums()

    def _overlap_for(self, picture: _Picture) -> int:
        overlap = self.overlap if picture.refine is None else picture.refine.overlap(self.overlap)
        self._check_overlap(overlap)
        return max(overlap, CONTEXT) if picture.has_alpha else overlap

    def _check_overlap(self, overlap: int) -> None:
        backend = self.backend
        if backend.side is not None and backend.side < 2 * overlap + MIN_TILE:
            raise UserError(
                f"overlap: {overlap} is too much for the tiles of {backend.name}, which have {backend.side} pixels a "
                "side; use a smaller one, or the backend torch"
            )

    def _choose_tile(self, picture: _Picture, overlap: int) -> int:
        """The side of the used part of this picture's tiles."""
        tile = self._tile or self._fitting_tile(picture, overlap)
        if self._limit is not None:
            tile = min(tile, max(self._limit - 2 * overlap, MIN_TILE))
        return tile if self.backend.side is None else min(tile, self.backend.side - 2 * overlap)

    def _fitting_tile(self, picture: _Picture, overlap: int) -> int:
        """The largest of `TILES` that fits into the free memory; the smallest if none does."""
        room = MEMORY_SHARE * self.backend.free_bytes() / self.backend.bytes_per_pixel / self._batch
        for tile in TILES:
            side = tile + 2 * overlap
            if min(picture.height, side) * min(picture.width, side) <= room:
                return tile
        return TILES[-1]

    def _can_follow(self, plan: WindowPlan, overlap: int) -> bool:
        tile, side = plan.get("tile", 0), self.backend.side
        return plan.get("overlap") == overlap and tile >= MIN_TILE and (side is None or tile + 2 * overlap <= side)

    def _run(self, picture: _Picture, plan: TilePlan, missing: list[Cell], put: Put, progress: Progress) -> None:
        """Compute the windows of the tiles in `missing` and `put` them."""
        read = _checked(picture.read, picture.source)
        if picture.has_alpha:
            read = _with_extended_colours(read, picture.height)
        composer = Composer(plan, picture.channels, self.scale, missing, put)
        tiles = needed_tiles(plan, missing)
        rows = [plan.rows[index] for index, _ in groupby(tiles, key=lambda cell: cell[0])]
        done = len(plan) - len(tiles)
        progress(done, len(plan))
        with ahead(lambda row: read(row.start, row.stop), rows) as strips:
            tasks = (
                (cell, TileTask(tile, plan.rows[cell[0]].start, plan.columns[cell[1]].start, picture.refine))
                for cell, tile in cut_tiles(plan, tiles, strips)
            )
            if self._elsewhere is not None:
                finished = self._elsewhere(task for _, task in tasks)
                for cell, (result, sums) in zip(tiles, finished, strict=True):
                    if picture.refine is not None and sums is not None:
                        picture.refine.add_sums(sums)
                    composer.add(cell, result)
                    done += 1
                    progress(done, len(plan))
                return
            with Behind(self._batch - 1) as behind:
                for batch in self._batches(tasks):
                    results = self._enlarge(np.stack([_as_rgb(task.pixels, picture.has_alpha) for _, task in batch]))
                    for (cell, task), result in zip(batch, results, strict=True):
                        alpha = self._drawn_alpha(task.pixels)
                        behind.submit(partial(self._compose, composer, cell, task, result, alpha))
                        done += 1
                        progress(done, len(plan))

    def _batches(self, pieces: Iterator[tuple[Cell, TileTask]]) -> Iterator[list[tuple[Cell, TileTask]]]:
        """Tiles that go through the network together: at most `_batch`, of one shape."""
        batch: list[tuple[Cell, TileTask]] = []
        for piece in pieces:
            if batch and (len(batch) >= self._batch or piece[1].pixels.shape != batch[0][1].pixels.shape):
                yield batch
                batch = []
            batch.append(piece)
        if batch:
            yield batch

    def _drawn_alpha(self, tile: np.ndarray) -> np.ndarray | None:
        """The network on a tile's alpha channel, `[sh, sw]`; None where there is none or it is the same everywhere."""
        if tile.shape[0] not in (2, 4) or tile[-1].min() == tile[-1].max():
            return None
        return self._enlarge(np.repeat(tile[None, -1:], 3, axis=1))[0].mean(axis=0)

    def _compose(
        self, composer: Composer, cell: Cell, task: TileTask, result: np.ndarray, alpha: np.ndarray | None
    ) -> None:
        composer.add(cell, self._finished(task, result, alpha))

    def _finished(self, task: TileTask, result: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
        """What follows the network: refined, in the picture's own channels."""
        tile, refine = task.pixels, task.refine
        has_alpha = tile.shape[0] in (2, 4)
        np.clip(result, 0, 1, out=result)
        if refine is not None:
            result = np.clip(refine(_as_rgb(tile, has_alpha), result, task.top, task.left), 0, 1)
        if not np.isfinite(result).all():
            raise UserError(
                f"{self.name}: {self.backend.name} gives values that are not finite; use fp32 or another backend"
            )
        if tile.shape[0] <= 2:
            result = result.mean(axis=0, keepdims=True)
        return np.concatenate([result, _enlarge_alpha(tile[-1], alpha, self.scale)[None]]) if has_alpha else result

    def _enlarge(self, tiles: np.ndarray) -> list[np.ndarray]:
        """The network on `[B, 3, h, w]`, in smaller batches and then smaller tiles where memory does not suffice."""
        side = max(tiles.shape[2:])
        results: list[np.ndarray] = []
        while len(results) < len(tiles):
            batch = tiles[len(results) : len(results) + self._batch]
            if self._limit is not None and side > self._limit:
                # A tile is a picture like any other: what it lacks in context at its border is the same as before.
                results.extend(self._enlarge_in_parts(tile) for tile in batch)
                continue
            try:
                results.extend(self._run_padded(batch))
            except OutOfMemory as error:
                if len(batch) == 1:
                    self._halve_tile(side, error)
                else:
                    self._batch = len(batch) // 2
                    _log.info("not enough memory for %d tiles at once; going on with %d", len(batch), self._batch)
        return results

    def _run_padded(self, tiles: np.ndarray) -> np.ndarray:
        """The backend on `[B, 3, h, w]`; sides below `_MIN_SIDE` get their edge pixels repeated for the time being."""
        scale, (height, width) = self.scale, tiles.shape[2:]
        down, across = max(_MIN_SIDE - height, 0), max(_MIN_SIDE - width, 0)
        top, left = down // 2, across // 2
        padded = np.pad(tiles, ((0, 0), (0, 0), (top, down - top), (left, across - left)), mode="edge")
        missing = (-padded.shape[2] % self._block, -padded.shape[3] % self._block)
        if any(missing):
            padded = np.pad(padded, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
        result = self.backend.run(padded)
        return result[:, :, scale * top : scale * (top + height), scale * left : scale * (left + width)]

    def _enlarge_in_parts(self, tile: np.ndarray) -> np.ndarray:
        """The network on `[3, h, w]`, in tiles of at most `_limit` pixels a side."""
        assert self._limit is not None
        _, height, width = tile.shape
        result = np.empty((3, self.scale * height, self.scale * width), dtype=np.float32)

        plan = plan_tiles(height, width, self._limit - 2 * self.overlap, self.overlap, self._align)
        cells = plan.cells
        composer = Composer(plan, 3, self.scale, cells, _filling(result))
        for cell in cells:
            row, column = plan.rows[cell[0]], plan.columns[cell[1]]
            part = self._enlarge(tile[None, :, row.start : row.stop, column.start : column.stop])[0]
            composer.add(cell, np.clip(part, 0, 1))
        return result

    def _halve_tile(self, side: int, error: OutOfMemory) -> None:
        """Choose the next smaller tile after one of `side` pixels was too large; it holds for all that follows."""
        used = side - 2 * self.overlap
        if used <= MIN_TILE:
            raise UserError(
                f"not enough memory for a tile of {side}x{side} pixels with {self.name}; "
                "close other programs, or use a smaller overlap or a lower precision"
            ) from error
        smaller = max(used // 2, MIN_TILE)
        self._limit = smaller + 2 * self.overlap
        _log.warning("not enough memory for a tile of %d pixels; going on with tiles of %d", used, smaller)


def _filling(result: np.ndarray) -> Put:
    def put(window: Window, pixels: np.ndarray) -> None:
        result[:, window.y : window.y + window.height, window.x : window.x + window.width] = pixels

    return put


def _as_rgb(tile: np.ndarray, has_alpha: bool) -> np.ndarray:
    colours = tile[:-1] if has_alpha else tile
    return np.repeat(colours, 3, axis=0) if colours.shape[0] == 1 else colours


def _enlarge_alpha(alpha: np.ndarray, drawn: np.ndarray | None, scale: int) -> np.ndarray:
    """Alpha `scale` times larger: as the network draws it, within what the input says.

    Bicubic alpha has steps where the colours beside it have smooth edges. The network's result is clipped to the range
    of the 3×3 input pixels around, so that what is opaque or transparent stays exactly so.

    Args:
        alpha: float32 `[H, W]` in [0, 1].
        drawn: the network's result `[sH, sW]` for it; None for bicubic, which is the same where alpha is constant.

    Returns:
        `[sH, sW]` in [0, 1].
    """
    if drawn is None:
        return np.clip(enlarge(alpha[None], scale)[0], 0, 1)
    height, width = alpha.shape
    padded = np.pad(alpha, 1, "edge")
    around = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    low, high = (one.repeat(scale, 0).repeat(scale, 1) for one in (around.min(0), around.max(0)))
    return np.clip(drawn, low, high)


def _with_extended_colours(read: _Read, height: int) -> _Read:
    """`read` with the colours carried on into transparent parts, the same whichever rows are asked for."""

    def extended(top: int, bottom: int) -> np.ndarray:
        first = max(top - REACH, 0)
        strip = read(first, min(bottom + REACH, height))
        pixels = np.concatenate([extend_colours(strip[:-1], strip[-1]), strip[-1:]])
        return pixels[:, top - first : bottom - first]

    return extended


def _checked(read: _Read, source: str) -> _Read:
    """`read` that refuses values that are not finite, and clips those outside of [0, 1] (float files may have them)."""
    told = False

    def checked(top: int, bottom: int) -> np.ndarray:
        nonlocal told
        strip = read(top, bottom)
        low, high = float(strip.min()), float(strip.max())
        if not np.isfinite(low + high):
            raise UserError(f"{source}: it has values that are not finite (NaN or infinity); replace them first")
        if (low < 0 or high > 1) and not told:
            told = True
            _log.warning("%s: values from %.3g to %.3g are clipped to [0, 1]", source, low, high)
        return np.clip(strip, 0, 1)

    return checked
