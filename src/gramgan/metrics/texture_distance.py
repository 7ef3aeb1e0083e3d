"""Texture distance: how far the distributions of local texture in a result are from those in the truth.

PSNR and learned distances hardly see plastic: skin, fur or cloth whose fine grain is gone. Here nothing is compared
pixel by pixel. Luma is split into octave bands (a Laplacian pyramid); small random filters, which see 5×5 patches of a
band from random directions, answer at every place; and in each window the *sorted* answers of result and truth are
compared: the sliced Wasserstein-1 distance between the two distributions of patches (Rabin et al., "Wasserstein
Barycenter and its Application to Texture Mixing", SSVM 2011; on pyramids of patches: Karras et al., ICLR 2018). A
texture whose grains lie elsewhere costs next to nothing, a missing or doubled one all.

Each window's distance is divided by the strength of the truth's own texture there, since missing grain on faint
texture is seen as well as on strong. So 0 is the same texture, about 0.5 to 1 nothing where there was some, and more
than that something where there was none. Two samples of one texture are not at distance 0: `noise_level` says how far
apart they are, and differences below it mean little.

No training minimises it. A loss that compares distributions of other features (a Gram matrix, a trunk's maps) is
related, not the same.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.metrics.imagenet import LastTruth
from gramgan.metrics.inputs import cropped_pair
from gramgan.ops.luma import luma_full

MIN_SIZE = 32
"""Smallest height and width in pixels, 8 of the coarsest band; every other metric can score it too."""

_SCALES = 3
"""Octave bands, finest first: periods of about 2 to 4, 4 to 8, 8 to 16 pixels. ×4 loses all below 8."""
_WINDOW = 64  # pixels of the image, for every band; of images that have fewer, the smallest that is allowed
_CELL = 16  # pixels of the image: of such squares `noise_level` makes its two samples
_FILTERS = 12
_SIDE = 5
_SEED = 20
_FLOOR = 1.0 / 255  # contrast that is added to the truth's own: below it there is nothing to see
_FAINT, _STRONG = 0.8 / 255, 2.0 / 255  # of the textured regions: strength of the finest two bands; cloth has 2
_SPARSE, _DENSE = 0.45, 0.65  # median over mean of magnitudes there: lone edges are sparse, texture is dense


@dataclass(frozen=True)
class _Truth:
    """What windows of a truth are compared with: sorted answers of each band, their strength, and the weights."""

    answers: list[Tensor]
    strength: list[Tensor]
    textured: Tensor


class TextureDistance:
    """The texture distance of whole pictures (`whole`) and of their textured regions (`textured`).

    It has no learned weights. Both look at the same windows, which are computed once for a pair.
    """

    def __init__(self) -> None:
        self._truth = LastTruth()
        self._result = LastTruth()

    def whole(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Mean over all windows (lower is better, 0 for identical images).

        Args:
            sr: RGB `[B, 3, H, W]` in [0, 1], H and W ≥ 32.
            hr: the truth, of the same shape.

        Returns:
            `[B]` in float32.

        Raises:
            ValueError: shapes differ, not RGB, or smaller than 32 pixels.
        """
        return self._windows(sr, hr)[0].mean(dim=(1, 2))

    def textured(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Mean over windows in which the truth has dense fine texture, weighted by how clearly it has.

        Where no window has any, all count alike. Arguments, result and errors are those of `whole`.
        """
        distance, weights = self._windows(sr, hr)
        return (distance * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))

    def _windows(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        sr, hr = cropped_pair(sr, hr, smallest=MIN_SIZE)
        with torch.no_grad(), torch.autocast(sr.device.type, enabled=False):
            truth: _Truth = self._truth.of(hr, _describe)
            answers: list[Tensor] = self._result.of(sr, _answers)
            return _distance(answers, truth.answers, truth.strength), truth.textured


@torch.no_grad()
def noise_level(hr: Tensor) -> Tensor:
    """How far apart two samples of one texture are, by `whole`'s measure.

    The black squares of a chessboard of 16 pixels against its white ones, inside each window of the truth itself. They
    are half as large as a window, and two samples are 1/√n apart, so the result is divided by √2. What makes a texture
    vary within a window counts, so it is rather an upper bound.

    Args:
        hr: RGB `[B, 3, H, W]` in [0, 1], H and W ≥ 32.

    Returns:
        `[B]` in float32.

    Raises:
        ValueError: not RGB, or smaller than 32 pixels.
    """
    hr, _ = cropped_pair(hr, hr, smallest=MIN_SIZE)
    places = _places(hr)
    halves = []
    for colour in (0, 1):
        samples = []
        for scale, each in enumerate(places):
            side, cell = math.isqrt(each.shape[-1] * (2 if scale == 0 else 1)), _CELL >> scale
            rows = torch.arange(0, side, 2 if scale == 0 else 1) // cell
            chessboard = (rows[:, None] + torch.arange(side)[None, :] // cell) % 2 == colour
            samples.append(each[..., chessboard.flatten().to(each.device)].sort(dim=-1).values)
        halves.append(samples)
    distance = _distance(halves[0], halves[1], [_strength(each) for each in places])
    return distance.mean(dim=(1, 2)) / math.sqrt(2)


def textured_windows(hr: Tensor) -> Tensor:
    """Weights of the windows of `hr` (`[B, 3, H, W]`) in `textured`: `[B, h, w]`, near 0 to 1."""
    return _describe(hr).textured


def _describe(hr: Tensor) -> _Truth:
    places = _places(hr)
    strength = [_strength(each) for each in places]
    fine = [each.abs() for each in places[:2]]
    means = torch.stack([each.mean(dim=-1) for each in fine])
    medians = torch.stack([each.median(dim=-1).values for each in fine])
    density = (medians / (means + 1e-6)).mean(dim=(0, 2))
    # A filter's mean magnitude is 0.8 of its deviation where answers are Gaussian.
    present = means.mean(dim=(0, 2)) / 0.8
    weights = _ramp(present, _FAINT, _STRONG) * _ramp(density, _SPARSE, _DENSE)
    return _Truth([each.sort(dim=-1).values for each in places], strength, weights + 1e-4)


def _answers(images: Tensor) -> list[Tensor]:
    return [each.sort(dim=-1).values for each in _places(images)]


def _distance(a: list[Tensor], b: list[Tensor], strength: list[Tensor]) -> Tensor:
    """Sliced Wasserstein-1 of sorted answers `[B, F, h, w, N]`, by strength `[B, h, w]`: mean of bands, `[B, h, w]`."""
    bands = [(x - y).abs().mean(dim=(1, 4)) / (s + _FLOOR) for x, y, s in zip(a, b, strength, strict=True)]
    return torch.stack(bands).mean(dim=0)


def _strength(answers: Tensor) -> Tensor:
    """Root mean square of a window's answers over filters and places: `[B, F, h, w, N]` → `[B, h, w]`."""
    return answers.square().mean(dim=(1, 4)).sqrt()


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    return ((x - low) / (high - low)).clamp(0, 1)


def _places(images: Tensor) -> list[Tensor]:
    """The filters' answers in each window of each octave band of the luma: `[B, F, h, w, N]`, finest band first.

    Of the finest band every second row is enough. What no whole window covers at the right and bottom is left out.
    """
    level = luma_full(images.float())
    window = _WINDOW if min(level.shape[-2:]) >= _WINDOW else MIN_SIZE
    rows, columns = (size // window for size in level.shape[-2:])
    kernels = _filters().to(level.device)
    found = []
    for scale in range(_SCALES):
        low = _blur(level)
        side = window >> scale
        band = F.pad(level - low, (2, 2, 2, 2), mode="reflect")[..., : rows * side + 4, : columns * side + 4]
        answers = F.conv2d(band, kernels, stride=(2, 1) if scale == 0 else 1)
        tiles = answers.unflatten(3, (columns, side)).unflatten(2, (rows, -1))
        found.append(tiles.permute(0, 1, 2, 4, 3, 5).flatten(4))
        level = low[..., ::2, ::2]
    return found


def _filters() -> Tensor:
    """Random directions in the space of 5×5 patches without their mean, each of length 1: `[F, 1, 5, 5]`."""
    generator = torch.Generator().manual_seed(_SEED)
    kernels = torch.randn(_FILTERS, 1, _SIDE, _SIDE, generator=generator)
    kernels -= kernels.mean(dim=(2, 3), keepdim=True)
    return kernels / kernels.square().sum(dim=(2, 3), keepdim=True).sqrt()


def _blur(x: Tensor) -> Tensor:
    """Burt and Adelson's binomial of 5 taps in each direction, the border reflected."""
    taps = torch.tensor([math.comb(4, i) for i in range(5)], dtype=x.dtype, device=x.device) / 16
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="reflect"), taps.view(1, 1, 1, 5))
    return F.conv2d(F.pad(x, (0, 0, 2, 2), mode="reflect"), taps.view(1, 1, 5, 1))
