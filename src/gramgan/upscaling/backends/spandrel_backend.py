"""Generators of other architectures, as spandrel reads them, on torch."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.hardware.casting import DTYPES
from gramgan.hardware.precision import Precision
from gramgan.networks.foreign import ForeignGenerator
from gramgan.upscaling.backends.torch_backend import TorchBackend

_MAPS = 64  # live feature maps of a block of attention, at the picture's own size


class SpandrelBackend(TorchBackend):
    """A `Backend` (see there) for a network that spandrel has built.

    Computes in fp32 unless another precision is asked for: who made the weights has seldom looked at them in less.

    Raises:
        UserError: unknown precision or device, or the architecture does not compute in that precision.
    """

    def __init__(
        self, generator: ForeignGenerator, weights: str, precision: str = "auto", device: str = "auto"
    ) -> None:
        found = generator.descriptor
        can: dict[str, bool] = {"fp16": found.supports_half, "bf16": found.supports_bfloat16}
        if not can.get(precision, True):
            raise UserError(f"precision {precision!r}: {found.architecture.name} does not compute in it; use fp32")
        self._descriptor = found
        bytes_per_value = 2 if precision in can else 4
        room = (_MAPS + 3 * found.scale**2) * min(generator.width, 256) * bytes_per_value
        super().__init__(found.model, weights, "fp32" if precision == "auto" else precision, device, room=room)

    def _network(self, precision: Precision) -> Callable[[Tensor], Tensor]:
        if precision not in self._networks:
            made = copy.deepcopy(self._descriptor)
            made.model.to(self.device, DTYPES[precision])
            # One picture at a time is what spandrel promises for every architecture.
            self._networks[precision] = lambda tiles: torch.cat([made(one[None]) for one in tiles])
        return self._networks[precision]
