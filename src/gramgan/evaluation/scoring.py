"""All scores of one pair of images under one protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.evaluation.protocols import Metric, Protocol
from gramgan.files import sha256
from gramgan.metrics import (
    Dists,
    Lpips,
    StLpips,
    TextureDistance,
    colour_drift,
    dss,
    gram_distance,
    lr_psnr,
    psnr,
    ssim,
)
from gramgan.ops.luma import luma_bt601
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.weights.catalog import KNOWN, is_cached, weight_path

_SSIM_VERSION = "1: 11x11 Gaussian, sigma 1.5, K 0.01 and 0.03"
GRAM_DISTANCE = Metric("gram_distance", "1: rgb, k 4, stride 4", higher_is_better=False, title="Gram distance")
LR_PSNR = Metric("lr_psnr", "1: RGB, shrunk by MATLAB's bicubic", higher_is_better=True, unit="dB", title="LR PSNR")
COLOUR_DRIFT = Metric(
    "colour_drift",
    "1: CIEDE2000 of 16x16 block means in linear light",
    higher_is_better=False,
    unit="ΔE",
    title="colour drift",
)
DSS = Metric("dss", "1: DCT subband similarity, 8x8, worst 5 %", higher_is_better=True, title="DSS")

_TEXTURE_VERSION = "1: sliced Wasserstein, 5x5 patches of 3 octave bands, windows of 32"
TEXTURE = Metric("texture_distance", _TEXTURE_VERSION, higher_is_better=False, title="texture distance")
TEXTURED = Metric(
    "texture_distance_textured", f"{_TEXTURE_VERSION}, textured ones", higher_is_better=False, title="… where textured"
)

_Score = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (SR, HR, LR) → [B]


@dataclass(frozen=True)
class _Entry:
    """A metric and what computes it: `score(sr, hr, lr)`, images `[B, 3, H, W]` in [0, 1], gives `[B]`."""

    metric: Metric
    score: _Score


@dataclass(frozen=True)
class Learned:
    """A metric that needs weights: `load(device)` gives what computes it from the weights of the catalogue."""

    metric: Metric
    weights: tuple[str, ...]
    load: Callable[[torch.device | str], Callable[[Tensor, Tensor], Tensor]]

    def is_here(self) -> bool:
        """Whether all its weights are in the cache."""
        return all(is_cached(KNOWN[name]) for name in self.weights)

    def entry(self, device: torch.device | str) -> _Entry:
        """The metric on `device`.

        Raises:
            UserError: weights are missing or damaged.
        """
        network = self.load(device)
        digests = "+".join(sha256(weight_path(name)) for name in self.weights)
        return _Entry(replace(self.metric, weights_sha256=digests), lambda sr, hr, lr: network(sr, hr))


LEARNED = (
    Learned(Metric("st_lpips", "ST0.0, AlexNet", False, title="ST-LPIPS"), ("st-lpips-alex",), StLpips.load),
    Learned(
        Metric("lpips_alex", "0.1, AlexNet", False, title="LPIPS"),
        ("lpips-alex",),
        lambda device: Lpips.load("alex", device),
    ),
    Learned(Metric("dists", "1, VGG-16", False, title="DISTS"), ("dists-vgg16", "vgg16"), Dists.load),
)
"""What is scored wherever its weights are in the cache."""

MORE = {
    "lpips-vgg": Learned(
        Metric("lpips_vgg", "0.1, VGG-16", False, title="LPIPS (VGG)"),
        ("vgg16",),
        lambda device: Lpips.load("vgg", device),
    )
}
"""What is scored where it is asked for: it takes as long as everything else."""


class Scorer:
    """Scores images under a protocol.

    `metrics` lists what `score` returns, each with its version and the hash of its weights: PSNR and SSIM in the
    protocol's space, Gram distance, colour drift and texture distance; with `every` also DSS and LR consistency; then
    those of `more`.
    """

    def __init__(self, protocol: Protocol, more: Sequence[_Entry] = (), *, every: bool = False) -> None:
        self.protocol = protocol
        self._entries = [*_plain(protocol, every), *more]
        self.metrics: tuple[Metric, ...] = tuple(entry.metric for entry in self._entries)

    @classmethod
    def best(cls, protocol: Protocol, device: torch.device | str = "cpu") -> "Scorer":
        """What a training looks at: a scorer with those of `LEARNED` whose weights are in the cache.

        Raises:
            UserError: cached weights are damaged.
        """
        return cls(protocol, [each.entry(device) for each in LEARNED if each.is_here()])

    @classmethod
    def full(cls, protocol: Protocol, device: torch.device | str = "cpu", also: Sequence[str] = ()) -> "Scorer":
        """What an evaluation looks at: every metric whose weights are in the cache, and of `MORE` what `also` names.

        Raises:
            UserError: cached weights are damaged, or those that `also` needs are missing; an unknown name in `also`.
        """
        unknown = [name for name in also if name not in MORE]
        if unknown:
            raise UserError(f"metric {unknown[0]!r}: unknown; use {' or '.join(MORE)}")
        wanted = [*(each for each in LEARNED if each.is_here()), *(MORE[name] for name in dict.fromkeys(also))]
        return cls(protocol, [each.entry(device) for each in wanted], every=True)

    @torch.no_grad()
    def score(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> list[dict[str, float]]:
        """Scores of each image of a batch.

        Args:
            sr: RGB `[B, 3, H, W]`, in [0, 1] or beyond: it is clamped and rounded as the protocol says.
            hr: the truth, of the same shape; H and W ≥ 32, and multiples of the protocol's scale for LR
                consistency.
            lr: what `sr` was made from, `[B, 3, H/scale, W/scale]`; None: `hr` shrunk by MATLAB's bicubic.

        Returns:
            `{metric name: value}` for each image.

        Raises:
            ValueError: shapes differ, or smaller than 32 pixels.
        """
        sr, hr = self.protocol.quantise(sr), self.protocol.quantise(hr)
        columns = [entry.score(sr, hr, lr).tolist() for entry in self._entries]
        names = [metric.name for metric in self.metrics]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def left_out() -> list[str]:
    """Of each metric of `LEARNED` whose weights are missing: its title and the command that brings them."""
    missing = {each: [name for name in each.weights if not is_cached(KNOWN[name])] for each in LEARNED}
    return [f"{each.metric.title} (gramgan weights get {names[0]})" for each, names in missing.items() if names]


def _plain(protocol: Protocol, every: bool) -> list[_Entry]:
    """The metrics that need no weights."""
    space, crop = protocol.space, protocol.crop
    title = space.upper()
    texture = TextureDistance()

    def in_space(images: Tensor) -> Tensor:
        return luma_bt601(images.double()) if space == "y" else images

    entries = [
        _Entry(
            Metric(f"psnr_{space}", "1", higher_is_better=True, unit="dB", title=f"PSNR-{title}"),
            lambda sr, hr, lr: psnr(in_space(sr), in_space(hr), crop),
        ),
        _Entry(
            Metric(f"ssim_{space}", _SSIM_VERSION, higher_is_better=True, title=f"SSIM-{title}"),
            lambda sr, hr, lr: ssim(in_space(sr), in_space(hr), crop),
        ),
        _Entry(GRAM_DISTANCE, lambda sr, hr, lr: gram_distance(sr, hr)),
        _Entry(COLOUR_DRIFT, lambda sr, hr, lr: colour_drift(sr, hr)),
        _Entry(TEXTURE, lambda sr, hr, lr: texture.whole(sr, hr)),
        _Entry(TEXTURED, lambda sr, hr, lr: texture.textured(sr, hr)),
    ]
    if every:
        entries += [
            _Entry(DSS, lambda sr, hr, lr: dss(sr, hr)),
            _Entry(LR_PSNR, lambda sr, hr, lr: lr_psnr(sr, _low(lr, hr, protocol))),
        ]
    return entries


def _low(lr: Tensor | None, hr: Tensor, protocol: Protocol) -> Tensor:
    return matlab_bicubic_down(hr, protocol.scale) if lr is None else protocol.quantise(lr)
