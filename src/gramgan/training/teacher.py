"""A trained generator that another one learns from."""

import torch
from torch import Tensor, nn

from gramgan.ops.resize import back_project


class Teacher:
    """A generator at rest, and what it makes of LR images.

    A small generator learns so from a large one (Hinton et al., "Distilling the knowledge in a neural network", 2015).
    One that learns from its own start stays as sharp as that was and becomes `consistent`: what it makes, shrunk again,
    is its input.

    Args:
        network: RGB `[B, 3, H, W]` → `[B, 3, 4H, 4W]`.
        consistent: back-project what it makes. Right for LR images that were made by bicubic shrinking alone; noise and
            compression would be put back into the result.
    """

    def __init__(self, network: nn.Module, *, consistent: bool) -> None:
        self._network = network.eval().requires_grad_(False)
        self._consistent = consistent

    @torch.no_grad()
    def answer(self, lr: Tensor) -> Tensor:
        """`[B, 3, 4H, 4W]` in [0, 1], without a graph, for `lr` `[B, 3, H, W]` in [0, 1]."""
        sr = self._network(lr).float()
        return back_project(lr, sr) if self._consistent else sr.clamp(0, 1)
