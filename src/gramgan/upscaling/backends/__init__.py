"""What runs the network on a tile. Imports no framework: each backend's module does that for itself."""

from typing import Protocol

import numpy as np


class OutOfMemory(Exception):  # noqa: N818  (a condition that the engine answers with smaller tiles, not a defect)
    """The tiles do not fit into the device's memory; smaller ones may."""


class Backend(Protocol):
    """Runs one generator on batches of tiles.

    Attributes:
        name: framework, device and precision, for the log: `openvino cpu bf16`.
        batch: how many tiles of one shape `run` is best given at once (on a CPU: how many it computes side by side).
        side: largest side of a tile, in low-resolution pixels; None for any. Smaller tiles of any shape are welcome: a
            backend that is compiled for a few shapes pads them itself (with their edge pixels) and crops its result.
        bytes_per_pixel: memory that one low-resolution pixel of a tile takes while it is computed, about.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def side(self) -> int | None: ...  # noqa: D102
    @property
    def bytes_per_pixel(self) -> int: ...  # noqa: D102

    def free_bytes(self) -> int:
        """Memory of the device that new tiles may use."""
        ...

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles: float32 `[B, 3, h, w]` in [0, 1] → float32 `[B, 3, sh, sw]`, finite, not clamped.

        Any `B` is taken, also above `batch`. Not for several threads at once.

        Raises:
            OutOfMemory: nothing was computed; the same in smaller tiles may work.
            UserError: the result is not finite in any precision.
        """
        ...
