"""Distance of patch textures: what the texture loss works on, as a score."""

from torch import Tensor

from gramgan.metrics.inputs import cropped_pair
from gramgan.texture.encoding import encode


def gram_distance(sr: Tensor, hr: Tensor, k: int = 4) -> Tensor:
    """Mean over k×k patches of the Frobenius distance between the RGB Gram matrices P Pᵀ / k² (lower is better).

    Args:
        sr: RGB `[B, 3, H, W]` in [0, 1].
        hr: the truth, of the same shape.
        k: patch side and step in pixels; what no whole patch covers at the right and bottom is left out.

    Returns:
        `[B]` in float64, in [0, 3].

    Raises:
        ValueError: shapes differ, not RGB, or smaller than one patch.
    """
    sr, hr = cropped_pair(sr, hr, smallest=k)
    difference = encode(sr.double(), "rgb", k, k) - encode(hr.double(), "rgb", k, k)
    return difference.norm(dim=-1).mean(dim=-1)
