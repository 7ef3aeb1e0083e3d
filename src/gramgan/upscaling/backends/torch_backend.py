"""The generator on torch: CPU and CUDA."""

import logging

import numpy as np
import torch

from gramgan.errors import UserError
from gramgan.hardware.device import resolve_device
from gramgan.hardware.precision import DTYPES, PRECISIONS, Precision, in_precision, memory_format
from gramgan.hardware.probe import probe
from gramgan.networks.rrdb import RRDBNet
from gramgan.upscaling.backends import OutOfMemory

_CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory")

_log = logging.getLogger(__name__)


class TorchBackend:
    """A `Backend` (see there) that runs `network` in the precision that the probe found, or in the one given.

    Args:
        network: stays as it is; the backend works on a copy.
        name: of the weights, for messages.
        precision: `auto` (the cached probe's verdict), `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.

    Raises:
        UserError: unknown precision or device.
    """

    def __init__(
        self,
        network: RRDBNet,
        name: str,
        precision: str = "auto",
        device: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.name = name
        if precision == "auto":
            verdict = probe(self.device)
            self.precision: Precision = verdict.precision
            self._channels_last = verdict.channels_last
        elif precision in PRECISIONS:
            self.precision = precision
            self._channels_last = True
        else:
            raise UserError(f"precision {precision!r}: unknown; use auto, {', '.join(PRECISIONS)}")
        self._source = network
        self._networks: dict[Precision, RRDBNet] = {}

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """See `Backend.run`. A result that is not finite in reduced precision is computed again in fp32."""
        result = self._run(tiles, self.precision)
        if result is None and self.precision != "fp32":
            _log.warning("%s: not finite in %s on this tile; computing it again in fp32", self.name, self.precision)
            result = self._run(tiles, "fp32")
        if result is None:
            raise UserError(f"{self.name}: these weights give values that are not finite; they are damaged, use others")
        return result

    def _run(self, tiles: np.ndarray, precision: Precision) -> np.ndarray | None:
        """The result of `tiles`, or None where it is not finite."""
        try:
            network = self._network(precision)
            inputs = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device)
            with torch.inference_mode():
                inputs = inputs.to(dtype=DTYPES[precision], memory_format=memory_format(self._channels_last))
                result = network(inputs)
                finite = bool(torch.isfinite(result).all())
            return result.float().cpu().numpy() if finite else None
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemory(str(error)) from error
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            if any(words in str(error) for words in _CPU_OUT_OF_MEMORY):
                raise OutOfMemory(str(error)) from error
            raise

    def _network(self, precision: Precision) -> RRDBNet:
        if precision not in self._networks:
            self._networks[precision] = in_precision(self._source, precision, self._channels_last, self.device)
        return self._networks[precision]
