"""From what a user asks for to a device that is there."""

import re

import torch

from gramgan.errors import UserError
from gramgan.hardware.allocator import usable_bytes


def resolve_device(device: str = "auto", *, mps: bool = False) -> str:
    """`auto` becomes an accelerator where there is one, else `cpu`; anything else is checked and returned as it is.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        mps: `auto` may choose Apple's GPU (upscaling runs there; training is not tested there).

    Raises:
        UserError: the name is none of these, or that device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if mps and torch.backends.mps.is_available() else "cpu"
    if device == "cpu":
        return device
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("device 'mps': torch sees no Apple GPU here; use cpu or auto")
        return device
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise UserError(f"device {device!r}: unknown; use auto, cpu, cuda, cuda:N or mps")
    if not torch.cuda.is_available():
        raise UserError(f"device {device!r}: torch sees no CUDA device here; use cpu or auto")
    if int(match[1] or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {device!r}: only cuda:0 to cuda:{torch.cuda.device_count() - 1} are here; use one of them"
        )
    return device


def free_device_bytes(device: str) -> int:
    """Bytes that a new computation on `device` may take: the GPU's, what torch holds there unused, or main memory's."""
    if torch.device(device).type != "cuda":
        return usable_bytes()  # Apple's GPU shares it
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
