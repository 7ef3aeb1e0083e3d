"""Colour spaces and colour differences of sRGB images (IEC 61966-2-1, CIE 15, white D65)."""

import torch
from torch import Tensor

# Rows: X, Y, Z of the sRGB primaries; white is their sum.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_POWER_25 = 25.0**7


def linear_light(images: Tensor) -> Tensor:
    """sRGB values in [0, 1] as linear light in [0, 1], in which colours are averaged; any shape."""
    return torch.where(images <= 0.04045, images / 12.92, ((images.clamp_min(0) + 0.055) / 1.055) ** 2.4)


def lab_of_linear(images: Tensor) -> Tensor:
    """CIELAB under D65 (2° observer) of linear RGB `[B, 3, H, W]`: L in [0, 100], a and b about ±128."""
    matrix = torch.tensor(_TO_XYZ, dtype=images.dtype, device=images.device)
    white = torch.tensor(_WHITE, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    xyz = torch.einsum("ic,bchw->bihw", matrix, images) / white
    f = torch.where(xyz > 0.008856, xyz.clamp_min(0).pow(1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def ciede2000(lab: Tensor, other: Tensor) -> Tensor:
    """CIEDE2000 colour difference of CIELAB images `[B, 3, H, W]`: `[B, H, W]`, about 1 where it is just seen.

    Sharma, Wu, Dalal, "The CIEDE2000 Color-Difference Formula", Color Research and Application 2005, with all
    weighting factors 1.
    """
    l1, a1, b1 = lab.unbind(1)
    l2, a2, b2 = other.unbind(1)
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * (mean_chroma**7 / (mean_chroma**7 + _POWER_25)).sqrt()
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % (2 * torch.pi), torch.atan2(b2, a2) % (2 * torch.pi)

    # A grey has no hue of its own: it takes the other's.
    coloured = c1 * c2 != 0
    turn = torch.where(coloured, (h2 - h1 + torch.pi) % (2 * torch.pi) - torch.pi, 0.0)
    mean_hue = torch.where(coloured, h1 + turn / 2, h1 + h2)
    hue = 2 * (c1 * c2).sqrt() * torch.sin(turn / 2)

    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * torch.cos(mean_hue - torch.pi / 6)
        + 0.24 * torch.cos(2 * mean_hue)
        + 0.32 * torch.cos(3 * mean_hue + torch.pi / 30)
        - 0.20 * torch.cos(4 * mean_hue - 63 * torch.pi / 180)
    )
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / (20 + (l_mean - 50) ** 2).sqrt()
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * weight
    degrees = torch.rad2deg(mean_hue) % 360
    rotation = torch.deg2rad(30 * torch.exp(-(((degrees - 275) / 25) ** 2)))
    coupling = -torch.sin(2 * rotation) * 2 * (c_mean**7 / (c_mean**7 + _POWER_25)).sqrt()
    lightness, chroma, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, hue / s_h
    return (lightness**2 + chroma**2 + hue**2 + coupling * chroma * hue).clamp_min(0).sqrt()
