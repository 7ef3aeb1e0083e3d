"""torch.compile for the parts of a training step that gain by it."""

import logging

import torch

from gramgan.networks.build import Generator
from gramgan.networks.trunks import PerceptualTrunk

_log = logging.getLogger(__name__)


def compile_networks(generator: Generator, trunk: PerceptualTrunk | None, device: torch.device) -> bool:
    """Compile the generator's blocks and the trunk, in place; whether there is a compiler for `device`.

    Without one (a C++ compiler for CPUs, Triton for GPUs) a warning says so and everything stays as it is. Blocks are
    compiled one by one, since all of them share one compiled program: the whole generator would take minutes. Modules
    keep their names and state dicts. The discriminator is left out: a compiled backward pass makes all gradients at
    once, where D's two passes need the weights' in one and the images' in the other.
    """
    problem = _compiler_problem(device)
    if problem is not None:
        _log.warning(
            "train.compile: nothing is compiled, torch finds no compiler for %s here: %s", device.type, problem
        )
        return False
    for block in generator.body:
        block.compile(dynamic=False)
    if trunk is not None:
        trunk.compile(dynamic=False)
    return True


def _compiler_problem(device: torch.device) -> str | None:
    """Why nothing can be compiled, found out with a function of one line; None if it can be."""
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:  # what torch's compilers raise, by stage
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None


def _probe(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.leaky_relu(x, 0.2) + 1
