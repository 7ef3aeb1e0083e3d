"""The averaged generator: the one that is validated and kept."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

_Tensors = list[Tensor] | tuple[Tensor, ...]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of `network`'s weights, updated by `.update_parameters(network)`.

    The first update takes the weights as they are; then the decay rises from 2/11 towards `decay`, so that a short run
    is not dominated by its start.
    """

    @torch.no_grad()
    def update(averages: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        # Tensor arithmetic alone: turning `updates` into a number would wait for a GPU in every step.
        share = 1 - torch.as_tensor((1 + updates) / (10 + updates)).clamp(max=decay)
        steps = torch._foreach_sub(values, averages)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_mul_(steps, share)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_add_(averages, steps)  # pyright: ignore[reportPrivateImportUsage]

    return AveragedModel(network, multi_avg_fn=update)
