"""What is done to a tile after the network: texture where the input has some, consistency with it, a texture memory."""

import functools
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.errors import UserError
from gramgan.ops import bicubic
from gramgan.ops.filters import filtered
from gramgan.upscaling.measured import EVERYTHING, Measured

if TYPE_CHECKING:
    from gramgan.upscaling.texture_memory import TextureMemory

TEXTURE_THRESHOLD = 1.0
"""Default of `Refine.texture_threshold`, in grey levels: above what an optical blur leaves, below fine texture."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # ITU-R BT.601
_BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16  # what passes it is coarser than about four pixels
_WINDOW = np.array([1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1], np.float32) / 36
_STEPS = 5
_REACH = 5
"""Low-resolution pixels of context for back-projection. Its steps reach 20 pixels far, but what they carry shrinks
fivefold with each: without what is beyond, no pixel of a picture of noise is off by more than 0.11 grey levels."""


@dataclass(frozen=True)
class Residual:
    """How far the shrunken result is from the input, before and after: root mean square in grey levels of 255."""

    before: float
    after: float


class Refine:
    """Applied to each tile of a picture, with its context; one object for each picture.

    Args:
        texture_threshold: grey levels of fine detail in the input below which the network's result is replaced by the
            bicubic enlargement; from one to three times the threshold the two are blended. None: no texture mask.
        measured: change the result so that shrinking it (bicubic, anti-aliased) gives what was measured of the input.
            None: leave it.
        memory: what a texture database says of the picture, if anything.

    Raises:
        UserError: the threshold is not a positive number.
    """

    def __init__(
        self,
        *,
        texture_threshold: float | None = None,
        measured: Measured | None = None,
        memory: "TextureMemory | None" = None,
    ) -> None:
        if texture_threshold is not None and not (0 < texture_threshold <= 255):
            raise UserError(
                f"texture_threshold: {texture_threshold} is not a number of grey levels; use one above 0, such as "
                f"{TEXTURE_THRESHOLD:g}"
            )
        self._threshold = texture_threshold
        self._measured = measured
        self.memory = memory
        self._lock = threading.Lock()
        self._sums = np.zeros(3)  # squared residual before, after, and number of values

    def overlap(self, network: int) -> int:
        """Low-resolution pixels of context that a tile needs, where the network alone needs `network`."""
        mask = len(_BLUR) // 2 + len(_WINDOW) // 2 + bicubic.CONTEXT if self._threshold is not None else 0
        memory = 0 if self.memory is None else self.memory.reach
        if self._measured is None:
            return max(network, mask) + memory
        # What is coarse hardly depends on how exact the network is at a tile's border; single pixels do.
        coarse = self._measured.reach
        return (max(network, mask, _REACH + coarse) if coarse else max(network, mask) + _REACH) + memory

    def __call__(self, lr: np.ndarray, sr: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
        """Refine one tile.

        Args:
            lr: its input, float32 `[3, h, w]` in [0, 1].
            sr: what the network made of it, `[3, sh, sw]`.
            top: row of the tile's first pixel in the picture.
            left: its column.

        Returns:
            `[3, sh, sw]` in [0, 1].
        """
        sr = np.clip(sr, 0, 1)
        if self._threshold is not None:
            factor = sr.shape[1] // lr.shape[1]
            plain = np.clip(bicubic.enlarge(lr, factor), 0, 1)
            mask = np.clip(bicubic.enlarge(detail_mask(lr, self._threshold)[None], factor), 0, 1)
            sr = plain + mask * (sr - plain)
        if self._measured is not None:
            sr, before, after = back_project_measured(lr, sr, self._measured, top, left)
            if self.memory is not None:
                sr = self.memory(lr, sr, self._measured, top, left)
                after = float(np.square(lr - bicubic.shrink(sr, sr.shape[1] // lr.shape[1])).sum(dtype=np.float64))
            with self._lock:
                self._sums += before, after, lr.size
        elif self.memory is not None:
            sr = self.memory(lr, sr, None, top, left)
        return sr

    @functools.cached_property
    def after_first_pass(self) -> "Refine":
        """The same for a pass over the result of this one."""
        return Refine(texture_threshold=self._threshold, measured=None if self._measured is None else EVERYTHING)

    def take_residual(self) -> Residual | None:
        """The residual of all tiles since the last call; None where there were none or nothing is held on to."""
        before, after, count = self.take_sums()
        return Residual(255 * math.sqrt(before / count), 255 * math.sqrt(after / count)) if count else None

    def take_sums(self) -> np.ndarray:
        """The same as sums of squares before and after, and the number of values: `[3]`."""
        with self._lock:
            sums, self._sums = self._sums, np.zeros(3)
        return sums

    def add_sums(self, sums: np.ndarray) -> None:
        """Take in the sums of tiles that were refined in another process."""
        with self._lock:
            self._sums += sums

    def __getstate__(self) -> dict[str, object]:
        return {"texture_threshold": self._threshold, "measured": self._measured, "memory": self.memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def detail_mask(lr: np.ndarray, threshold: float) -> np.ndarray:
    """Where a picture has detail near its own resolution: 0 where it is smooth or out of focus, 1 where it has texture.

    The deviation of luma in an 11×11 window (as in `gramgan.texture.mask`, weighted towards its middle), but of what is
    left when everything coarser than about four pixels is taken away: an edge that is out of focus has a large
    deviation and no fine detail.

    Args:
        lr: RGB `[3, H, W]` in [0, 1].
        threshold: grey levels of 255 where the mask begins; it is 1 from three times that on.

    Returns:
        `[H, W]` in [0, 1].
    """
    luma = (lr * _LUMA).sum(axis=0)
    detail = luma - filtered(luma, _BLUR)
    deviation = 255 * np.sqrt(filtered(detail * detail, _WINDOW))
    return np.clip((deviation - threshold) / (2 * threshold), 0, 1)


def back_project_measured(
    lr: np.ndarray, sr: np.ndarray, measured: Measured = EVERYTHING, top: int = 0, left: int = 0
) -> tuple[np.ndarray, float, float]:
    """Iterated back-projection (Irani and Peleg, 1991): move `sr` until, shrunk, it agrees with what was measured.

    Each step adds the bicubic enlargement of what is missing and clips to [0, 1].

    Args:
        lr: `[3, H, W]` in [0, 1].
        sr: `[3, sH, sW]` in [0, 1].
        measured: what of `lr` is to be agreed with; by default all of it.
        top: row of the first pixel of `lr` in the picture.
        left: its column.

    Returns:
        The result `[3, sH, sW]`, and the sums of the squared residual before and after.
    """
    factor = sr.shape[1] // lr.shape[1]
    residual = lr - bicubic.shrink(sr, factor)
    before = float(np.square(residual).sum(dtype=np.float64))
    for _ in range(_STEPS):
        sr = np.clip(sr + bicubic.enlarge(measured.missing(residual, top, left), factor), 0, 1)
        residual = lr - bicubic.shrink(sr, factor)
    return sr, before, float(np.square(residual).sum(dtype=np.float64))
