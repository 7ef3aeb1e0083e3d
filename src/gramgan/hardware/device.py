"""From what a user asks for to a device that is there."""

import re

import torch

from gramgan.errors import UserError


def resolve_device(device: str = "auto") -> str:
    """`auto` becomes `cuda` where there is one, else `cpu`; anything else is checked and returned as it is.

    Raises:
        UserError: the name is none of `auto`, `cpu`, `cuda`, `cuda:N`, or that device is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise UserError(f"device {device!r}: unknown; use auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UserError(f"device {device!r}: torch sees no CUDA device here; use cpu or auto")
    if int(match[1] or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {device!r}: only cuda:0 to cuda:{torch.cuda.device_count() - 1} are here; use one of them"
        )
    return device
