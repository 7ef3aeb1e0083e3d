"""Pictures in known condition: photographs shrunk until they are clean, and what is done to them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

Picture = np.ndarray
"""uint8 `[3|1, H, W]`."""


def load(path: Path) -> Picture:
    image = Image.open(path)
    return from_pil(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def to_pil(picture: Picture) -> Image.Image:
    return Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))


def from_pil(image: Image.Image) -> Picture:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resized(picture: Picture, factor: float, kind: Image.Resampling = Image.Resampling.BICUBIC) -> Picture:
    image = to_pil(picture)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return from_pil(image.resize(size, kind))


def as_jpeg(picture: Picture, quality: int, *, subsampling: int = 2, cut: tuple[int, int] = (0, 0)) -> Picture:
    """Through JPEG; `cut` rows and columns are taken off at the top and left afterwards, which moves the grid."""
    buffer = io.BytesIO()
    colour = {} if len(picture) == 1 else {"subsampling": subsampling}
    to_pil(picture).save(buffer, "JPEG", quality=quality, **colour)
    read = from_pil(Image.open(io.BytesIO(buffer.getvalue())))
    return np.ascontiguousarray(read[:, cut[0] :, cut[1] :])


def with_noise(picture: Picture, sigma: float, seed: int = 0) -> Picture:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def as_grey(picture: Picture) -> Picture:
    return from_pil(to_pil(picture).convert("L"))
