"""A metric of your own: structure and texture apart, as DISTS has them (TPAMI 2022), on steerable bands, no weights."""

import torch
import torch.nn.functional as F
from common import train
from torch import Tensor


def structure_and_texture(sr: Tensor, hr: Tensor) -> float:
    """RGB `[1, 3, H, W]` in [0, 1]; 0 for equal images, less is better."""
    kernels = torch.tensor([[[-1.0, 0, 1]] * 3, [[-1.0] * 3, [0.0] * 3, [1.0] * 3]]).unsqueeze(1).to(sr) / 6
    total = torch.zeros((), device=sr.device)
    one, other = (images.mean(1, keepdim=True) for images in (sr, hr))
    for _ in range(3):
        x, y = (torch.cat((image, F.conv2d(image, kernels, padding=1)), 1) for image in (one, other))
        mean_x, mean_y = (band.mean((2, 3)) for band in (x, y))
        var_x, var_y = (band.var((2, 3), correction=0) for band in (x, y))
        shared = ((x - mean_x[..., None, None]) * (y - mean_y[..., None, None])).mean((2, 3))
        texture = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
        structure = (2 * shared + 1e-6) / (var_x + var_y + 1e-6)
        total = total + 1 - (texture + structure).mean() / 2
        one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
    return float(total / 3)


if __name__ == "__main__":
    train(metrics={"structure_and_texture": structure_and_texture})
