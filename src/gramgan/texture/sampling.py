"""Which patches of a photograph enter a texture database."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gramgan.ops.luma import luma_full
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.descriptors import DescriptorName, dimension, gram_vectors, texture_channels

_SCALES = (1, 2, 4)  # anti-aliased copies: the same surface seen from farther away
_FLAT = 0.008  # standard deviation of luma below which a patch is flat (2 of 255 grey levels)
_OVERSAMPLING = 3  # positions drawn for each patch wanted: most photographs are largely flat


@dataclass(frozen=True)
class Patches:
    """N patches of one photograph: `pixels` uint8 `[N, k*k*3]`, `gram` float32 `[N, D]`, `x`, `y` int32, `scale` float32 (1, ½, ¼).

    `x`, `y` are pixels of the copy at that scale; `patch_id` int64 depends on the photograph's content, position and scale
    alone; `count` int32 says how many identical patches of the photograph the row stands for.
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


def sample_patches(
    photograph: np.ndarray, wanted: int, *, descriptor: DescriptorName, k: int, flat_share: float, seed: int
) -> Patches:
    """Draw about `wanted` patches from the whole photograph, at scales 1, ½ and ¼.

    Args:
        photograph: uint8 `[3, H, W]`.
        wanted: how many patches; fewer come back where the photograph holds fewer different ones.
        descriptor: see `gramgan.texture.descriptors`.
        k: patch side in pixels.
        flat_share: largest share of patches without texture, in [0, 1].
        seed: with the photograph's content it decides the draw.
    """
    source_key = int.from_bytes(hashlib.blake2b(photograph.tobytes(), digest_size=8).digest(), "little")
    rng = np.random.default_rng([seed, source_key])
    levels = [level for level in (_level(photograph, factor) for factor in _SCALES) if min(level.shape[-2:]) > 2 * k]
    weights = [1 / factor for factor in _SCALES[: len(levels)]]
    parts = []
    for level, factor, weight in zip(levels, _SCALES, weights, strict=False):
        share = round(wanted * weight / sum(weights))
        if share:
            parts.append(_sample_level(level, factor, share, source_key, descriptor, k, flat_share, rng))
    if not parts:
        return _empty(descriptor, k)
    return Patches(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Patches.__dataclass_fields__}
    )


def _level(photograph: np.ndarray, factor: int) -> Tensor:
    image = torch.from_numpy(photograph).unsqueeze(0)
    if factor == 1:
        return image
    height, width = (side // factor * factor for side in image.shape[-2:])
    if min(height, width) < factor:
        return image[..., :0, :0]
    small = matlab_bicubic_down(image[..., :height, :width].float() / 255, factor)
    return small.mul(255).round().to(torch.uint8)


def _sample_level(
    level: Tensor,
    factor: int,
    wanted: int,
    source_key: int,
    descriptor: DescriptorName,
    k: int,
    flat_share: float,
    rng: np.random.Generator,
) -> Patches:
    height, width = level.shape[-2:]
    rows, columns = height - k + 1, width - k + 1
    position = np.unique(rng.integers(0, rows * columns, wanted * _OVERSAMPLING))
    rng.shuffle(position)
    images = level.float() / 255
    position = position[_within_flat_share(images, position, wanted, k, flat_share)]
    y, x = np.divmod(position, columns)
    channels = _gather(texture_channels(images, descriptor)[0], x, y, k)
    gram = gram_vectors(channels, centred=descriptor == "rgb-centred").numpy()
    pixels = _gather(level[0], x, y, k).permute(0, 2, 1).reshape(len(position), k * k * 3).numpy()
    keep, count = _distinct(pixels)
    return Patches(
        patch_id=_patch_ids(source_key, x[keep], y[keep], factor, k),
        pixels=pixels[keep],
        gram=gram[keep],
        x=x[keep].astype(np.int32),
        y=y[keep].astype(np.int32),
        scale=np.full(len(keep), 1 / factor, np.float32),
        count=count.astype(np.int32),
    )


def _within_flat_share(images: Tensor, position: np.ndarray, wanted: int, k: int, flat_share: float) -> np.ndarray:
    columns = images.shape[-1] - k + 1
    y, x = np.divmod(position, columns)
    luma = _gather(luma_full(images)[0], x, y, k)
    flat = (luma.std(dim=(1, 2), correction=0) < _FLAT).numpy()
    textured = np.flatnonzero(~flat)[:wanted]
    limit = flat_share * wanted
    if flat_share < 1:  # a photograph with little texture does not make up for it with flat patches
        limit = min(limit, flat_share / (1 - flat_share) * len(textured))
    kept_flat = np.flatnonzero(flat)[: int(limit)]
    return np.concatenate((textured[: wanted - len(kept_flat)], kept_flat))


def _gather(image: Tensor, x: np.ndarray, y: np.ndarray, k: int) -> Tensor:
    """k×k patches of one image `[C, H, W]` at N positions: `[N, C, k²]`."""
    channels, _, width = image.shape
    dy, dx = np.divmod(np.arange(k * k), k)
    index = torch.from_numpy((y[:, None] + dy) * width + x[:, None] + dx)
    flat = image.reshape(channels, -1)
    return flat[:, index].permute(1, 0, 2)


def _distinct(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.ascontiguousarray(pixels).view(np.dtype((np.void, pixels.shape[1]))).ravel()
    _, first, count = np.unique(rows, return_index=True, return_counts=True)
    order = np.argsort(first)
    return first[order], count[order]


def _patch_ids(source_key: int, x: np.ndarray, y: np.ndarray, factor: int, k: int) -> np.ndarray:
    """Stable 63-bit ids: splitmix64 over photograph, position, scale and k."""
    value = (
        (x.astype(np.uint64) << np.uint64(40))
        ^ (y.astype(np.uint64) << np.uint64(16))
        ^ (np.uint64(factor) << np.uint64(8))
        ^ np.uint64(k)
    )
    value = value ^ np.uint64(source_key)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(multiplier)
    return ((value ^ (value >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def _empty(descriptor: DescriptorName, k: int) -> Patches:
    none = np.zeros(0, np.int32)
    return Patches(
        patch_id=np.zeros(0, np.int64),
        pixels=np.zeros((0, k * k * 3), np.uint8),
        gram=np.zeros((0, dimension(descriptor)), np.float32),
        x=none,
        y=none,
        scale=np.zeros(0, np.float32),
        count=none,
    )
