"""The condition of a picture: of an array, of an open file, of a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gramgan.condition.jpeg_file import header_of, jpeg_of, orientation_of
from gramgan.condition.jpeg_noise import noise_before
from gramgan.condition.jpeg_pixels import jpeg_in
from gramgan.condition.noise import measure_noise, patches_of
from gramgan.condition.record import Condition, Jpeg
from gramgan.condition.samples import Sample, one_after_another, samples_of_array, samples_of_raster, windows_of
from gramgan.condition.softness import measure_softness
from gramgan.images import Raster


def measure(pixels: np.ndarray) -> Condition:
    """The condition of a picture in memory; traces of JPEG are looked for in the pixels.

    Args:
        pixels: RGB or grey, `[3, H, W]` or `[1, H, W]`, float in [0, 1], from 1×1 pixels on. Of more than 1.3
            megapixels 20 windows are looked at.

    Raises:
        ValueError: another shape.
    """
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        raise ValueError(f"the condition is measured of [3, H, W] or [1, H, W], got {list(pixels.shape)}")
    height, width = pixels.shape[1:]
    return of_samples(samples_of_array(pixels), width, height, None)


def of_file(path: Path | str, *, page: int = 0, allow_huge: bool = False) -> Condition:
    """The condition of an image file's picture; of large ones from samples. Alpha plays no part.

    Raises:
        UserError: see `gramgan.images.Raster.open` and `read`.
    """
    raster = Raster.open(path, page=page, allow_huge=allow_huge)
    if one_after_another(windows_of(raster.info.width, raster.info.height)):
        raster = Raster.open(path, page=page, allow_huge=allow_huge, sequential=True)
    return of_raster(raster)


def of_raster(raster: Raster) -> Condition:
    """The same of a file that is open for reading windows in any order."""
    info = raster.info
    return of_samples(samples_of_raster(raster), info.width, info.height, tables_of(raster))


def tables_of(raster: Raster) -> Jpeg | None:
    """What a JPEG file says of its compression, as it lies in the upright picture; None for other formats."""
    info = raster.info
    header = header_of(info.path) if info.format == "JPEG" else None
    return None if header is None else jpeg_of(header, orientation_of(info.path))


def of_samples(samples: Sequence[Sample], width: int, height: int, tables: Jpeg | None) -> Condition:
    """The condition of a picture of `width` × `height` pixels by samples of it."""
    windows = [sample.pixels for sample in samples]
    jpeg = tables or jpeg_in([(sample.pixels, sample.top, sample.left) for sample in samples])
    noise = measure_noise(patches_of(windows))
    before = None if jpeg is None else noise_before(jpeg, samples, len(windows[0]))
    if before is not None and (noise is None or noise.kind == "none" or noise.level < before.level):
        noise = before  # what is left of independent noise is weaker and coarser than it was
    level = 0.0 if noise is None or noise.kind == "none" else noise.level
    return Condition(
        width=width,
        height=height,
        measured=sum(one.shape[1] * one.shape[2] for one in windows),
        noise=noise,
        jpeg=jpeg,
        softness=measure_softness(windows, level),
    )
