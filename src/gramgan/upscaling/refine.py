"""What is done to a tile after the network: texture only where the input has some, consistency with the input."""

import math
import threading
from dataclasses import dataclass

import numpy as np

from gramgan.errors import UserError
from gramgan.ops import bicubic

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
        consistent: change the result so that shrinking it (bicubic, anti-aliased) gives the input again.

    Raises:
        UserError: the threshold is not a positive number.
    """

    def __init__(self, *, texture_threshold: float | None = None, consistent: bool = False) -> None:
        if texture_threshold is not None and not (0 < texture_threshold <= 255):
            raise UserError(
                f"texture_threshold: {texture_threshold} is not a number of grey levels; use one above 0, such as "
                f"{TEXTURE_THRESHOLD:g}"
            )
        self._threshold = texture_threshold
        self._consistent = consistent
        self._lock = threading.Lock()
        self._sums = np.zeros(3)  # squared residual before, after, and number of values

    def overlap(self, network: int) -> int:
        """Low-resolution pixels of context that a tile needs, where the network alone needs `network`."""
        mask = len(_BLUR) // 2 + len(_WINDOW) // 2 + bicubic.CONTEXT if self._threshold is not None else 0
        return max(network, mask) + (_REACH if self._consistent else 0)

    def __call__(self, lr: np.ndarray, sr: np.ndarray) -> np.ndarray:
        """Refine one tile: float32 `[3, h, w]` and `[3, 4h, 4w]` → `[3, 4h, 4w]` in [0, 1]."""
        sr = np.clip(sr, 0, 1)
        if self._threshold is not None:
            plain = np.clip(bicubic.enlarge(lr), 0, 1)
            mask = np.clip(bicubic.enlarge(detail_mask(lr, self._threshold)[None]), 0, 1)
            sr = plain + mask * (sr - plain)
        if self._consistent:
            sr, before, after = back_project(lr, sr)
            with self._lock:
                self._sums += before, after, lr.size
        return sr

    def take_residual(self) -> Residual | None:
        """The residual of all tiles since the last call; None where there were none or `consistent` is not set."""
        with self._lock:
            before, after, count = self._sums
            self._sums = np.zeros(3)
        return Residual(255 * math.sqrt(before / count), 255 * math.sqrt(after / count)) if count else None


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
    detail = luma - _filtered(luma, _BLUR)
    deviation = 255 * np.sqrt(_filtered(detail * detail, _WINDOW))
    return np.clip((deviation - threshold) / (2 * threshold), 0, 1)


def back_project(lr: np.ndarray, sr: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Iterated back-projection (Irani and Peleg, 1991): move `sr` until its shrunken copy is `lr`.

    Each step adds the bicubic enlargement of what is missing and clips to [0, 1].

    Args:
        lr: `[C, H, W]` in [0, 1].
        sr: `[C, 4H, 4W]` in [0, 1].

    Returns:
        The result `[C, 4H, 4W]`, and the sums of the squared residual before and after.
    """
    missing = lr - bicubic.shrink(sr)
    before = float(np.square(missing).sum(dtype=np.float64))
    for _ in range(_STEPS):
        sr = np.clip(sr + bicubic.enlarge(missing), 0, 1)
        missing = lr - bicubic.shrink(sr)
    return sr, before, float(np.square(missing).sum(dtype=np.float64))


def _filtered(plane: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A separable filter of odd length, mirrored borders."""
    reach = len(weights) // 2
    for axis in (0, 1):
        length = plane.shape[axis]
        padded = np.moveaxis(np.pad(plane, [(reach * (axis == one),) * 2 for one in (0, 1)], "symmetric"), axis, 0)
        total = sum(weight * padded[shift : shift + length] for shift, weight in enumerate(weights))
        plane = np.moveaxis(np.asarray(total, dtype=np.float32), 0, axis)
    return plane
