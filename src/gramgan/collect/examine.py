"""Looking at one photograph to the last pixel: what the manifest says of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gramgan.files import sha256
from gramgan.images import Raster, Window
from gramgan.images.fingerprint import Thumbnail, fingerprint
from gramgan.images.strips import luma, rows_at_once


@dataclass(frozen=True)
class Examined:
    """What was found: size in pixels, upright; hashes (see `ManifestEntry`); format and number of its images."""

    width: int
    height: int
    sha256: str
    pixels_sha256: str
    fingerprint: str
    format: str
    pages: int


def examine(path: Path, *, min_size: int = 1, allow_huge: bool = False) -> Examined:
    """Decode a photograph completely, in strips.

    Its `pixels_sha256` is that of the upright float32 pixels, alike for a picture in two lossless formats or two
    depths. An image below `min_size` pixels in either direction is not decoded; its hashes of pixels are empty.

    Raises:
        UserError: it cannot be decoded to the end, or is too large.
    """
    raster = Raster.open(path, allow_huge=allow_huge)
    info = raster.info
    pixels = mark = ""
    if min(info.width, info.height) >= min_size:
        digest = hashlib.sha256(f"{info.width}x{info.height}".encode())
        cells = Thumbnail(info.width, info.height)
        rows = rows_at_once(info.width)
        for top in range(0, info.height, rows):
            strip = raster.read(Window(0, top, info.width, min(rows, info.height - top)))
            if info.colour_channels == 1:
                strip = np.concatenate([strip[:1]] * 3 + [strip[1:]])
            digest.update(np.ascontiguousarray(strip.transpose(1, 2, 0)).tobytes())
            cells.add(top, luma(strip))
        pixels, mark = digest.hexdigest(), fingerprint(cells.values())
    return Examined(info.width, info.height, sha256(path), pixels, mark, info.format, info.pages)
