"""What runs the network on a tile. Imports no framework: each backend's module does that for itself."""

from typing import Protocol

import numpy as np


class OutOfMemory(Exception):  # noqa: N818  (a condition that the engine answers with smaller tiles, not a defect)
    """The tiles do not fit into the device's memory; smaller ones may."""


class Backend(Protocol):
    """Runs one generator on batches of tiles."""

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles: float32 `[B, 3, h, w]` in [0, 1] → float32 `[B, 3, 4h, 4w]`, finite, not clamped.

        Raises:
            OutOfMemory: nothing was computed; the same in smaller tiles may work.
            UserError: the result is not finite in any precision.
        """
        ...
