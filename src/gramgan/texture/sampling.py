"""Which patches of a photograph enter a texture database.

Every position of the photograph, and of its anti-aliased copies at ½ and ¼, takes part. A textured patch is drawn with
a probability that grows with its texture energy, the standard deviation of its luma (weighted sampling without
replacement: Efraimidis & Spirakis, "Weighted random sampling with a reservoir", 2006); flat patches are drawn evenly
and have a share of their own. Some more are drawn from the photograph under small affine warps. Patches that nearly
equal one that was drawn before are left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from gramgan.texture.cutting import cut_straight, cut_warped, gram_of, random_warps, warp_margin
from gramgan.texture.descriptors import DescriptorName, dimension
from gramgan.texture.distinct import keep_distinct

FLAT = 0.008
"""Standard deviation of luma in [0, 1] below which a patch is flat (2 of 255 grey levels)."""

_SCALES = (1, 2, 4)  # anti-aliased copies: the same surface seen from farther away
_LUMA = (0.299, 0.587, 0.114)  # BT.601, full range
_STRIP = 128  # rows looked at together: what they need stays in the processor's cache
_SURPLUS = 1.1  # so many times more positions are drawn than wanted, for those that turn out to be nearly identical
_ROUNDS = 4  # each draws twice as many; after the last one a photograph is taken to hold no more
_HELD = 2**22  # positions that are not sorted out at once


@dataclass(frozen=True)
class Patches:
    """N patches of one photograph.

    `pixels` uint8 `[N, k*k*3]`, `gram` float32 `[N, D]`, `x`, `y` int32, `scale` float32 (1, ½, ¼), `warped` bool.
    `pixels` are RGB, row by row; `gram` is in natural units; `x`, `y` are pixels of the copy at that scale; `patch_id`
    int64 depends on the photograph's content, position, scale, k and warp alone; `count` int32 says for how many of the
    drawn patches it stands: itself, and those that are nearly identical.
    """

    patch_id: np.ndarray
    pixels: np.ndarray
    gram: np.ndarray
    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    count: np.ndarray
    warped: np.ndarray

    def __len__(self) -> int:
        return len(self.patch_id)


def photograph_key(photograph: np.ndarray) -> int:
    """64 bits that depend on the photograph's pixels and shape alone."""
    digest = hashlib.blake2b(repr(photograph.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(photograph).data)
    return int.from_bytes(digest.digest(), "little")


def sample_patches(
    photograph: np.ndarray,
    wanted: int,
    *,
    key: int,
    descriptor: DescriptorName,
    k: int,
    flat_share: float,
    seed: int,
    warp_share: float = 0.1,
) -> Patches:
    """Draw `wanted` patches from the whole photograph, at scales 1, ½ and ¼ in the ratio 4 : 2 : 1.

    A copy that is too small for its part leaves the rest to the larger ones.

    Args:
        photograph: uint8 RGB `[3, H, W]`, of any size.
        wanted: how many patches; fewer come back where the photograph holds fewer different ones with texture.
        key: the photograph's `photograph_key`; with `seed` it decides the draw.
        descriptor: see `gramgan.texture.descriptors`.
        k: patch side in pixels.
        flat_share: largest share of patches without texture, in [0, 1].
        seed: not negative.
        warp_share: share of patches that are slightly warped, in [0, 1]; less where a copy is too small for them.
    """
    factors = [factor for factor in _SCALES if min(photograph.shape[1:]) // factor >= k]
    parts: list[Patches] = []
    pixels: list[np.ndarray] = []
    missing = wanted
    while factors and missing > 0:
        weights = [1 / factor for factor in factors]
        factor = factors.pop()  # the smallest copy first
        share = round(missing * weights[-1] / sum(weights))
        if share:
            level = _Level(_shrunk(photograph, factor), descriptor, k)
            random = np.random.default_rng([seed, key, factor])
            drawn = _draw(level, share, flat_share, warp_share, random, pixels)
            pixels.append(level.pixels(drawn.patches))
            parts.append(_described(level, drawn, pixels[-1], key, factor))
            missing -= len(parts[-1])
    return _joined(parts) if parts else _none(descriptor, k)


def _shrunk(photograph: np.ndarray, factor: int) -> np.ndarray:
    """uint8 `[3, H/factor, W/factor]`."""
    if factor == 1:
        return photograph
    import torch  # not at the top: tables are read and changed without, and where workers draw

    from gramgan.ops.resize import matlab_bicubic_down

    height, width = (side // factor * factor for side in photograph.shape[1:])
    image = torch.from_numpy(photograph[:, :height, :width]).unsqueeze(0).float() / 255
    return matlab_bicubic_down(image, factor)[0].mul(255).round().to(torch.uint8).numpy()


class _Level:
    """One copy of a photograph, and how patches are cut out of it."""

    def __init__(self, image: np.ndarray, descriptor: DescriptorName, k: int) -> None:
        self.image = image
        self.descriptor: DescriptorName = descriptor
        self.k = k
        self.rows, self.columns = (side - k + 1 for side in image.shape[1:])
        # Derivatives belong to the photograph and not to the cut patch.
        self._context = int(descriptor == "rgb-gradient")
        edges = ((0, 0), (self._context, self._context), (self._context, self._context))
        self._padded = np.pad(image, edges, mode="edge") if self._context else np.ascontiguousarray(image)

    def cut(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """uint8 `[3, side, side, N]`, with context where the descriptor needs it."""
        return cut_straight(self._padded, x, y, self.k + 2 * self._context)

    def cut_warped(self, x: np.ndarray, y: np.ndarray, maps: np.ndarray) -> np.ndarray:
        """The same, warped."""
        return cut_warped(self.image, x, y, maps, self.k, self._context)

    def may_be_warped(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the photograph around a patch is large enough, `[N]`."""
        margin = warp_margin(self.k, self._context)
        inside_x = (x >= margin) & (x < self.columns - margin)
        return inside_x & (y >= margin) & (y < self.rows - margin)

    def pixels(self, patches: np.ndarray) -> np.ndarray:
        """Cut patches without their context."""
        inside = slice(self._context, self._context + self.k)
        return patches[:, inside, inside]

    def gram(self, patches: np.ndarray) -> np.ndarray:
        """Gram vectors `[N, D]` of cut patches."""
        return gram_of(patches, self.descriptor, self.k)


@dataclass(frozen=True)
class _Drawn:
    """Patches of one copy, cut: `patches` `[3, side, side, N]`, `maps` `[N, 6]` (0 for those that are not warped)."""

    patches: np.ndarray
    x: np.ndarray
    y: np.ndarray
    count: np.ndarray
    maps: np.ndarray
    warped: np.ndarray


def _draw(
    level: _Level,
    wanted: int,
    flat_share: float,
    warp_share: float,
    random: np.random.Generator,
    earlier: Sequence[np.ndarray],
) -> _Drawn:
    """At most `wanted` patches that nearly equal neither each other nor one of the `earlier` ones."""
    textured, flat = _positions(level, random, round(_SURPLUS * wanted * 2**_ROUNDS))
    limits = _Limits(wanted, flat_share, warp_share)
    sizes = np.array([round(_SURPLUS * wanted) + 1, round(_SURPLUS * limits.flat) + 1])
    warp_seed = int(random.integers(2**63))
    rounds = 0
    while True:
        rounds += 1
        # Positions for warps come after those that are taken as they are, and again from the start where these are all.
        warps = round(_SURPLUS * limits.warped)
        plain, more = np.split(textured.first(sizes[0] + warps), [sizes[0]])
        more = np.concatenate((more, plain[: warps - len(more)]))
        drawn, enough = _round(level, plain, flat.first(sizes[1]), more, limits, warp_seed, earlier)
        lacking = ~enough & (sizes < (len(textured), len(flat)))
        if rounds == _ROUNDS or not lacking.any():
            return drawn
        sizes <<= lacking


def _round(
    level: _Level,
    plain: np.ndarray,
    flat: np.ndarray,
    more: np.ndarray,
    limits: "_Limits",
    warp_seed: int,
    earlier: Sequence[np.ndarray],
) -> tuple[_Drawn, np.ndarray]:
    """What is taken of some positions, `more` of them warped, and whether textured and flat ones were enough."""
    y, x = np.divmod(more, level.columns)
    more = more[level.may_be_warped(x, y)]
    maps = random_warps(np.random.default_rng(warp_seed), len(more))
    y, x = np.divmod(np.concatenate((plain, flat, more)), level.columns)
    straight = len(plain) + len(flat)
    warped = level.cut_warped(x[straight:], y[straight:], maps)
    # At the edge of a texture a warp may show what is beside it.
    still = np.flatnonzero(_energy_of(level.pixels(warped)) >= FLAT * 255)
    x, y = (np.concatenate((column[:straight], column[straight:][still])) for column in (x, y))
    maps = np.concatenate((np.zeros((straight, 6), np.float32), maps[still]))
    patches = np.concatenate((level.cut(x[:straight], y[:straight]), warped[..., still]), axis=-1)
    before = sum(pixels.shape[-1] for pixels in earlier)
    kept, count = keep_distinct(np.concatenate((*earlier, level.pixels(patches)), axis=-1))
    fresh = kept >= before
    kept, count = kept[fresh] - before, count[fresh]
    chosen, enough = limits.choose(kept, len(plain), straight)
    kept, count = kept[chosen], count[chosen]
    return _Drawn(patches[..., kept], x[kept], y[kept], count, maps[kept], kept >= straight), enough


class _Limits:
    """How many of the drawn patches are taken."""

    def __init__(self, wanted: int, flat_share: float, warp_share: float) -> None:
        self._wanted = wanted
        self._flat_share = flat_share
        self.flat = int(flat_share * wanted)
        self.warped = round(warp_share * (wanted - self.flat))

    def choose(self, kept: np.ndarray, plain: int, straight: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `kept`, and whether there were enough textured and enough flat ones to choose from.

        `kept` are ascending numbers of patches: first `plain` ones, then flat ones up to `straight`, then warped ones.
        """
        ends = np.searchsorted(kept, (plain, straight))
        textured, flat, warped = (len(part) for part in np.split(kept, ends))
        warped = min(warped, self.warped)
        flat = min(flat, self.flat)
        if self._flat_share < 1:  # a photograph with little texture does not make up for it with flat patches
            most = self._flat_share / (1 - self._flat_share) * (min(textured, self._wanted - warped) + warped)
            flat = min(flat, int(most))
        enough = np.array([textured + flat + warped >= self._wanted, flat >= self.flat])
        textured = min(textured, self._wanted - flat - warped)
        starts = (0, *ends)
        parts = [np.arange(start, start + size) for start, size in zip(starts, (textured, flat, warped), strict=True)]
        return np.concatenate(parts), enough


def _positions(level: _Level, random: np.random.Generator, most: int) -> "tuple[_Smallest, _Smallest]":
    """Textured and flat positions (numbers, row by row) in the order in which they are drawn; `most` or more."""
    textured, flat = _Smallest(most), _Smallest(most)
    for start in range(0, level.rows, _STRIP):
        end = min(start + _STRIP, level.rows)
        energy = _energy(level.image[:, start : end + level.k - 1], level.k).ravel()
        # The order of Exp(1) / weight is that of drawing one after the other, each by weight among those that are left.
        ranks = random.standard_exponential(len(energy), np.float32)
        is_flat = energy < np.float32(FLAT * 255)
        here = np.flatnonzero(~is_flat)
        textured.add(ranks[here] / energy[here], here + start * level.columns)
        here = np.flatnonzero(is_flat)
        flat.add(ranks[here], here + start * level.columns)
    return textured, flat


class _Smallest:
    """The positions with the smallest ranks, of as many as may come."""

    def __init__(self, most: int) -> None:
        self._most = max(most, _HELD)
        self._ranks: list[np.ndarray] = [np.zeros(0, np.float32)]
        self._positions: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._held = 0

    def add(self, ranks: np.ndarray, positions: np.ndarray) -> None:
        """Take in some positions."""
        self._ranks.append(ranks)
        self._positions.append(positions)
        self._held += len(ranks)
        if self._held > 2 * self._most:
            every = np.concatenate(self._ranks)
            best = np.sort(np.argpartition(every, self._most)[: self._most])
            self._ranks, self._positions = [every[best]], [np.concatenate(self._positions)[best]]
            self._held = self._most

    def __len__(self) -> int:
        return self._held

    def first(self, number: int) -> np.ndarray:
        """The positions with the `number` smallest ranks, ascending by rank."""
        ranks, positions = np.concatenate(self._ranks), np.concatenate(self._positions)
        if number < len(ranks):
            best = np.argpartition(ranks, number)[:number]
            ranks, positions = ranks[best], positions[best]
        return positions[np.lexsort((positions, ranks))]


def _energy(strip: np.ndarray, k: int) -> np.ndarray:
    """Standard deviation of luma, in grey levels, of the patch at every position: uint8 `[3, H, W]` → `[H', W']`."""
    luma = np.full(strip.shape[1:], -128, np.float32)  # near zero, squares lose fewer digits
    for channel, weight in zip(strip, _LUMA, strict=True):
        luma += channel * np.float32(weight)
    mean = _box_sum(luma, k) / np.float32(k * k)
    square = _box_sum(np.square(luma), k) / np.float32(k * k)
    square -= np.square(mean)
    return np.sqrt(np.maximum(square, 0, out=square), out=square)


def _energy_of(patches: np.ndarray) -> np.ndarray:
    """The same of cut patches: uint8 `[3, k, k, N]` → `[N]`."""
    luma = sum(channel * np.float32(weight) for channel, weight in zip(patches, _LUMA, strict=True))
    return np.std(luma, axis=(0, 1))


def _box_sum(values: np.ndarray, k: int) -> np.ndarray:
    """Sums over k×k: `[H, W]` → `[H - k + 1, W - k + 1]`."""
    for _ in range(2):  # along the rows, then along the columns
        size = len(values) - k + 1
        total = values[:size].copy()
        for shift in range(1, k):
            total += values[shift : shift + size]
        values = np.ascontiguousarray(total.T)
    return values


def _described(level: _Level, drawn: _Drawn, pixels: np.ndarray, key: int, factor: int) -> Patches:
    number = pixels.shape[-1]
    return Patches(
        patch_id=_patch_ids(key, drawn.x, drawn.y, factor, level.k, drawn.maps),
        pixels=np.ascontiguousarray(pixels.transpose(3, 1, 2, 0)).reshape(number, level.k**2 * 3),
        gram=level.gram(drawn.patches),
        x=drawn.x.astype(np.int32),
        y=drawn.y.astype(np.int32),
        scale=np.full(number, 1 / factor, np.float32),
        count=drawn.count.astype(np.int32),
        warped=drawn.warped,
    )


def _patch_ids(key: int, x: np.ndarray, y: np.ndarray, factor: int, k: int, maps: np.ndarray) -> np.ndarray:
    """Stable 63-bit ids: splitmix64 over photograph, position, scale, k and warp."""
    multipliers = np.random.default_rng(0).integers(0, 2**63, maps.shape[1], dtype=np.uint64)
    value = maps.view(np.uint32).astype(np.uint64) @ multipliers  # 0 where there is no warp
    value ^= (x.astype(np.uint64) << np.uint64(40)) ^ (y.astype(np.uint64) << np.uint64(16))
    value ^= (np.uint64(factor) << np.uint64(8)) ^ np.uint64(k) ^ np.uint64(key)
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
        warped=np.zeros(0, bool),
    )
