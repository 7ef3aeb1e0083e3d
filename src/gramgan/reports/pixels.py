"""Pictures as bytes: to 8-bit RGB, to PNG, and text drawn as pixels."""

import functools
from html import escape
from pathlib import Path

import numpy as np
import pyvips

from gramgan.names import in_utf8

Colour = tuple[int, int, int]


def to_rgb8(image: np.ndarray) -> np.ndarray:
    """A picture as uint8 `[H, W, 3]`.

    `image` is uint8 `[H, W]`, `[H, W, 1|3]`, or float `[1|3, H, W]` in [0, 1] (values outside are clipped).

    Raises:
        ValueError: another shape or type, an empty picture, or values that are not finite.
    """
    if image.size == 0:
        raise ValueError(f"a picture of shape {image.shape} is empty")
    if image.dtype == np.uint8:
        picture = image[..., None] if image.ndim == 2 else image
    elif np.issubdtype(image.dtype, np.floating) and image.ndim == 3 and image.shape[0] in (1, 3):
        if not np.isfinite(image).all():
            raise ValueError("a picture holds values that are not finite")
        picture = np.rint(image.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    else:
        raise ValueError(f"a picture is uint8 [H, W, 3] or float [3, H, W], not {image.dtype} {list(image.shape)}")
    if picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise ValueError(f"a picture is uint8 [H, W, 3] or float [3, H, W], not {image.dtype} {list(image.shape)}")
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


def to_png(image: np.ndarray) -> bytes:
    """PNG file of a picture in one of the forms of `to_rgb8`; lossless."""
    return _raster(image).pngsave_buffer(compression=9)


def to_webp(image: np.ndarray) -> bytes:
    """WebP file of a picture in one of the forms of `to_rgb8`; lossless, and two thirds of a PNG."""
    return _raster(image).webpsave_buffer(lossless=True, effort=6)


def to_jpeg(image: np.ndarray, quality: int = 85) -> bytes:
    """JPEG file of a picture in one of the forms of `to_rgb8`: for photographs that are shown as a whole."""
    return _raster(image).jpegsave_buffer(Q=quality, optimize_coding=True)


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 `[H, W, 3]`, shrunk so that its longer side is at most `side` pixels; a smaller one stays as it is."""
    height, width = picture.shape[:2]
    if max(height, width) <= side:
        return picture
    small = _raster(picture).thumbnail_image(side, height=side, size="down")
    return np.asarray(small.numpy())


def repeat_pixels(picture: np.ndarray, factor: int) -> np.ndarray:
    """`[H, W, C]` → `[factor·H, factor·W, C]`, every pixel repeated: nothing is interpolated."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def text_ink(text: str, size: int, bold: bool = False, width: int | None = None) -> np.ndarray:
    """`text` drawn as coverage, uint8 `[H, W]`, 255 where the ink is full.

    `size` is the height of the letters' body in pixels. Lines are broken at `width` pixels, between words and within a
    word that is longer. The typeface is DejaVu Sans as matplotlib carries it, so that no font need be installed;
    characters that it lacks come from the system's fonts. Rows begin at the top of the line, not of the ink, so that
    texts drawn side by side stand on one baseline.
    """
    if not text.strip():
        return np.zeros((0, 0), np.uint8)
    weight = " Bold" if bold else ""
    wrapping = {} if width is None else {"width": width, "wrap": "word-char", "align": "centre"}
    # At 72 dpi a point is a pixel.
    drawn = pyvips.Image.text(
        escape(in_utf8(text), quote=False),
        font=f"DejaVu Sans{weight} {size}",
        fontfile=str(_font(bold)),
        dpi=72,
        **wrapping,
    )
    ink = np.asarray(drawn.numpy()).reshape(drawn.height, drawn.width)
    return np.pad(ink, ((max(0, drawn.yoffset), 0), (0, 0)))


def paint(canvas: np.ndarray, ink: np.ndarray, x: int, y: int, colour: Colour) -> None:
    """Blend `colour` into `canvas` (uint8 `[H, W, 3]`, in place) where `ink` `[h, w]`, put at (x, y), covers it."""
    height, width = ink.shape
    window = canvas[y : y + height, x : x + width]
    cover = ink[: window.shape[0], : window.shape[1], None].astype(np.float32) / 255
    window[...] = np.rint(window * (1 - cover) + np.array(colour, np.float32) * cover).astype(np.uint8)


def _raster(image: np.ndarray) -> pyvips.Image:
    picture = to_rgb8(image)
    height, width = picture.shape[:2]
    return pyvips.Image.new_from_memory(picture.tobytes(), width, height, 3, "uchar").copy(interpretation="srgb")


@functools.cache
def _font(bold: bool) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
