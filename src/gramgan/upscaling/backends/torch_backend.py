"""The generator on torch: CPU, CUDA and Apple's MPS."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from gramgan.hardware.casting import DTYPES, in_precision, memory_format
from gramgan.hardware.device import free_device_bytes, resolve_device
from gramgan.hardware.precision import Precision, check_precision
from gramgan.hardware.probe import probe
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.span import SPAN
from gramgan.upscaling.backends import OutOfMemory
from gramgan.upscaling.backends.common import bytes_per_pixel, finite

_CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "MPS backend out of memory")
_BATCH_ON_ACCELERATORS = 4


class TorchBackend:
    """A `Backend` (see there) that runs `network` in the precision that the probe found, or in the one given.

    Args:
        network: stays as it is; the backend works on a copy.
        weights: name of the weights, for messages.
        precision: `auto` (the cached probe's verdict), `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`.
        room: see `Backend.bytes_per_pixel`; None: as an RRDBNet needs it, of 64 channels where it is none of ours.

    Raises:
        UserError: unknown precision or device.
    """

    side = None

    def __init__(
        self,
        network: nn.Module,
        weights: str,
        precision: str = "auto",
        device: str = "auto",
        *,
        room: int | None = None,
    ) -> None:
        self.device = resolve_device(device, mps=True)
        self._weights = weights
        wanted = check_precision(precision)
        if wanted is None:
            verdict = probe(self.device)
            self.precision: Precision = verdict.precision
            self._channels_last = verdict.channels_last
        else:
            self.precision = wanted
            self._channels_last = True
        self._source = network
        self._networks: dict[Precision, Callable[[Tensor], Tensor]] = {}
        self.name = f"torch {self.device} {self.precision}"
        self.batch = 1 if self.device == "cpu" else _BATCH_ON_ACCELERATORS
        if room is None:
            config = network.config if isinstance(network, RRDBNet | SPAN) else RRDBConfig()
            room = bytes_per_pixel(config.nf, self.precision, config.scale)
        self.bytes_per_pixel = room

    def free_bytes(self) -> int:
        """Memory of the device that new tiles may use."""
        return free_device_bytes(self.device)

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles; a result that is not finite in reduced precision is computed again in fp32."""
        return finite(self._run, tiles, self.precision, self._weights)

    def _run(self, tiles: np.ndarray, precision: Precision) -> np.ndarray | None:
        """The result of `tiles`, or None where it is not finite."""
        try:
            network = self._network(precision)
            inputs = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device)
            with torch.inference_mode():
                inputs = inputs.to(dtype=DTYPES[precision], memory_format=memory_format(self._channels_last))
                result = network(inputs)
                finite = bool(torch.isfinite(result).all())
            return result.float().cpu().contiguous().numpy() if finite else None
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemory(str(error)) from error
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            if any(words in str(error) for words in _CPU_OUT_OF_MEMORY):
                raise OutOfMemory(str(error)) from error
            raise

    def _network(self, precision: Precision) -> Callable[[Tensor], Tensor]:
        if precision not in self._networks:
            self._networks[precision] = in_precision(self._source, precision, self._channels_last, self.device)
        return self._networks[precision]
