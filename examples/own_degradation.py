"""A degradation of your own: LR as an old phone camera makes it, soft, shrunk by averaging and noisy in the dark."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from common import train
from torch import Tensor


def phone(hr: Tensor, seeds: Sequence[int]) -> Tensor:
    """HR `[B, 3, 4H, 4W]` in [0, 1] → LR `[B, 3, H, W]`; all that is random about an image follows from its seed."""
    soft = F.avg_pool2d(F.pad(hr, (1, 1, 1, 1), "replicate"), 3, stride=1)
    small = F.avg_pool2d(soft, 4)
    noise = torch.stack([torch.randn(small.shape[1:], generator=torch.Generator().manual_seed(one)) for one in seeds])
    return (small + 0.03 * (1 - small) * noise.to(small)).clamp(0, 1)


if __name__ == "__main__":
    train(degradation=phone)
