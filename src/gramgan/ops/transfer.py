"""From the host's memory to a device without making the host wait.

A plain copy to a GPU waits until everything that was asked of the GPU before is done. A training step that copies so
even once keeps the GPU idle while the host prepares what comes next.
"""

from functools import lru_cache

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy `tensor` from the host to `device`; the host continues during the copy."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # from other memory even an asynchronous copy waits
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`values` as a vector on `device`, copied there once; not to be written to."""
    with torch.inference_mode(False):  # else a first use there would make it useless to every later gradient
        return torch.tensor(values, dtype=dtype, device=device)
