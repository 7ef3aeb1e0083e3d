"""What every full-reference metric checks first."""

from torch import Tensor


def cropped_pair(sr: Tensor, hr: Tensor, crop: int = 0, smallest: int = 1) -> tuple[Tensor, Tensor]:
    """Both images without `crop` border pixels on each side.

    Raises:
        ValueError: not two `[B, C, H, W]` of one shape, or fewer than `smallest` pixels are left in a direction.
    """
    if sr.shape != hr.shape or sr.ndim != 4:
        raise ValueError(
            f"images to compare must be [B, C, H, W] of one shape, got {list(sr.shape)} and {list(hr.shape)}"
        )
    height, width = (size - 2 * crop for size in sr.shape[-2:])
    if min(height, width) < smallest:
        raise ValueError(
            f"images of {sr.shape[-2]}x{sr.shape[-1]} are too small: {smallest + 2 * crop} pixels are needed"
        )
    inside = (..., slice(crop, crop + height), slice(crop, crop + width))
    return sr[inside], hr[inside]
