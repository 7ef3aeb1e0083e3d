"""Pictures cut into tiles at several sizes: a browser gets what it shows and never a large picture whole."""

import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.images import Raster, Window
from gramgan.images.strips import rows_at_once
from gramgan.images.vips import pyvips
from gramgan.scientific.arrangement import arrange_file, group_raster
from gramgan.scientific.base import Reading
from gramgan.scientific.detect import open_scientific, scientific_kind

PYRAMID_TILE = 512
_THUMBNAIL = 240
_KEPT = 40  # pyramids


@dataclass(frozen=True)
class PyramidShape:
    """Size of a picture in pixels and how many times its pyramid halves it."""

    width: int
    height: int
    levels: int


class Pyramids:
    """Pyramids of the pictures that are looked at: 8 bits, sRGB, made when a picture is first shown."""

    def __init__(self, folder: Path, trusted: Path) -> None:
        """Keep them in `folder`; what lies in `trusted` was made here, and may be of any size."""
        self._folder, self._trusted = folder, trusted
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._building: dict[Path, threading.Lock] = {}
        self._shapes: dict[Path, PyramidShape] = {}

    def shape(self, path: Path) -> PyramidShape:
        """What there is of the picture at `path`; makes its pyramid if need be.

        Raises:
            UserError: it cannot be read.
        """
        return self._ready(path)[1]

    def tile(self, path: Path, level: int, column: int, row: int) -> bytes:
        """A tile as PNG; level 0 has the picture's own pixels, each further one half as many a side.

        Raises:
            UserError: the picture cannot be read.
            IndexError: there is no such tile.
        """
        file, shape = self._ready(path)
        if not (0 <= level < shape.levels and column >= 0 and row >= 0):
            raise IndexError((level, column, row))
        image = pyvips.Image.tiffload(str(file), page=level)
        left, top = column * PYRAMID_TILE, row * PYRAMID_TILE
        if left >= image.width or top >= image.height:
            raise IndexError((level, column, row))
        part = image.crop(left, top, min(PYRAMID_TILE, image.width - left), min(PYRAMID_TILE, image.height - top))
        return part.pngsave_buffer(compression=1)

    def thumbnail(self, path: Path) -> bytes:
        """The whole picture, at most `_THUMBNAIL` pixels wide and high, as PNG. Raises what `shape` raises."""
        file, shape = self._ready(path)
        level = 0
        while level + 1 < shape.levels and max(shape.width, shape.height) >> (level + 1) >= _THUMBNAIL:
            level += 1
        return pyvips.Image.tiffload(str(file), page=level).thumbnail_image(_THUMBNAIL, size="down").pngsave_buffer()

    def _ready(self, path: Path) -> tuple[Path, PyramidShape]:
        status = path.stat()
        key = hashlib.sha256(f"{path}\n{status.st_size}\n{status.st_mtime_ns}".encode()).hexdigest()[:24]
        file = self._folder / f"{key}.tif"
        with self._lock:
            building = self._building.setdefault(file, threading.Lock())
        with building:  # two pages may ask for it at once
            with self._lock:
                shape = self._shapes.pop(file, None)
            if shape is None:
                shape = _build(path, file, allow_huge=path.is_relative_to(self._trusted))
            with self._lock:
                self._shapes[file] = shape  # last: used last
                for old in list(self._shapes)[: max(0, len(self._shapes) - _KEPT)]:
                    old.unlink(missing_ok=True)
                    del self._shapes[old], self._building[old]
        return file, shape


def _build(path: Path, file: Path, *, allow_huge: bool) -> PyramidShape:
    with _opened(path, allow_huge) as raster, atomic_path(file) as temporary:
        info = raster.info
        size = info.width * info.height * info.channels
        if shutil.disk_usage(file.parent).free < 2 * size:
            raise UserError(f"{path.name}: no room on the disk to show it; free some, or set TMPDIR to another disk")
        scratch = temporary.with_suffix(".raw")
        try:
            _decode(raster, scratch)
            image = pyvips.Image.rawload(str(scratch), info.width, info.height, info.channels)
            image = image.copy(interpretation="srgb" if info.colour_channels == 3 else "b-w")
            several = max(info.width, info.height) > PYRAMID_TILE
            tiled = (
                {"tile": True, "tile_width": PYRAMID_TILE, "tile_height": PYRAMID_TILE, "pyramid": True}
                if several
                else {}
            )
            image.tiffsave(str(temporary), compression="deflate", level=1, bigtiff=True, **tiled)
        finally:
            scratch.unlink(missing_ok=True)
    levels = pyvips.Image.tiffload(str(file)).get("n-pages")
    assert isinstance(levels, int)
    return PyramidShape(info.width, info.height, levels)


@contextlib.contextmanager
def _opened(path: Path, allow_huge: bool) -> Iterator[Raster]:
    """The picture as the network sees it: of a scientific file the first group of its layers."""
    if scientific_kind(path) is not None:
        reading = Reading()
        file = open_scientific(path, reading, allow_huge=allow_huge)
        assert file is not None
        with contextlib.closing(file):
            groups = arrange_file(file, reading).groups
            if groups:
                yield group_raster(file, groups[0])
                return
    yield Raster.open(path, to_srgb=True, allow_huge=allow_huge)


def _decode(raster: Raster, scratch: Path) -> None:
    info = raster.info
    pixels = np.memmap(scratch, np.uint8, "w+", shape=(info.height, info.width, info.channels))
    rows = rows_at_once(info.width)
    for top in range(0, info.height, rows):
        strip = raster.read(Window(0, top, info.width, min(rows, info.height - top)))
        eight = np.rint(np.clip(np.nan_to_num(strip), 0, 1) * 255).astype(np.uint8)
        pixels[top : top + eight.shape[1]] = eight.transpose(1, 2, 0)
    pixels.flush()
