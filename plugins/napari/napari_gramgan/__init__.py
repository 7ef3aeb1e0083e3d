"""Gram-GAN in napari: an image layer made larger, plane by plane."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import gramgan

if TYPE_CHECKING:
    import napari.layers
    import napari.types

Model = Literal["for each plane", "gramgan-x4", "gramgan-x4-photo", "gramgan-x4-lite"]


def upscale(
    layer: "napari.layers.Image", model: Model = "for each plane", factor: float = 4.0, texture_mask: bool = False
) -> "napari.types.LayerDataTuple":
    """A new layer, `factor` times larger in its last two axes, that lies where the old one lies.

    Planes of a stack are enlarged one by one. 8 and 16 bits stay; other values go through [0, 1] by the layer's own
    smallest and largest value, and back. Fine texture is synthesised, not measured: measure on the original.
    """
    chosen = None if model == "for each plane" else model
    upscaling = gramgan.Upscaling(gramgan.Settings(model=chosen, scale=factor, texture_mask=texture_mask))
    data = np.asarray(layer.data)
    low, high = _range(data)
    end = 3 if layer.rgb else 2  # axes of a plane
    stack = data.shape[: data.ndim - end]
    planes = []
    for place in np.ndindex(stack):
        plane = (data[place].astype(np.float32) - low) / (high - low)
        pixels = np.moveaxis(plane, -1, 0) if layer.rgb else plane[None]
        large = upscaling.array(np.ascontiguousarray(pixels), layer.name)
        planes.append(np.moveaxis(large, 0, -1) if layer.rgb else large[0])
    result = np.stack(planes).reshape(*stack, *planes[0].shape) * (high - low) + low
    if np.issubdtype(data.dtype, np.integer):
        result = np.rint(result)
    scale, translate = np.array(layer.scale, float), np.array(layer.translate, float)
    # napari puts the centre of the first pixel at `translate`; the corners of both pictures are to lie alike.
    translate[-2:] -= scale[-2:] * (1 - 1 / factor) / 2
    scale[-2:] /= factor
    about: dict[str, Any] = {
        "name": f"{layer.name} x{factor:g}",
        "rgb": layer.rgb,
        "scale": scale,
        "translate": translate,
        "metadata": {"gramgan": "fine texture is synthesised, not measured"},
    }
    return result.astype(data.dtype), about, "image"


def _range(data: np.ndarray) -> tuple[float, float]:
    """The values that are black and white."""
    if data.dtype in (np.uint8, np.uint16):
        return 0.0, float(np.iinfo(data.dtype).max)
    low, high = float(data.min()), float(data.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("the layer has values that are not finite; fill them first")
    if np.issubdtype(data.dtype, np.floating) and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1
