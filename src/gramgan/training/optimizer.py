"""How a network is trained, as far as all trainings agree: the optimiser, and Fabric's names of the precisions."""

import torch
from torch import nn

PRECISION_FLAG = {"fp32": "32-true", "bf16": "bf16-mixed"}


def build_optimizer(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Adam(0.9, 0.999), fused: one kernel for all parameters."""
    return torch.optim.Adam(network.parameters(), rate, betas=(0.9, 0.999), fused=True)
