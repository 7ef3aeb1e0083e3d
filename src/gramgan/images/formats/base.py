"""What one file format can do, and who reads and writes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gramgan.images.formats.beside import Beside, PlaceInFile
from gramgan.images.info import Animation, RasterInfo, Window
from gramgan.images.vips import name_for, pyvips


@dataclass(frozen=True)
class Request:
    """What is wanted of a file: which of its images (from 0), of any size or not, its colours as sRGB or as stored.

    `sequential` allows a format to decode windows only once, from top to bottom, and no farther than needed. `data` are
    the file's bytes where they are in memory already; `path` names them then.
    """

    path: Path
    page: int = 0
    allow_huge: bool = False
    to_srgb: bool = False
    sequential: bool = False
    data: bytes | None = None

    def source(self) -> pyvips.Source:
        """Where libvips reads from. Raises `pyvips.Error`: the file cannot be opened."""
        if self.data is not None:
            return pyvips.Source.new_from_memory(self.data)
        # A source takes the file's name literally; a plain file name could end in libvips options: "[page=2]".
        return pyvips.Source.new_from_file(name_for(self.path))


@dataclass(frozen=True)
class Opened:
    """An image whose header has been read; `samples(window)` decodes `[height, width, channels]` of `info.dtype`."""

    info: RasterInfo
    samples: Callable[[Window], np.ndarray]


@dataclass(frozen=True)
class FormatFindings:
    """What a format's own look into a file finds beside what libvips says.

    `pages` and `animation` take the place of libvips' count where they are given; see `RasterInfo` for `notes`.
    """

    beside: Beside
    notes: tuple[str, ...] = ()
    pages: int | None = None
    animation: Animation | None = None
    has_maker_note: bool = False


@dataclass(frozen=True)
class Writing:
    """How a format is written.

    `bits` are the sample depths it holds (8, 16, 32 = float), `deepest` how many of those bits it really keeps, `holds`
    what it has a place for beside RGB, `max_side` is the largest width or height in pixels. `coarse` says what it does
    to every picture, where that is more than lossy compression.
    `save(image, path, quality, beside)` streams a libvips image into `path`, and what stands beside the pixels with it.
    Formats of several images either take them as one strip with the frames below one another (`frames`: `save` does
    that, by the strip's `page-height`), or from TIFF files of one page each (`concatenate(files, path)`).
    """

    bits: tuple[int, ...]
    holds: frozenset[PlaceInFile]
    alpha: bool
    max_side: int
    save: Callable[[pyvips.Image, Path, int, Beside], None]
    deepest: int = 32
    coarse: str = ""
    frames: bool = False
    concatenate: Callable[[Sequence[Path], Path], None] | None = None


@dataclass(frozen=True)
class Format:
    """One file format.

    `recognises(head)` looks at the file's first `HEAD_BYTES` bytes; `open(request)` reads its header. A reader other
    than libvips gives its own `open`; those of libvips use `vips_reader.reader`. The list in `formats/__init__.py` is
    asked in order, so a special kind of a format (a GeoTIFF) stands before the general one.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    open: Callable[[Request], Opened]
    writing: Writing | None = None


HEAD_BYTES = 132
"""Enough to tell every format apart; DICOM has its mark at byte 128."""
