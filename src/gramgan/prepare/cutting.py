"""Cutting photographs into overlapping sub-images: quick to read at training, since little has to be decoded."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gramgan.collect.manifest import TOLD, ManifestEntry
from gramgan.images import Raster, Window
from gramgan.images.vips import pyvips
from gramgan.names import in_utf8
from gramgan.prepare.colours import is_srgb

_COMPRESSION = 4  # of PNG; more costs much time and saves little
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_READABLE = 40  # characters of a photograph's name in a key
_CONTEXT = 4  # pixels, after shrinking, read around a sub-image: beyond the reach of the cubic filter


@dataclass(frozen=True)
class Photograph:
    """A photograph to be cut: where it is, and what the manifest says of it or would say."""

    path: Path
    entry: ManifestEntry


@dataclass(frozen=True)
class Spot:
    """Where one sub-image lies in its photograph, shrunk `shrink` times, and what it is called.

    `x`, `y` and `size` are pixels of the shrunk photograph.
    """

    photograph: Photograph
    x: int
    y: int
    size: int
    shrink: int = 1

    @property
    def key(self) -> str:
        """Its name without a suffix: unique, and without a dot, as WebDataset wants it."""
        file = self.photograph.entry.file
        stem = _UNSAFE.sub("-", file.rpartition(".")[0] or file).strip("-")[:_READABLE]
        shrunk = "" if self.shrink == 1 else f"_s{self.shrink}"
        return f"{stem}-{self.photograph.entry.sha256[:8]}{shrunk}_x{self.x:05d}_y{self.y:05d}"

    @property
    def origin(self) -> dict[str, int]:
        """The rectangle of the photograph's own pixels that it shows, and how many times that was shrunk."""
        place = {"x": self.x, "y": self.y, "width": self.size, "height": self.size}
        shrunk = {} if self.shrink == 1 else {"shrink": self.shrink}
        return {name: value * self.shrink for name, value in place.items()} | shrunk


@dataclass(frozen=True)
class SubImage:
    """A sub-image that has been cut: PNG file, and SHA-256 of its pixels as `manifest.ManifestEntry` has it."""

    spot: Spot
    png: bytes
    pixels_sha256: str

    def entry(self) -> ManifestEntry:
        """Its line of the manifest."""
        spot = self.spot
        place = "&".join(f"{name}={value}" for name, value in spot.origin.items() if name not in ("width", "height"))
        return replace(
            spot.photograph.entry,
            file=f"{spot.key}.png",
            width=spot.size,
            height=spot.size,
            sha256=hashlib.sha256(self.png).hexdigest(),
            pixels_sha256=self.pixels_sha256,
            source=f"{spot.photograph.entry.file}#{place}",
            fingerprint="",
        )

    def record(self) -> bytes:
        """What a shard says of it, as JSON: where it comes from, and under which licence."""
        entry = self.spot.photograph.entry
        said = {name: in_utf8(getattr(entry, name)) for name in TOLD}
        record = {"source": in_utf8(entry.file), "source_sha256": entry.sha256, **self.spot.origin, **said}
        return json.dumps(record, ensure_ascii=False).encode("utf-8")


def starts(length: int, size: int, step: int) -> list[int]:
    """Where sub-images of `size` begin along a side: every `step` pixels, and one more that ends at the border."""
    found = list(range(0, length - size + 1, step))
    return found if found[-1] + size == length else [*found, length - size]


def spots_of(photograph: Photograph, size: int, step: int, shrink: int = 1) -> list[Spot]:
    """All sub-images of a photograph that is shrunk `shrink` times, row by row; none if a side is too short then."""
    width, height = photograph.entry.width // shrink, photograph.entry.height // shrink
    if min(width, height) < size:
        return []
    return [Spot(photograph, x, y, size, shrink) for y in starts(height, size, step) for x in starts(width, size, step)]


def cut_sub_images(photograph: Photograph, spots: list[Spot]) -> Iterator[SubImage]:
    """Decode a photograph once and cut sub-images out of it: 8 or 16 bits as it has itself, grey or RGB, in sRGB.

    Float samples become 16 bits. Transparency is dropped. Shrinking is MATLAB's bicubic, anti-aliased.

    Raises:
        UserError: the photograph can no longer be read.
    """
    raster = Raster.open(photograph.path, allow_huge=True)
    if raster.info.icc is not None and not is_srgb(raster.info.icc):
        raster = Raster.open(photograph.path, allow_huge=True, to_srgb=True)
    for spot in spots:
        samples = _samples(raster, spot)
        yield SubImage(spot, _png(samples), _hash(samples))


def _samples(raster: Raster, spot: Spot) -> np.ndarray:
    """Uint8 or uint16 `[C, size, size]`."""
    colours = raster.info.colour_channels
    whole = raster.info.dtype
    if whole != "float32" and spot.shrink == 1:
        return raster.read_samples(Window(spot.x, spot.y, spot.size, spot.size))[:colours]
    depth, white = (np.uint8, 255) if whole == "uint8" else (np.uint16, 65535)
    values = np.clip(_shrunk(raster, spot)[:colours], 0, 1)
    return np.floor(values * np.float32(white) + np.float32(0.5)).astype(depth)


def _shrunk(raster: Raster, spot: Spot) -> np.ndarray:
    """Float32 `[C, size, size]`, read with as much around it as the filter sees."""
    shrink = spot.shrink
    left, top = max(0, spot.x - _CONTEXT), max(0, spot.y - _CONTEXT)
    right = min(raster.info.width // shrink, spot.x + spot.size + _CONTEXT)
    bottom = min(raster.info.height // shrink, spot.y + spot.size + _CONTEXT)
    window = Window(left * shrink, top * shrink, (right - left) * shrink, (bottom - top) * shrink)
    values = np.nan_to_num(raster.read(window))
    if shrink > 1:
        import torch  # takes a second, which most runs of `gramgan prepare` can do without

        from gramgan.ops.resize import matlab_bicubic_down

        values = matlab_bicubic_down(torch.from_numpy(values)[None], shrink, quantise=False)[0].numpy()
    x, y = spot.x - left, spot.y - top
    return values[:, y : y + spot.size, x : x + spot.size]


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
