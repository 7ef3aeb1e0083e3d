"""Which patches of a photograph enter a texture database."""

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from gramgan.ops.luma import luma_full
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.descriptors import DescriptorName, dimension, gram_vectors, texture_channels

_SCALES = (1, 2, 4)  # anti-aliased copies: the same surface seen from farther away
_FLAT = 0.008  # standard deviation of luma below which a patch is flat (2 of 255 grey levels)
_ROUNDS = 8  # each draws as many positions as patches are wanted: most photographs are largely flat
_LEAST_DRAWN = 1024  # positions of a round
_BATCH = 65_536  # patches encoded at a time


@dataclass(frozen=True)
class Patches:
    """N patches of one photograph.

    `pixels` uint8 `[N, k*k*3]`, `gram` float32 `[N, D]`, `x`, `y` int32, `scale` float32 (1, ½, ¼). `pixels` are RGB,
    row by row; `gram` is in natural units; `x`, `y` are pixels of the copy at that scale; `patch_id` int64 depends on
    the photograph's content, position, scale and k alone; `count` int32 says how many patches with the same pixels were
    drawn at that scale.
    """

    patch_id: np.ndarray
    pixels: np.ndarray
    gram: np.ndarray
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.patch_id)


def photograph_key(photograph: np.ndarray) -> int:
    """64 bits that depend on the photograph's pixels and shape alone."""
    digest = hashlib.blake2b(repr(photograph.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(photograph).data)
    return int.from_bytes(digest.digest(), "little")


def sample_patches(
    photograph: np.ndarray, wanted: int, *, key: int, descriptor: DescriptorName, k: int, flat_share: float, seed: int
) -> Patches:
    """Draw `wanted` patches from the whole photograph, at scales 1, ½ and ¼ in the ratio 4 : 2 : 1.

    A copy that is too small for its part leaves the rest to the larger ones. Identical patches of a scale are merged.

    Args:
        photograph: uint8 RGB `[3, H, W]`, of any size.
        wanted: how many patches; fewer come back where the photograph holds fewer different ones with texture.
        key: the photograph's `photograph_key`; with `seed` it decides the draw.
        descriptor: see `gramgan.texture.descriptors`.
        k: patch side in pixels.
        flat_share: largest share of patches without texture, in [0, 1].
        seed: not negative.
    """
    random = np.random.default_rng([seed, key])
    factors = [factor for factor in _SCALES if min(photograph.shape[1:]) // factor >= k]
    parts: list[Patches] = []
    missing = wanted
    while factors and missing > 0:
        weights = [1 / factor for factor in factors]
        factor = factors.pop()  # the smallest copy first
        share = round(missing * weights[-1] / sum(weights))
        if share:
            level = _shrunk(photograph, factor)
            pixels, x, y, count = _draw(level, share, k, flat_share, random)
            part = Patches(
                patch_id=_patch_ids(key, x, y, factor, k),
                pixels=pixels,
                gram=_encode(level, x, y, descriptor, k),
                x=x.astype(np.int32),
                y=y.astype(np.int32),
                scale=np.full(len(x), 1 / factor, np.float32),
                count=count.astype(np.int32),
            )
            parts.append(part)
            missing -= len(part)
    return _joined(parts) if parts else _none(descriptor, k)


def _shrunk(photograph: np.ndarray, factor: int) -> Tensor:
    """uint8 `[3, H/factor, W/factor]`."""
    image = torch.from_numpy(photograph)
    if factor == 1:
        return image
    height, width = (side // factor * factor for side in image.shape[1:])
    small = matlab_bicubic_down(image[:, :height, :width].unsqueeze(0).float() / 255, factor)
    return small[0].mul(255).round().to(torch.uint8)


def _draw(
    level: Tensor, wanted: int, k: int, flat_share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """At most `wanted` different patches: pixels `[N, k*k*3]`; x, y and how often each was drawn, `[N]`."""
    rows, columns = (side - k + 1 for side in level.shape[1:])
    size = max(wanted, _LEAST_DRAWN)
    drawn = random.choice(rows * columns, min(rows * columns, size * _ROUNDS), replace=False)
    patches, flat, textured = [], [], 0
    for start in range(0, len(drawn), size):
        y, x = np.divmod(drawn[start : start + size], columns)
        patches.append(_cut(level, x, y, k))
        flat.append(_is_flat(patches[-1]))
        textured += np.count_nonzero(~flat[-1])
        if textured >= wanted:
            break
    pixels = torch.cat(patches).permute(0, 2, 3, 1).flatten(1).numpy()
    first, count = _distinct(pixels)
    kept = _within_flat_share(np.concatenate(flat)[first], wanted, flat_share)
    y, x = np.divmod(drawn[first[kept]], columns)
    return pixels[first[kept]], x, y, count[kept]


def _is_flat(patches: Tensor) -> np.ndarray:
    luma = luma_full(patches.float() / 255)
    return (luma.std(dim=(1, 2, 3), correction=0) < _FLAT).numpy()


def _within_flat_share(flat: np.ndarray, wanted: int, flat_share: float) -> np.ndarray:
    """Positions in `flat` of at most `wanted` patches, the earliest ones, at most `flat_share` of them flat."""
    textured = np.flatnonzero(~flat)[:wanted]
    limit = flat_share * wanted
    if flat_share < 1:  # a photograph with little texture does not make up for it with flat patches
        limit = min(limit, flat_share / (1 - flat_share) * len(textured))
    kept_flat = np.flatnonzero(flat)[: int(limit)]
    return np.concatenate((textured[: wanted - len(kept_flat)], kept_flat))


def _encode(level: Tensor, x: np.ndarray, y: np.ndarray, descriptor: DescriptorName, k: int) -> np.ndarray:
    grams = []
    for start in range(0, len(x), _BATCH):
        # One pixel of context: derivatives belong to the photograph and not to the cut patch.
        patches = _cut(level, x[start : start + _BATCH], y[start : start + _BATCH], k, context=1).float() / 255
        channels = texture_channels(patches, descriptor)[..., 1:-1, 1:-1].flatten(2)
        grams.append(gram_vectors(channels, centred=descriptor == "rgb-centred"))
    return torch.cat(grams).numpy() if grams else np.zeros((0, dimension(descriptor)), np.float32)


def _cut(level: Tensor, x: np.ndarray, y: np.ndarray, k: int, context: int = 0) -> Tensor:
    """Patches of `[3, H, W]` with `context` more pixels around, repeated at borders: `[N, 3, side, side]`."""
    _, height, width = level.shape
    offsets = np.arange(-context, k + context)
    rows = (y[:, None] + offsets).clip(0, height - 1)
    columns = (x[:, None] + offsets).clip(0, width - 1)
    index = torch.from_numpy(rows[:, :, None] * width + columns[:, None, :])
    return level.flatten(1)[:, index].transpose(0, 1)


def _distinct(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of the first of each group of identical rows, ascending, and how many there are."""
    # Rows are told apart by a random 64-bit hash: a collision, once in 10⁹ photographs, costs one patch.
    factors = np.random.default_rng(0).integers(0, 2**64, pixels.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes = pixels.astype(np.uint64) @ factors
    _, first, count = np.unique(hashes, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], count[order]


def _patch_ids(key: int, x: np.ndarray, y: np.ndarray, factor: int, k: int) -> np.ndarray:
    """Stable 63-bit ids: splitmix64 over photograph, position, scale and k."""
    value = (
        (x.astype(np.uint64) << np.uint64(40))
        ^ (y.astype(np.uint64) << np.uint64(16))
        ^ (np.uint64(factor) << np.uint64(8))
        ^ np.uint64(k)
    )
    value = value ^ np.uint64(key)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(multiplier)
    return ((value ^ (value >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _joined(parts: list[Patches]) -> Patches:
    return Patches(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Patches)})


def _none(descriptor: DescriptorName, k: int) -> Patches:
    integers = np.zeros(0, np.int32)
    return Patches(
        patch_id=np.zeros(0, np.int64),
        pixels=np.zeros((0, k * k * 3), np.uint8),
        gram=np.zeros((0, dimension(descriptor)), np.float32),
        x=integers,
        y=integers,
        scale=np.zeros(0, np.float32),
        count=integers,
    )
