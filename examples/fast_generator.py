"""A generator of your own: small and fast, with attention that has no parameters (SPAN, CVPRW 2024)."""

import torch
import torch.nn.functional as F
from common import train
from torch import Tensor, nn


class Block(nn.Module):
    """Three convolutions; the result gates itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` → the same shape."""
        y = self.convs[2](F.silu(self.convs[1](F.silu(self.convs[0](x)))))
        return (x + y) * (torch.sigmoid(y) - 0.5)


class Fast(nn.Module):
    """RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, 4H, 4W]`."""

    def __init__(self, width: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.first, self.body = nn.Conv2d(3, width, 3, padding=1), nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(2 * width, 48, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """What the network adds to nearest-neighbour enlargement."""
        first = self.first(lr)
        added = F.pixel_shuffle(self.last(torch.cat((first, self.body(first)), 1)), 4)
        return F.interpolate(lr, scale_factor=4.0) + added


if __name__ == "__main__":
    train(generator=Fast)
