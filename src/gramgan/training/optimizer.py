"""How a network is trained, as far as all trainings agree: the optimiser, what learns, Fabric's names of precisions."""

import difflib
import fnmatch
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gramgan.errors import UserError

PRECISION_FLAG = {"fp32": "32-true", "bf16": "bf16-mixed"}

_OTHER_STEPS = ("Optimizer", "LBFGS", "SparseAdam")  # a closure, or sparse gradients


def build_optimizer(
    network: nn.Module, rate: float, name: str = "Adam", options: Mapping[str, Any] | None = None
) -> torch.optim.Optimizer:
    """torch's optimiser called `name` for all parameters that learn; fused (one kernel for all) where it can be.

    Raises:
        UserError: torch has none of this name that can be used here, or does not take the options.
    """
    kinds = {
        key: kind
        for key, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and key not in _OTHER_STEPS
    }
    if name not in kinds:
        same = [kind for kind in kinds if kind.lower() == name.lower()]
        near = same or difflib.get_close_matches(name, kinds, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(kinds)}"
        raise UserError(f"train.optimizer: torch.optim has no {name} that can be used here; {hint}")
    known = inspect.signature(kinds[name]).parameters
    chosen = {key: tuple(value) if isinstance(value, list) else value for key, value in (options or {}).items()}
    for key in chosen:
        if key not in known or key in ("params", "lr"):
            can = ", ".join(one for one in known if one not in ("params", "lr"))
            raise UserError(f"train.optimizer_options: {name} has no {key} to set here; it has {can}")
    if "fused" in known:
        chosen.setdefault("fused", True)
    try:
        make: Any = kinds[name]  # each takes its own options
        return make([one for one in network.parameters() if one.requires_grad], lr=rate, **chosen)
    except (TypeError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UserError(f"train.optimizer_options: {name} refuses them ({said}); correct them") from None


def freeze(network: nn.Module, patterns: Sequence[str], setting: str) -> list[str]:
    """Keep the parameters whose names match one of `patterns` (`body.0.*`) from learning; their names.

    Raises:
        UserError: a pattern matches none, or nothing is left to learn. `setting` names it in the message.
    """
    names = [name for name, _ in network.named_parameters()]
    found = {name for pattern in patterns for name in fnmatch.filter(names, pattern)}
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"{setting}: {pattern} matches no parameter; they are called {', '.join(names[:3])}, ...")
    if len(found) == len(names):
        raise UserError(f"{setting}: nothing is left to learn; leave out some patterns")
    for name, parameter in network.named_parameters():
        if name in found:
            parameter.requires_grad_(False)
    return [name for name in names if name in found]
