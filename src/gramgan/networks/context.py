"""How much context a network's result really depends on: where a tile's overlap comes from.

The theoretical receptive field of an RRDB network of 23 blocks is some 350 low-resolution pixels to each side; what is
farther away than a small part of that moves no result by a grey level. How small differs between weights of one
architecture, so it is measured for each weight file and stored in its card.
"""

from collections.abc import Callable, Iterable

import numpy as np

TOLERANCE = 1 / 255
"""Largest difference between tiled and whole that nobody can see in an 8-bit image."""
LONGEST_REACH = 96
"""Largest distance that is looked at, in low-resolution pixels."""
MEASURED_SIDE = LONGEST_REACH + 128
"""Side of the picture that is measured on."""

Run = Callable[[np.ndarray], np.ndarray]
"""The network: float32 `[1, 3, h, w]` in [0, 1] → `[1, 3, sh, sw]`, such as a backend's `run` in fp32."""

_STEP = 4  # overlaps are multiples of it


def context_error(run: Run, image: np.ndarray) -> np.ndarray:
    """How wrong a result is at a given distance from where the picture was cut.

    The middle square of `image` is cut at its upper left corner and at its lower right corner, so that `LONGEST_REACH`
    pixels of what was there are missing, and compared with the uncut one.

    Args:
        run: the network.
        image: `[3, H, W]` in [0, 1], at least `MEASURED_SIDE` high and wide.

    Returns:
        `[REACH]`: the largest absolute difference (of results clipped to [0, 1]) at `d` low-resolution pixels from a
        cut, or farther; it falls with `d`.

    Raises:
        ValueError: the image is smaller than `MEASURED_SIDE`.
    """
    top, left = ((side - MEASURED_SIDE) // 2 for side in image.shape[1:])
    if min(top, left) < 0:
        raise ValueError(
            f"context is measured on {MEASURED_SIDE}x{MEASURED_SIDE} pixels or more, "
            f"not {image.shape[1]}x{image.shape[2]}"
        )
    square = image[None, :, top : top + MEASURED_SIDE, left : left + MEASURED_SIDE]
    whole = _clipped(run(square))
    scale = whole.shape[-1] // MEASURED_SIDE
    at_corner = np.abs(
        _clipped(run(square[:, :, LONGEST_REACH:, LONGEST_REACH:]))
        - whole[:, scale * LONGEST_REACH :, scale * LONGEST_REACH :]
    )
    kept = MEASURED_SIDE - LONGEST_REACH
    other = np.abs(_clipped(run(square[:, :, :kept, :kept])) - whole[:, : scale * kept, : scale * kept])[:, ::-1, ::-1]
    worst = np.maximum(at_corner, other).max(axis=0)
    worst = worst.reshape(kept, scale, kept, scale).max(axis=(1, 3))  # of each low-resolution pixel
    distance = np.minimum(*np.indices(worst.shape))
    return np.array([worst[distance >= d].max() for d in range(LONGEST_REACH)])


def measure_overlap(run: Run, images: Iterable[np.ndarray], tolerance: float = TOLERANCE) -> int:
    """The overlap that a card should name: the least with which tiles are the whole picture within `tolerance`.

    Args:
        run: the network.
        images: photographs as in `context_error`; several, because the worst place of each counts.
        tolerance: largest difference that is allowed, of values in [0, 1].

    Returns:
        Low-resolution pixels, a multiple of 4, at most `LONGEST_REACH`.

    Raises:
        ValueError: no image, or one that is too small.
    """
    errors = [context_error(run, image) for image in images]
    if not errors:
        raise ValueError("no image to measure the overlap on")
    return sufficient_overlap(np.max(errors, axis=0), tolerance)


def sufficient_overlap(error: np.ndarray, tolerance: float = TOLERANCE) -> int:
    """`measure_overlap` from the `context_error` of all images, of which the largest was taken."""
    enough = error <= tolerance
    least = int(np.argmax(enough)) if enough.any() else LONGEST_REACH
    return min(-(-least // _STEP) * _STEP, LONGEST_REACH)


def _clipped(result: np.ndarray) -> np.ndarray:
    return np.clip(result[0], 0, 1)
