"""A discriminator of your own that judges every pixel (a U-Net, as Real-ESRGAN has it, ICCVW 2021)."""

import torch.nn.functional as F
from common import train
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class UNet(nn.Module):
    """RGB `[B, 3, H, W]` → a logit for each pixel, and two feature maps for L_DP; H and W are multiples of 4."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(n * width, 2 * n * width, 4, 2, 1)) for n in (1, 2))
        self.up = nn.ModuleList(spectral_norm(nn.Conv2d(2 * n * width, n * width, 3, 1, 1)) for n in (2, 1))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits `[B, 1, H, W]`, early and late features."""
        full = F.leaky_relu(self.first(images), 0.2)
        half = F.leaky_relu(early := self.down[0](full), 0.2)
        quarter = F.leaky_relu(late := self.down[1](half), 0.2)
        half = half + F.leaky_relu(self.up[0](F.interpolate(quarter, scale_factor=2.0)), 0.2)
        full = full + F.leaky_relu(self.up[1](F.interpolate(half, scale_factor=2.0)), 0.2)
        return self.last(full), early, late


if __name__ == "__main__":
    train(discriminator=UNet)
