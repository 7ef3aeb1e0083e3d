"""A texture database when upscaling: parts of its photographs as examples, and a record of what they gave where."""

import colorsys
import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gramgan.cache import keep_bytes, read_bytes, working_cache
from gramgan.condition import Condition, Noise
from gramgan.degradation.base import to_8_bits
from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.degradation.noise import gaussian_noise
from gramgan.errors import UserError
from gramgan.few import evenly_spread
from gramgan.files import write_csv
from gramgan.images import Raster, Window, write_image
from gramgan.names import shown
from gramgan.ops.bicubic import SCALE
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.database import TextureDatabase
from gramgan.upscaling.engine import Upscaler
from gramgan.upscaling.measured import Measured
from gramgan.upscaling.refine import Refine
from gramgan.upscaling.texture_memory import LEAST, STEP, Example, Memory, Regression, TextureMemory, luma_plane

_SIDES = (256, 224, 192, 160, 128, 96, 64)
"""Of the squares that are looked for in a photograph, in pixels: the largest that patches cover without a gap."""
_PIXELS = 4 * 256**2
"""Of all examples together: what is fitted grows with it, and so does the time of each search."""
_PHOTOGRAPHS = 16
_LOOKED_AT = 4096  # pixels a side of a photograph in which squares are looked for
_TOLD = 3  # photographs that the log names
_FORM = 1  # of what is kept in the cache
_STRIP = 256  # rows of the input that are looked at in one go

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Square:
    """A square of a photograph, uint8 RGB `[3, H, H]`, with the photograph's `source_id` and licence."""

    pixels: np.ndarray
    source_id: str
    licence: str


class Textures:
    """A texture database, for pictures to be enlarged with.

    Raises:
        UserError: there is no texture database at `path`.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = TextureDatabase.open(path)
        self.identity = f"{self._database.identity} {self._database.version}"
        """What tells this version of this table from all others."""
        self._squares: list[Square] = []
        self._memories: dict[str, TextureMemory] = {}

    def memory(
        self,
        engine: Upscaler,
        weights: str,
        condition: Condition,
        refine: Callable[[Condition], tuple[Refine | None, Measured | None]],
    ) -> TextureMemory:
        """What the database says of pictures in that condition; fitted once, and kept in the user's cache.

        Args:
            engine: the generator.
            weights: what tells the generator from others.
            condition: what pictures have been through.
            refine: of a condition, how results are refined otherwise, and what they have to agree with.

        Raises:
            UserError: the database holds no part of a photograph in one piece or is damaged, or the generator does not
                enlarge four times.
        """
        if engine.scale != SCALE:
            raise UserError(
                f"textures: for weights that enlarge {SCALE} times, and {engine.name} enlarges {engine.scale} times; "
                "leave textures out, or give other weights"
            )
        typical = _typical(condition)
        refined, measured = refine(typical)
        about = [_FORM, self.identity, weights, repr(typical), repr(measured), repr(refined and refined.__getstate__())]
        key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        if key not in self._memories:
            path = working_cache() / "textures" / key[:32]
            kept = read_bytes(path)
            if kept is not None:
                found = _unpacked(kept)
            else:
                self._squares = self._squares or squares(self._database)
                made = [_example(engine, square, typical, refined, measured) for square in self._squares]
                photographs = tuple((square.source_id, square.licence) for square in self._squares)
                found = TextureMemory.fit(made, photographs)
                keep_bytes(path, _packed(found))
            self._memories[key] = found
        return self._memories[key]


def squares(database: TextureDatabase) -> list[Square]:
    """Parts of the database's photographs, put together again from patches that lie where they lay.

    Raises:
        UserError: the patches cover no square of 64 pixels without a gap.
    """
    side = database.descriptor.k
    codes, sources = database.words("source_id")
    licences, licence_names = database.words("licence")
    ids, x, y = (database.numbers(column) for column in ("patch_id", "x", "y"))
    plain = (database.numbers("scale") == 1) & ~database.numbers("warped")
    found: list[Square] = []
    covered: list[tuple[np.ndarray, np.ndarray, int, int]] = []  # patches, where any lie, and the corner of that
    for code in evenly_spread(np.unique(codes[plain]).tolist(), _PHOTOGRAPHS):
        rows = np.flatnonzero(plain & (codes == code))
        left, top = (max(0, int(np.median(at[rows])) - _LOOKED_AT // 2) for at in (x, y))
        rows = rows[(x[rows] >= left) & (y[rows] >= top)]
        rows = rows[(x[rows] < left + _LOOKED_AT) & (y[rows] < top + _LOOKED_AT)]
        covered.append((rows, _covered(x[rows] - left, y[rows] - top, side), left, top))
    for size in _SIDES:
        waiting = covered
        while waiting:  # one of each photograph in turn
            still = []
            for each in waiting:
                rows, there, left, top = each
                full = sum(one.pixels[0].size for one in found) + size**2 > _PIXELS
                corner = None if full else _whole_square(there, size)
                if corner is not None:
                    there[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = False
                    at_y, at_x = corner[0] + top, corner[1] + left
                    near = rows[(x[rows] > at_x - side) & (x[rows] < at_x + size)]
                    near = near[(y[near] > at_y - side) & (y[near] < at_y + size)]
                    pixels = _put_together(database.rows(ids[near].tolist()), side, at_y, at_x, size)
                    found.append(Square(pixels, sources[codes[rows[0]]], licence_names[licences[rows[0]]]))
                    still.append(each)
            waiting = still
    if not found:
        raise UserError(
            f"{database.path}: its {len(database)} patches of {side}x{side} pixels cover no square of {_SIDES[-1]} "
            "pixels of a photograph; build one with large patches: gramgan db build PHOTOS -o NAME.lance --k 64"
        )
    return found


def _put_together(rows: list[dict[str, Any]], side: int, top: int, left: int, size: int) -> np.ndarray:
    """The square at (`top`, `left`) of a photograph from patches that cover it: uint8 `[3, size, size]`."""
    pixels = np.zeros((size + 2 * side, size + 2 * side, 3), np.uint8)
    for row in rows:
        down, across = row["y"] - top + side, row["x"] - left + side
        pixels[down : down + side, across : across + side] = row["patch"]
    return np.ascontiguousarray(pixels[side:-side, side:-side].transpose(2, 0, 1))


def _covered(x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Which pixels patches cover whose corners are at `x`, `y` `[N]`: bool `[H, W]`."""
    count = np.zeros((int(y.max()) + side + 1, int(x.max()) + side + 1), np.int32)
    for down, across, sign in ((0, 0, 1), (side, 0, -1), (0, side, -1), (side, side, 1)):
        np.add.at(count, (y + down, x + across), sign)
    return count.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)[:-1, :-1] > 0


def _whole_square(there: np.ndarray, size: int) -> tuple[int, int] | None:
    """Row and column of a square of `size` pixels that is covered everywhere."""
    if min(there.shape) < size:
        return None
    total = np.pad(there, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    inside = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    at = int(inside.argmax())
    row, column = divmod(at, inside.shape[1])
    return (row, column) if inside[row, column] == size**2 else None


def _typical(condition: Condition) -> Condition:
    """The same for pictures of many sizes: whole grey levels of noise, JPEG's blocks from the corner on."""
    noise, coded = condition.noise, condition.jpeg
    if noise is not None:
        noise = Noise((float(round(condition.noise_level)),), noise.kind)
    if coded is not None:
        coded = replace(coded, offset=(0, 0), chroma_offset=(0, 0))
    return Condition(0, 0, 0, noise, coded, None)


def degraded(picture: np.ndarray, condition: Condition) -> np.ndarray:
    """A quarter of a picture, uint8 RGB `[3, H, W]`, after what `condition` tells: float32 `[3, H/4, W/4]`."""
    small = matlab_bicubic_down(torch.from_numpy(picture)[None].float() / 255, SCALE)[0]
    if condition.noise_level:
        grey = condition.noise is not None and condition.noise.kind == "grey"
        small = gaussian_noise(small, condition.noise_level / 255, 0, grey=grey)
    small = to_8_bits(small)
    if condition.jpeg is not None:
        subsampled = condition.jpeg.subsampling not in ("4:4:4", "4:4:0")
        [small] = jpeg([small], [Coding(condition.jpeg.quality, subsampled=subsampled)])
    return small.numpy()


def _example(
    engine: Upscaler, square: Square, condition: Condition, refine: Refine | None, measured: Measured | None
) -> Example:
    lr = degraded(square.pixels, condition)
    sr = engine.upscale_array(lr, refine)
    if refine is not None:
        refine.take_residual()
    return Example(square.pixels / np.float32(255), lr, np.round(255 * sr) / np.float32(255), measured)


def _packed(memory: TextureMemory) -> bytes:
    lacking, buffer = memory.lacking, io.BytesIO()
    values = lacking.values if memory.shares is not None and memory.shares[2] else []
    planes = [[torch.from_numpy(plane) for plane in many] for many in (lacking.lrs, values, [memory.gains])]
    torch.save((memory.regression.weights, *planes, memory.shares, memory.usual, memory.photographs), buffer)
    return buffer.getvalue()


def _unpacked(data: bytes) -> TextureMemory:
    weights, *planes, shares, usual, photographs = torch.load(io.BytesIO(data), weights_only=True)
    lrs, values, [gains] = ([plane.numpy() for plane in many] for many in planes)
    return TextureMemory(Regression(weights), Memory(lrs, values), shares, gains, usual, photographs)


class Use:
    """Where a database's textures fit a picture, at every fourth pixel of it, and which photographs they are of.

    Args:
        memory: the database's.
        picture: an opened file, or float32 `[C, H, W]` in [0, 1].
    """

    def __init__(self, memory: TextureMemory, picture: Raster | np.ndarray) -> None:
        step = STEP // SCALE
        self._photographs = sorted(set(memory.photographs))
        of_example = np.array([self._photographs.index(each) for each in memory.photographs])
        height, width = (picture.info.height, picture.info.width) if isinstance(picture, Raster) else picture.shape[1:]
        shape = -(-height // step), -(-width // step)
        self._sure, self._which = np.zeros(shape, np.float32), np.zeros(shape, np.intp)
        if memory.shares is None or min(height, width) < LEAST:
            return
        for top in range(0, height, _STRIP):
            first, last = max(0, top - memory.reach), min(top + _STRIP + memory.reach, height)
            if isinstance(picture, Raster):
                pixels = picture.read(Window(0, first, width, last - first))
            else:
                pixels = picture[:, first:last]
            seen = luma_plane(pixels[:3] if len(pixels) > 2 else np.repeat(pixels[:1], 3, axis=0))
            here = slice(top // step, -(-min(top + _STRIP, height) // step))
            sure, rows = (
                each[(top - first) // step :][: here.stop - here.start] for each in memory.fitting(seen, step)
            )
            self._sure[here], self._which[here] = sure, of_example[memory.lacking.places[rows][..., 0] // 4]

    @property
    def share(self) -> float:
        """Of the picture where something fitted, each place by how well: 0 to 1."""
        return float(self._sure.mean())

    def describe(self) -> str:
        """One line, such as `textures fit 43 % of the picture: wool.jpg (CC0-1.0) 60 %, silk.jpg (CC-BY-4.0) 40 %`."""
        found = [
            f"{shown(source.rpartition('#')[0])} ({licence}) {part:.0%}" for source, licence, part in self.shares()
        ]
        more = [f"{len(found) - _TOLD} more"] if len(found) > _TOLD else []
        return f"textures fit {self.share:.0%} of the picture: {', '.join(found[:_TOLD] + more) or 'none'}"

    def shares(self) -> list[tuple[str, str, float]]:
        """Photograph, licence and part in all of the share, the largest first; those that gave nothing are left out."""
        given = np.bincount(self._which.ravel(), self._sure.ravel(), len(self._photographs))
        order = np.argsort(-given, kind="stable")
        total = given.sum()
        return [(*self._photographs[number], float(given[number] / total)) for number in order if given[number]]

    def write(self, target: Path) -> None:
        """Write a map beside the result `target` and a table of the photographs.

        A pixel of the map is 4×4 of the input: its colour is that of the photograph in the table, black where nothing
        fits.

        Raises:
            UserError: they cannot be written.
        """
        colours = [
            colorsys.hsv_to_rgb(number / len(self._photographs), 0.8, 1) for number in range(len(self._photographs))
        ]
        planes = self._sure * np.array(colours, np.float32)[self._which].transpose(2, 0, 1)
        write_image(target.with_name(f"{target.name}.textures.png"), planes)
        names = dict(zip(self._photographs, colours, strict=True))
        rows = [
            (
                "#" + "".join(f"{round(255 * value):02x}" for value in names[source, licence]),
                source,
                licence,
                f"{part:.4f}",
            )
            for source, licence, part in self.shares()
        ]
        write_csv(target.with_name(f"{target.name}.textures.csv"), ("colour", "photograph", "licence", "share"), rows)
