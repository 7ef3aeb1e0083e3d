"""What is one process's and what is common, where several train one network together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Share:
    """Part `rank` of `world` equal parts.

    Random numbers are drawn for the whole batch in every process, and each takes the rows of its part. So all processes
    keep the same random state, and a run goes the same course whatever their number.
    """

    rank: int = 0
    world: int = 1

    def whole(self, part: int) -> int:
        """The length of all parts together, given that of one."""
        return part * self.world

    def rows(self, part: int) -> slice:
        """Where this part, of length `part`, lies in the whole."""
        return slice(self.rank * part, (self.rank + 1) * part)


WHOLE = Share()
"""The share of a process that trains alone."""


SharedMaker = Callable[[Callable[[], "np.ndarray"]], "np.ndarray"]
"""Gives the array that a function makes, from memory that processes of one machine may have in common."""


def own_memory(make: "Callable[[], np.ndarray]") -> "np.ndarray":
    """The `SharedMaker` of a process that trains alone."""
    return make()
