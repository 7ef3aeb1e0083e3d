"""Making pictures smaller: Lanczos, anti-aliased, with alpha taken into account."""

import numpy as np

from gramgan.images.vips import pyvips

_INVISIBLE = 0.5 / 65535


def resized(image: pyvips.Image, width: int, height: int, has_alpha: bool) -> pyvips.Image:
    """A lazily computed copy of `image` with `width` × `height` pixels.

    Lanczos (three lobes) on the values as they are stored, widened to the new pixel's size. Colours are weighted by
    alpha, so that what lies under transparency does not bleed into what is seen; where nothing is seen they are
    resized alone.

    Args:
        image: float samples in [0, 1], alpha last if `has_alpha`.
        width: in pixels.
        height: in pixels.
        has_alpha: whether the last band is straight alpha.

    Returns:
        Float samples in [0, 1].
    """

    def scaled(one: pyvips.Image) -> pyvips.Image:
        # gap=0: no box filter before the Lanczos kernel, which would be faster and softer
        return one.resize(width / image.width, vscale=height / image.height, kernel="lanczos3", gap=0.0)

    if has_alpha:
        # Not by libvips' (un)premultiply: it takes an alpha below 0.01 for none, in whatever range.
        colours, opacity = image[0 : image.bands - 1], image[image.bands - 1]
        alpha = scaled(opacity)
        visible = alpha > _INVISIBLE
        seen = scaled(colours * opacity) / visible.ifthenelse(alpha, 1.0)
        result = visible.ifthenelse(seen, scaled(colours)).bandjoin(alpha)
    else:
        result = scaled(image)
    return result.clamp().cast("float")


def samples_of(image: pyvips.Image, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A window of a float image as `[height, width, bands]`."""
    memory = image.crop(x, y, width, height).write_to_memory()
    return np.frombuffer(memory, np.float32).reshape(height, width, image.bands)


def resize_array(array: np.ndarray, width: int, height: int, has_alpha: bool) -> np.ndarray:
    """`resized` for a picture in memory: float32 `[C, H, W]` in [0, 1] → `[C, height, width]` in [0, 1]."""
    pixels = np.ascontiguousarray(array.transpose(1, 2, 0), np.float32)
    image = pyvips.Image.new_from_memory(pixels.data, pixels.shape[1], pixels.shape[0], pixels.shape[2], "float")
    result = samples_of(resized(image, width, height, has_alpha), 0, 0, width, height)
    return np.ascontiguousarray(result.transpose(2, 0, 1))
