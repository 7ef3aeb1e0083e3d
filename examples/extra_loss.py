"""A loss of your own: where SR looks like an artifact to the averaged generator it weighs more (LDL, CVPR 2022)."""

import torch
import torch.nn.functional as F
from common import train
from torch import Tensor


def artifacts(sr: Tensor, hr: Tensor, average: Tensor) -> Tensor:
    """Images `[B, 3, H, W]` in [0, 1]; `average` is what the averaged generator makes of the same LR."""
    with torch.no_grad():
        residual, steady = ((hr - one).abs().sum(1, keepdim=True) for one in (sr, average))
        mean = F.avg_pool2d(residual, 7, stride=1, padding=3)
        spread = (F.avg_pool2d(residual**2, 7, stride=1, padding=3) - mean**2).clamp_min(0)
        weight = spread * residual.var(dim=(1, 2, 3), keepdim=True) ** 0.2 * (residual >= steady)
    return (weight * (sr - hr).abs()).mean()


if __name__ == "__main__":
    train(losses={"artifacts": (artifacts, 0.1)})
