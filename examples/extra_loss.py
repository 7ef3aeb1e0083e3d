"""A loss of your own: edges of SR should be as strong as those of HR (SPSR, Ma et al., CVPR 2020)."""

import torch
import torch.nn.functional as F
from common import train
from torch import Tensor


def edges(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 between the lengths of both images' gradients; `[B, 3, H, W]` in [0, 1]."""
    return F.l1_loss(_strength(sr), _strength(hr))


def _strength(images: Tensor) -> Tensor:
    across = images[..., 2:, 1:-1] - images[..., :-2, 1:-1]
    along = images[..., 1:-1, 2:] - images[..., 1:-1, :-2]
    return torch.sqrt(across.square() + along.square() + 1e-6)  # so that the root has a gradient where there is no edge


if __name__ == "__main__":
    train(losses={"edges": (edges, 0.1)})
