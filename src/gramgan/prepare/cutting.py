"""Cutting photographs into overlapping sub-images: quick to read at training, since little has to be decoded."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gramgan.collect.manifest import Entry
from gramgan.images import Raster, Window
from gramgan.images.vips import pyvips
from gramgan.prepare.colours import is_srgb

_COMPRESSION = 4  # of PNG; more costs much time and saves little
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_READABLE = 40  # characters of a photograph's name in a key
_TOLD = ("licence", "licence_url", "author", "title", "page_url", "group", "split")  # fields of `Entry`


@dataclass(frozen=True)
class Photograph:
    """A photograph to be cut: where it is, and what the manifest says of it or would say."""

    path: Path
    entry: Entry


@dataclass(frozen=True)
class Spot:
    """Where one sub-image lies in its photograph, and what it is called."""

    photograph: Photograph
    x: int
    y: int
    size: int

    @property
    def key(self) -> str:
        """Its name without a suffix: unique, and without a dot, as WebDataset wants it."""
        file = self.photograph.entry.file
        stem = _UNSAFE.sub("-", file.rpartition(".")[0] or file).strip("-")[:_READABLE]
        return f"{stem}-{self.photograph.entry.sha256[:8]}_x{self.x:05d}_y{self.y:05d}"


@dataclass(frozen=True)
class SubImage:
    """A sub-image that has been cut: PNG file, and SHA-256 of its pixels as `manifest.Entry` has it."""

    spot: Spot
    png: bytes
    pixels_sha256: str

    def entry(self) -> Entry:
        """Its line of the manifest."""
        spot = self.spot
        return replace(
            spot.photograph.entry,
            file=f"{spot.key}.png",
            width=spot.size,
            height=spot.size,
            sha256=hashlib.sha256(self.png).hexdigest(),
            pixels_sha256=self.pixels_sha256,
            source=f"{spot.photograph.entry.file}#x={spot.x}&y={spot.y}",
            fingerprint="",
        )

    def record(self) -> bytes:
        """What a shard says of it, as JSON: where it comes from, and under which licence."""
        entry = self.spot.photograph.entry
        place = {"x": self.spot.x, "y": self.spot.y, "width": self.spot.size, "height": self.spot.size}
        said = {name: getattr(entry, name) for name in _TOLD}
        record = {"source": entry.file, "source_sha256": entry.sha256, **place, **said}
        return json.dumps(record, ensure_ascii=False).encode("utf-8")


def starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images of `size` begin along a side: every `step` pixels, and one more that ends at the border."""
    found = list(range(0, length - size + 1, step))
    return found if found[-1] + size == length else [*found, length - size]


def spots_of(photograph: Photograph, size: int, step: int) -> list[Spot]:
    """All sub-images of a photograph, row by row; its sides must be at least `size`."""
    return [
        Spot(photograph, x, y, size)
        for y in starts(photograph.entry.height, size, step)
        for x in starts(photograph.entry.width, size, step)
    ]


def cut(photograph: Photograph, spots: list[Spot]) -> Iterator[SubImage]:
    """Decode a photograph once and cut sub-images out of it: 8 or 16 bits as it has itself, grey or RGB, in sRGB.

    Float samples become 16 bits. Transparency is dropped.

    Raises:
        UserError: the photograph can no longer be read.
    """
    raster = Raster.open(photograph.path, allow_huge=True)
    if raster.info.icc is not None and not is_srgb(raster.info.icc):
        raster = Raster.open(photograph.path, allow_huge=True, to_srgb=True)
    for spot in spots:
        samples = _samples(raster, Window(spot.x, spot.y, spot.size, spot.size))
        yield SubImage(spot, _png(samples), _hash(samples))


def _samples(raster: Raster, window: Window) -> np.ndarray:
    colours = raster.info.colour_channels
    if raster.info.dtype != "float32":
        return raster.read_samples(window)[:colours]
    values = np.clip(np.nan_to_num(raster.read(window)[:colours]), 0, 1)
    return np.floor(values * np.float32(65535) + np.float32(0.5)).astype(np.uint16)


def _png(samples: np.ndarray) -> bytes:
    """A PNG file of uint8 or uint16 `[C, H, W]`."""
    deep = samples.dtype == np.uint16
    pixels = np.ascontiguousarray(samples.transpose(1, 2, 0))
    image = pyvips.Image.new_from_memory(
        pixels.data, pixels.shape[1], pixels.shape[0], pixels.shape[2], "ushort" if deep else "uchar"
    )
    names = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    image = image.copy(interpretation=names[len(samples) > 1])
    return image.pngsave_buffer(compression=_COMPRESSION, filter=pyvips.enums.ForeignPngFilter.UP)


def _hash(samples: np.ndarray) -> str:
    """SHA-256 of the float32 RGB pixels; see `gramgan.collect.examine`."""
    white = np.float32(65535 if samples.dtype == np.uint16 else 255)
    rgb = np.repeat(samples, 3, axis=0) if len(samples) == 1 else samples
    values = np.ascontiguousarray(rgb.transpose(1, 2, 0), dtype=np.float32)
    values /= white
    height, width = samples.shape[1:]
    return hashlib.sha256(f"{width}x{height}".encode() + values.tobytes()).hexdigest()
