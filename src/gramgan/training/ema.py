"""The averaged generator: the one that is validated and kept."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of `network`'s weights, updated by `.update_parameters(network)`.

    The decay rises from 0.1 towards `decay` over the first updates, so that a short run is not dominated by its start.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], values: list[Tensor], updates: Tensor | int) -> None:
        count = float(updates)
        effective = min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averages, values, 1 - effective)

    return AveragedModel(network, multi_avg_fn=update)
