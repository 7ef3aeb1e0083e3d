"""The learning rate of every step: linear warm-up, then a cosine with restarts (Loshchilov & Hutter, "SGDR", 2017)."""

import math

from torch.optim import Optimizer


def learning_rate(step: int, base: float, *, warmup: int, period: int, minimum: float) -> float:
    """Rate for step number `step` (from 0), to be set before that step.

    Rises from base/warmup at step 0 to `base` at step warmup - 1, then falls as a cosine towards `minimum` and jumps
    back to `base` every `period` steps. It is never 0, so that no step is wasted.
    """
    if step < warmup:
        return base * (step + 1) / warmup
    phase = (step - warmup) % period / period
    return minimum + (base - minimum) * (1 + math.cos(math.pi * phase)) / 2


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
