"""Cutting patches out of a photograph at any positions, straight or slightly warped, and describing them.

Everything here works on patches side by side, `[3, side, side, N]`: the innermost loop runs over patches, whatever
their size.
"""

import math

import numpy as np

from gramgan.texture.descriptors import DescriptorName

WARP = 0.05
"""Standard deviation of what is added to the entries of a warp's matrix."""

_WARP_LIMIT = 2.0  # standard deviations
_SHIFT = 0.5  # pixels: every position between pixels may be the centre of a warped patch
_BICUBIC_REACH = 2  # pixels around a position that bicubic interpolation looks at
_CHUNK = 1024  # patches described together: what they need stays in the processor's cache
_POINTS = 131_072  # positions interpolated together, for the same reason
_EXACT_SIDE = 16  # sums over so many squares of 8-bit values are whole numbers that float32 holds exactly


def cut_straight(level: np.ndarray, x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Patches of uint8 `[3, H, W]` with their upper left corners at `x`, `y` `[N]`: uint8 `[3, side, side, N]`."""
    width = level.shape[2]
    planes = level.reshape(3, -1)
    corner = y * width + x
    patches = np.empty((3, side, side, len(x)), np.uint8)
    for row in range(side):
        for column in range(side):
            index = corner + (row * width + column)
            for channel in range(3):
                # Positions are inside by construction; "clip" spares numpy a buffered copy.
                np.take(planes[channel], index, out=patches[channel, row, column], mode="clip")
    return patches


def warp_margin(k: int, context: int) -> int:
    """Pixels around a patch that `cut_warped` may look at."""
    reach = k / 2 - 0.5 + context
    return context + math.ceil(2 * WARP * _WARP_LIMIT * reach + _SHIFT) + _BICUBIC_REACH


def random_warps(random: np.random.Generator, number: int) -> np.ndarray:
    """Affine maps near the identity: float32 `[N, 6]`, rows of the matrix less the identity, then a shift in pixels."""
    maps = random.standard_normal((number, 6), np.float32)
    shift = random.random((number, 2), np.float32)
    maps = maps.clip(-_WARP_LIMIT, _WARP_LIMIT) * np.float32(WARP)
    maps[:, 4:] = (2 * shift - 1) * np.float32(_SHIFT)
    return maps


def cut_warped(level: np.ndarray, x: np.ndarray, y: np.ndarray, maps: np.ndarray, k: int, context: int) -> np.ndarray:
    """Patches of uint8 `[3, H, W]` around the same centres as those of `cut`, each under its own affine map.

    Interpolated from the whole photograph with Keys' cubic (a = -0.5); `warp_margin` pixels must lie around each patch.

    Args:
        level: the photograph.
        x: left edges `[N]`.
        y: upper edges `[N]`.
        maps: see `random_warps`, `[N, 6]`.
        k: patch side in pixels.
        context: more pixels on each side.

    Returns:
        uint8 `[3, side, side, N]`, side = k + 2 context.
    """
    side = k + 2 * context
    patches = np.empty((3, side, side, len(x)), np.uint8)
    step = max(1, _POINTS // side**2)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        patches[..., part] = _interpolated(level, x[part], y[part], maps[part], k, side)
    return patches


def _interpolated(level: np.ndarray, x: np.ndarray, y: np.ndarray, maps: np.ndarray, k: int, side: int) -> np.ndarray:
    width = level.shape[2]
    planes = level.reshape(3, -1)
    offset = (np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2))[:, None]
    xx, xy, yx, yy, shift_x, shift_y = maps.T
    down, right = offset[:, None], offset[None]
    centre = np.float32((k - 1) / 2)
    # Relative to the patch's corner, so that float32 keeps its digits in a wide photograph.
    at_x = centre + right + xx * right + xy * down + shift_x
    at_y = centre + down + yx * right + yy * down + shift_y
    left, top = np.floor(at_x), np.floor(at_y)
    weights_x, weights_y = _keys(at_x - left), _keys(at_y - top)
    first = (top.astype(np.int64) + (y - 1)) * width + (left.astype(np.int64) + (x - 1))
    result = np.zeros((3, *first.shape), np.float32)
    for row in range(4):
        for column in range(4):
            weight = weights_y[row] * weights_x[column]
            index = first + (row * width + column)
            for channel in range(3):
                result[channel] += weight * np.take(planes[channel], index, mode="clip")
    return np.rint(result.clip(0, 255)).astype(np.uint8)


def _keys(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the four pixels around a position, `t` of a pixel behind the second: Keys, 1981, a = -½."""
    half = np.float32(0.5)
    return (
        half * t * (t * (2 - t) - 1),
        half * (t * t * (3 * t - 5) + 2),
        half * t * (t * (4 - 3 * t) + 1),
        half * t * t * (t - 1),
    )


def gram_of(patches: np.ndarray, descriptor: DescriptorName, k: int) -> np.ndarray:
    """Gram vectors in natural units, as `encoding.encode` gives them: float32 `[N, D]`.

    Args:
        patches: uint8 `[3, side, side, N]`; one pixel of context on each side if the descriptor takes derivatives.
        descriptor: see `gramgan.texture.descriptors`.
        k: patch side in pixels.
    """
    number = patches.shape[-1]
    parts = [_gram(patches[..., start : start + _CHUNK], descriptor, k) for start in range(0, max(1, number), _CHUNK)]
    return np.concatenate(parts)


def _gram(patches: np.ndarray, descriptor: DescriptorName, k: int) -> np.ndarray:
    # Whole numbers throughout, and units only at the end: sums are exact, in whatever order they are taken.
    kind = np.float32 if k <= _EXACT_SIDE else np.float64
    number = patches.shape[-1]
    if descriptor == "rgb-gradient":
        values = patches.astype(kind)
        inside = values[:, 1:-1, 1:-1]
        horizontal = values[:, 1:-1, 2:] - values[:, 1:-1, :-2]
        vertical = values[:, 2:, 1:-1] - values[:, :-2, 1:-1]
        channels = np.concatenate((inside, horizontal, vertical)).reshape(9, k * k, number)
        unit = np.repeat((1 / 255, 0.5 / 255), (3, 6))
    else:
        channels = patches.astype(kind).reshape(3, k * k, number)
        unit = np.repeat(1 / 255, 3)
    sums = channels.sum(axis=1, dtype=np.float64) if descriptor == "rgb-centred" else None
    gram = np.empty((number, len(unit) * (len(unit) + 1) // 2), np.float32)
    component = 0
    for i in range(len(unit)):
        for j in range(i, len(unit)):
            total = np.einsum("pn,pn->n", channels[i], channels[j]).astype(np.float64)
            if sums is not None:
                total -= sums[i] * sums[j] / k**2
            gram[:, component] = total * (unit[i] * unit[j] / k**2 * (1 if i == j else math.sqrt(2)))
            component += 1
    return gram
