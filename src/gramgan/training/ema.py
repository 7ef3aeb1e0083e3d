"""The averaged generator: the one that is validated and kept."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class Average(AveragedModel):
    """What `averaged` makes."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take a share of the weights of `model`."""
        # The number of updates stays on the host, so that nothing waits for a GPU; torch's own way copies it there.
        updates = int(self.n_averaged)
        share = 1 - min(self._decay, (1 + updates) / (10 + updates)) if updates else 1.0
        averages: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, values, share)  # pyright: ignore[reportPrivateImportUsage]
        for average, value in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(value)
        self.n_averaged += 1


def averaged(network: nn.Module, decay: float) -> Average:
    """An exponential moving average of `network`'s weights, updated by `.update_parameters(network)`.

    The first update takes the weights as they are; then the decay rises from 2/11 towards `decay`, so that a short run
    is not dominated by its start.
    """
    return Average(network, decay)
