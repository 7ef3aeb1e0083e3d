"""Running a generator on torch in less than fp32: the one place that says how."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from gramgan.hardware.precision import Precision
from gramgan.networks.rrdb import RRDBNet
from gramgan.networks.span import SPAN

Network = TypeVar("Network", bound=nn.Module)

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(network: Network, precision: Precision, channels_last: bool, device: str = "cpu") -> Network:
    """A copy of `network` for inference, on `device`, with its weights in `precision`.

    The last convolution of our generators stays in fp32: a result stored in bf16 would have the steps of an 8-bit image
    between 0.5 and 1, so a 16-bit picture would come out with 8 bits. It is 0.2 % of the arithmetic.

    Args:
        network: any device; left as it is.
        precision: of all weights and features but the last convolution's. Inputs must have `DTYPES[precision]`.
        channels_last: store weights in that memory format (inputs should have it too).
        device: where the copy goes.

    Returns:
        The network in evaluation mode, without gradients; its output is float32.
    """
    network = copy.deepcopy(network).to(device).to(DTYPES[precision])
    network.to(memory_format=memory_format(channels_last))  # pyright: ignore[reportCallIssue]
    network.eval().requires_grad_(False)
    if precision != "fp32" and isinstance(network, RRDBNet | SPAN):
        network.last.float()
        network.last.register_forward_pre_hook(_to_float)
    return network


def memory_format(channels_last: bool) -> torch.memory_format:
    """torch's name for the order of an image tensor's bytes."""
    return torch.channels_last if channels_last else torch.contiguous_format


def _to_float(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in inputs)
