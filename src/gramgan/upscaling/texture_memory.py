"""What examples of a material say of a picture that has been through the same: a better luma, where they fit.

Each example is a truth, its low-resolution (LR) picture and what the program makes of that. Nothing is trained; three
parts are fitted in closed form (docs/explanation/texture-memory.md compares them with others):

- a ridge regression of what bicubic enlargement lacks, from LR and the result (SR);
- a correction of the spectrum, and texture that the regression lacks, taken from the place that looks most alike in LR
  (Freeman, Jones and Pasztor, "Example-based super-resolution", 2002). They are mixed with the generator's result in
  the shares that serve the examples best; where no shares do, nothing changes;
- a confidence: how near keys and surroundings are to the examples', on the scale of the examples among each other.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.degradation.filters import blur
from gramgan.degradation.kernels import gaussian_kernel
from gramgan.metrics.psnr import psnr_y
from gramgan.metrics.texture_distance import TextureDistance
from gramgan.ops.bicubic import SCALE, enlarge
from gramgan.upscaling.measured import Measured
from gramgan.upscaling.refine import back_project_measured

KEY = 7
"""Low-resolution pixels a side by which places are found."""
PATCH, STEP = 24, 16
"""Pixels of the result: side of a patch of texture, and from one patch to the next."""
LEAST = 8
"""Low-resolution pixels a side; smaller pictures have no texture that could be known again."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LR_SIDE, _SR_SIDE = 9, 21
_RIDGE = 3e-3
_SHARES = [(c, p, w) for c in (0.0, 0.3, 0.6) for p in (0.0, 0.5, 1.0) for w in (0.0, 0.5)]
_MARGIN = 0.9  # of the generator's texture distance, what shares may have on the examples
_SPECTRUM = 32
_AROUND = 16  # low-resolution pixels, within which surroundings are the same
_SPARSE = 7  # of the examples' places, one of so many says how near places usually are
_SEARCHED = 2**25  # distances held at a time

Plane = np.ndarray
"""Luma, float32 `[H, W]` in [0, 1]."""
Shares = tuple[float, float, float]
"""Of the generator's result, of the spectrum's correction, and of texture."""


def luma_plane(picture: np.ndarray) -> Plane:
    """Of RGB `[3, H, W]`."""
    return np.tensordot(_LUMA, picture, axes=1)


@dataclass(frozen=True)
class Example:
    """A truth, its low-resolution picture and what the program makes of it: RGB `[3, H, W]` in [0, 1].

    `measured` is what results have to agree with, None for nothing.
    """

    hr: np.ndarray
    lr: np.ndarray
    sr: np.ndarray
    measured: Measured | None

    @functools.cached_property
    def planes(self) -> tuple[Plane, Plane, Plane, Plane]:
        """Luma of HR, LR, SR and of the bicubic enlargement of LR."""
        hr, lr, sr = (luma_plane(each) for each in (self.hr, self.lr, self.sr))
        return hr, lr, sr, enlarge(lr[None])[0]

    def finished(self, plane: Plane) -> Tensor:
        """SR with another luma, consistent and in 8-bit steps, `[1, 3, H, W]`."""
        result = np.clip(self.sr + (plane - self.planes[2]), 0, 1)
        if self.measured is not None:
            result, _, _ = back_project_measured(self.lr, result, self.measured)
        return torch.from_numpy(result).mul(255).round().div(255)[None]


class Scores:
    """PSNR-Y and texture distance of whole pictures."""

    def __init__(self) -> None:
        self._distance = TextureDistance()

    def __call__(self, example: Example, result: Tensor) -> tuple[float, float]:
        """Of a result `[1, 3, H, W]`."""
        hr = torch.from_numpy(example.hr)[None]
        return float(psnr_y(result, hr)), float(self._distance.whole(result, hr))


def ways(planes: Sequence[Plane]) -> Iterator[list[Plane]]:
    """As they are, and mirrored: four ways round."""
    for rows in (1, -1):
        for columns in (1, -1):
            yield [np.ascontiguousarray(plane[::rows, ::columns]) for plane in planes]


def windows(plane: Plane, side: int, step: int) -> Tensor:
    """What is around each cell of `step` pixels: `[N, side²]`; borders are mirrored."""
    before = (side - step) // 2
    pad = (before, side - step - before) * 2
    return F.unfold(F.pad(torch.from_numpy(plane)[None, None], pad, mode="reflect"), side, stride=step)[0].T


def keys(lr: Plane, step: int = 1, first: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """The keys of every `step`-th low-resolution pixel from `first` on.

    Returns:
        The pixels around each, without mean and contrast, `[h, w, 49]`, and their contrast `[h, w]`.
    """
    padded = F.pad(torch.from_numpy(lr)[None, None], (KEY // 2,) * 4, mode="reflect")[..., first[0] :, first[1] :]
    size = [-(-(side - start) // step) for side, start in zip(lr.shape, first, strict=True)]
    around = F.unfold(padded, KEY, stride=step)[0].T.reshape(*size, KEY * KEY)
    around = around - around.mean(dim=-1, keepdim=True)
    contrast = around.square().mean(dim=-1).sqrt() + 2 / 255
    return around / contrast[..., None], contrast


def blurred(plane: Plane, sigma: float) -> Plane:
    """Through a Gaussian of `sigma` pixels that ends at three times as many."""
    kernel = gaussian_kernel(2 * round(3 * sigma) + 1, sigma)
    return blur(torch.from_numpy(plane)[None], kernel)[0].numpy()


class Regression:
    """Ridge regression of what bicubic enlargement lacks, from 9×9 pixels of LR and 21×21 of SR."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Regression":
        """Fitted to examples."""
        gram, product = torch.zeros(()), torch.zeros(())
        for example in examples:
            for hr, lr, sr, bicubic in ways(example.planes):
                seen = _context(lr, sr)
                gram = gram + seen.T @ seen
                product = product + seen.T @ windows(hr - bicubic, SCALE, SCALE)
        return cls(torch.linalg.solve(gram + _RIDGE * gram.diagonal().mean() * torch.eye(len(gram)), product))

    def __call__(self, lr: Plane, sr: Plane, bicubic: Plane) -> Plane:
        """The luma of another picture."""
        cells = _context(lr, sr) @ self.weights
        return bicubic + F.fold(cells.T[None], bicubic.shape, SCALE, stride=SCALE)[0, 0].numpy()


def _context(lr: Plane, sr: Plane) -> Tensor:
    around = windows(lr, _LR_SIDE, 1)
    mean = around.mean(dim=1, keepdim=True)
    return torch.cat([around - mean, windows(sr, _SR_SIDE, SCALE) - mean], dim=1)


class Memory:
    """The places of examples by their keys, four ways round, with their values.

    Args:
        lrs: LR of each example in each of its four ways.
        values: four times as large, likewise.
    """

    def __init__(self, lrs: Sequence[Plane], values: Sequence[Plane]) -> None:
        edge = PATCH // 2 // SCALE
        found, contrasts, places = [], [], []
        for number, lr in enumerate(lrs):
            each, contrast = keys(lr)
            inner = slice(edge, -edge)
            rows, columns = np.mgrid[edge : lr.shape[0] - edge, edge : lr.shape[1] - edge]
            found.append(each[inner, inner].flatten(0, 1))
            contrasts.append(contrast[inner, inner].flatten())
            places.append(np.stack([np.full(rows.size, number), rows.ravel(), columns.ravel()], axis=1))
        self.lrs, self.values = lrs, values
        self.keys, self.contrasts, self.places = torch.cat(found), torch.cat(contrasts), np.concatenate(places)

    @classmethod
    def of(cls, examples: Sequence[Example], value: Callable[[Plane, Plane, Plane, Plane], Plane]) -> Self:
        """Of examples; `value` makes each place's value of HR, LR, SR and bicubic enlargement."""
        seen = [planes for example in examples for planes in ways(example.planes)]
        return cls([planes[1] for planes in seen], [value(*planes) for planes in seen])

    def nearest(self, wanted: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances and rows of the k nearest `[..., k]` of some keys `[..., 49]`."""
        return _nearest(wanted, self.keys, k)

    def patches(self, rows: Tensor, contrast: Tensor) -> np.ndarray:
        """Values `[N, 24, 24]` of rows `[N]`, scaled to contrasts `[N]`."""
        cut = []
        for number, y, x in self.places[rows.numpy()].tolist():
            top, left = (SCALE * at + SCALE // 2 - PATCH // 2 for at in (y, x))
            cut.append(self.values[number][top : top + PATCH, left : left + PATCH])
        gains = np.clip((contrast / self.contrasts[rows]).numpy(), 1 / 3, 3)
        return np.stack(cut) * gains[:, None, None]

    def woven(self, lr: Plane, *, drawn: bool = False, top: int = 0, left: int = 0) -> Plane:
        """A plane four times as large as `lr`, of overlapping patches of equal energy.

        Args:
            lr: a tile of a picture.
            drawn: take drawn places in place of the nearest.
            top: row of the tile's first pixel in the picture, so that patches lie alike in all tiles.
            left: its column.
        """
        step = STEP // SCALE
        first = -top % step, -left % step
        wanted, contrast = keys(lr, step, first)
        if drawn:
            rows = torch.from_numpy(np.random.default_rng(0).integers(0, len(self.keys), tuple(contrast.shape)))
        else:
            rows = self.nearest(wanted, 1)[1][..., 0]
        whole = np.zeros([SCALE * side + 2 * PATCH for side in lr.shape], np.float32)
        if rows.numel():
            patches = torch.from_numpy(self.patches(rows.flatten(), contrast.flatten()))
            weight = _taper()
            size = (STEP * (rows.shape[0] - 1) + PATCH, STEP * (rows.shape[1] - 1) + PATCH)
            out, norm = (
                F.fold(each.flatten(1).T[None], size, PATCH, stride=STEP)[0, 0]
                for each in (weight * patches, weight.square().expand(len(patches), -1, -1))
            )
            begin = [PATCH + SCALE * at + SCALE // 2 - PATCH // 2 for at in first]
            here = tuple(slice(start, start + side) for start, side in zip(begin, size, strict=True))
            whole[here] = (out / norm.clamp_min(1e-6).sqrt()).numpy()
        return whole[PATCH:-PATCH, PATCH:-PATCH]

    def usual(self) -> tuple[float, float]:
        """How far half of the places, and 95 % of them, are at most from the nearest that is elsewhere."""
        return _usual(self.keys, self.places, KEY)


class Looks:
    """How the examples' surroundings look: autocorrelation of LR within about 16 pixels, four ways round.

    A place of random texture is near to everything by its key; this tells it from other textures.
    """

    def __init__(self, lrs: Sequence[Plane]) -> None:
        found, places = [], []
        for number, lr in enumerate(lrs):
            each = looks(lr, 2)
            rows, columns = (2 * at for at in np.mgrid[: each.shape[0], : each.shape[1]])
            if number % 4 >= 2:
                rows = lr.shape[0] - 1 - rows
            if number % 2:
                columns = lr.shape[1] - 1 - columns
            found.append(each.flatten(0, 1))
            places.append(np.stack([np.full(rows.size, number), rows.ravel(), columns.ravel()], axis=1))
        self._known = torch.cat(found)
        self._usual = _usual(self._known, np.concatenate(places), _AROUND)

    def sure(self, lr: Plane, step: int, first: tuple[int, int]) -> np.ndarray:
        """How well they look like every `step`-th pixel from `first` on, 0 to 1."""
        return _sure(_nearest(looks(lr, step, first), self._known, 1)[0][..., 0], self._usual)


def looks(lr: Plane, step: int, first: tuple[int, int] = (0, 0)) -> Tensor:
    """Autocorrelation at lags of up to three pixels around every `step`-th pixel from `first` on: `[h, w, 24]`."""
    fine = lr - blurred(lr, 3)
    energy = blurred(fine * fine, 4) + (2 / 255) ** 2
    padded = np.pad(fine, 3, mode="reflect")
    height, width = lr.shape
    found = []
    for down in range(4):
        for across in range(-3, 4):
            if (down, across) > (0, 0):
                shifted = padded[3 + down : 3 + down + height, 3 + across : 3 + across + width]
                found.append((blurred(fine * shifted, 4) / energy)[first[0] :: step, first[1] :: step])
    return torch.from_numpy(np.stack(found, axis=-1))


def _nearest(wanted: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    size, wanted = wanted.shape[:-1], wanted.flatten(0, -2)
    found = [torch.cdist(part, known).topk(k, largest=False) for part in wanted.split(max(1, _SEARCHED // len(known)))]
    distances, rows = (torch.cat(each).reshape(*size, k) for each in zip(*found, strict=True))
    return distances, rows


def _usual(vectors: Tensor, places: np.ndarray, within: int) -> tuple[float, float]:
    """How far half of the places `[N, 3]`, and 95 % of them, are at most from the nearest that is not `within`."""
    nearest = []
    numbers, y, x = torch.from_numpy(places).T
    for number in range(0, int(numbers.max()), 4):
        own = torch.nonzero(numbers == number)[::_SPARSE, 0]
        for rows in own.split(max(1, _SEARCHED // 8 // len(vectors))):
            distances = torch.cdist(vectors[rows], vectors)
            beside = (numbers // 4 == number // 4) & ((y - y[rows, None]).abs() < within)
            beside &= (x - x[rows, None]).abs() < within  # a place's own surroundings, whichever way round
            nearest.append(distances.masked_fill(beside, torch.inf).min(dim=1).values)
    found = torch.cat(nearest)
    found = found[found.isfinite()]
    return (float(found.quantile(0.5)), float(found.quantile(0.95))) if len(found) else (0.0, 0.0)


def _sure(distance: Tensor, usual: tuple[float, float]) -> np.ndarray:
    """1 for distances as half of the examples' own have, 0 for those as 5 % have."""
    half, rare = usual
    return ((rare - distance) / max(rare - half, 1e-6)).clamp(0, 1).numpy()


@functools.cache
def _taper() -> Tensor:
    """Weights of a patch's pixels `[24, 24]`, whose squares sum to one where patches overlap."""
    ramp = np.clip((np.minimum(np.arange(PATCH), PATCH - 1 - np.arange(PATCH)) + 0.5) / (PATCH - STEP), 0, 1)
    ramp = np.sin(np.pi / 2 * ramp)
    return torch.from_numpy(np.outer(ramp, ramp).astype(np.float32))


@dataclass(frozen=True)
class TextureMemory:
    """What examples say of a picture that has been through the same.

    Attributes:
        regression: from LR and SR to luma.
        lacking: what the regression lacked at each place.
        shares: those that serve the examples best; None where none do, and nothing is changed.
        gains: of the spectrum, for those shares, `[32, 32]`.
        usual: see `Memory.usual`.
        photographs: name and licence of what each example is a part of.
    """

    regression: Regression
    lacking: Memory
    shares: Shares | None
    gains: np.ndarray
    usual: tuple[float, float]
    photographs: tuple[tuple[str, str], ...] = ()

    @property
    def reach(self) -> int:
        """Low-resolution pixels on each side that decide a pixel of the result, beyond the generator's own."""
        return 0 if self.shares is None else 24

    @classmethod
    def fit(cls, examples: Sequence[Example], photographs: tuple[tuple[str, str], ...] = ()) -> "TextureMemory":
        """Fit everything to examples of one degradation and one generator.

        The shares are those of the best PSNR-Y among those with at most nine tenths of the generator's texture
        distance, on the examples themselves, with texture from drawn places: the nearest place would be the answer.
        """
        regression = Regression.of(examples)
        lacking = Memory.of(examples, lambda hr, lr, sr, bicubic: hr - regression(lr, sr, bicubic))
        scores = Scores()
        planes = [example.planes for example in examples]
        made = [regression(lr, sr, bicubic) for _, lr, sr, bicubic in planes]
        texture = [lacking.woven(lr, drawn=True) for _, lr, _, _ in planes]
        truth = sum(_spectrum(hr) for hr, *_ in planes)
        gains = {}
        for c in {shares[0] for shares in _SHARES}:
            mixed = sum(_spectrum(m + c * (sr - m)) for m, (_, _, sr, _) in zip(made, planes, strict=True))
            gains[c] = np.clip(np.sqrt(truth / (mixed + 1e-9)), 1 / 3, 3)
        found = np.zeros((len(_SHARES) + 1, 2))  # the generator's last
        for example, m, t in zip(examples, made, texture, strict=True):
            sr = example.planes[2]
            for number, (c, p, w) in enumerate(_SHARES):
                found[number] += scores(example, example.finished(_reshaped(m + c * (sr - m), gains[c], p) + w * t))
            found[-1] += scores(example, example.finished(sr))
        gained = np.where(found[:-1, 1] <= _MARGIN * found[-1, 1], found[:-1, 0] - found[-1, 0], 0)
        shares = _SHARES[int(gained.argmax())] if gained.max() > 0 else None
        gain = gains[shares[0] if shares else 0.0]
        return cls(regression, lacking, shares, gain, lacking.usual(), photographs)

    def __call__(
        self, lr: np.ndarray, sr: np.ndarray, measured: Measured | None, top: int = 0, left: int = 0
    ) -> np.ndarray:
        """A tile's result with what the examples say of it; where they do not fit, it is as it was.

        Args:
            lr: RGB `[3, h, w]` in [0, 1].
            sr: the program's result `[3, 4h, 4w]`.
            measured: what results have to agree with, None for nothing.
            top: row of the tile's first pixel in the picture.
            left: its column.

        Returns:
            `[3, 4h, 4w]` in [0, 1].
        """
        if self.shares is None or min(lr.shape[1:]) < LEAST:
            return sr
        old, new = luma_plane(sr), luma_plane(lr)
        sure = self.confidence(new, top, left)
        if not sure.any():
            return sr
        changed = np.clip(sr + (self.calibrated(new, old, enlarge(new[None])[0], top, left) - old), 0, 1)
        if measured is not None:
            changed, _, _ = back_project_measured(lr, changed, measured, top, left)
        return sr + sure * (changed - sr)

    def calibrated(self, lr: Plane, sr: Plane, bicubic: Plane, top: int = 0, left: int = 0) -> Plane:
        """Luma between regression and generator, with texture, in the shares that serve the examples best."""
        if self.shares is None:
            return sr
        c, p, w = self.shares
        made = self.regression(lr, sr, bicubic)
        mixed = _reshaped(made + c * (sr - made), self.gains, p)
        return mixed + w * self.lacking.woven(lr, top=top, left=left) if w else mixed

    @functools.cached_property
    def looks(self) -> Looks:
        """How the examples look around their places."""
        return Looks(self.lacking.lrs)

    def near(self, lr: Plane, step: int, first: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
        """How near the keys of every `step`-th pixel from `first` on are, 0 to 1, and rows of the nearest places."""
        distances, rows = self.lacking.nearest(keys(lr, step, first)[0], 1)
        return _sure(distances[..., 0], self.usual), rows[..., 0].numpy()

    def fitting(self, lr: Plane, step: int, first: tuple[int, int] = (0, 0)) -> tuple[np.ndarray, np.ndarray]:
        """The same of keys and of what is around them: the lower of the two."""
        near, rows = self.near(lr, step, first)
        return np.minimum(near, self.looks.sure(lr, step, first)), rows

    def confidence(self, lr: Plane, top: int = 0, left: int = 0) -> Plane:
        """How well the examples fit, 0 to 1, as large as SR; every second pixel is looked at, the same in all tiles."""
        first = top % 2, left % 2
        return enlarged_grid(self.fitting(lr, 2, first)[0], lr.shape, first)


def enlarged_grid(sure: np.ndarray, size: tuple[int, ...], first: tuple[int, int] = (0, 0)) -> Plane:
    """What every second pixel from `first` on of an LR of that size has, smoothed, for each pixel of SR."""
    large = enlarge(blurred(sure, 1)[None], 2 * SCALE)[0]
    before = [max(0, SCALE * at - SCALE // 2) for at in first]  # so that it lies where those pixels' middles are
    large = np.pad(large, [(more, 2 * SCALE) for more in before], mode="edge")
    here = [slice(more - SCALE * at + SCALE // 2, None) for more, at in zip(before, first, strict=True)]
    return np.clip(large[*here][: SCALE * size[0], : SCALE * size[1]], 0, 1)


def _spectrum(plane: Plane) -> np.ndarray:
    """Mean power spectrum `[32, 32]`."""
    taper = np.outer(np.hanning(_SPECTRUM), np.hanning(_SPECTRUM)).astype(np.float32)
    parts = F.unfold(torch.from_numpy(plane)[None, None], _SPECTRUM, stride=_SPECTRUM // 2)[0].T
    parts = parts.reshape(-1, _SPECTRUM, _SPECTRUM).numpy()
    return np.square(np.abs(np.fft.fft2((parts - parts.mean(axis=(1, 2), keepdims=True)) * taper))).mean(axis=0)


def _reshaped(plane: Plane, gains: np.ndarray, share: float) -> Plane:
    """A plane with `share` of the way to the gains `[n, n]` of its spectrum."""
    if not share:
        return plane
    kernel = np.fft.fftshift(np.fft.ifft2(1 + share * (gains - 1)).real)
    side = len(kernel)
    kernel = np.pad(kernel, (0, 1))  # odd: else the result lies half a pixel beside
    kernel *= np.outer(np.hanning(side + 1), np.hanning(side + 1)) ** 0.25
    kernel[side // 2, side // 2] += 1 - kernel.sum()
    return blur(torch.from_numpy(plane)[None], torch.from_numpy(kernel))[0].numpy()
