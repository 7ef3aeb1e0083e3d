"""All scores of one pair of images under one protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gramgan.evaluation.protocols import Metric, Protocol
from gramgan.files import sha256
from gramgan.metrics import StLpips, colour_drift, dss, gram_distance, lr_psnr, psnr, ssim
from gramgan.metrics.pyiqa_metric import PyiqaMetric
from gramgan.metrics.st_lpips import CATALOG_NAME as ST_LPIPS_WEIGHTS
from gramgan.metrics.st_lpips import MIN_SIZE as _MIN_SIZE
from gramgan.ops.luma import luma_bt601
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.weights.catalog import KNOWN, is_cached, weight_path

MIN_SIZE = _MIN_SIZE
"""Smallest height and width in pixels that every metric can score."""

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

_Score = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (SR, HR, LR) → [B]


@dataclass(frozen=True)
class _Entry:
    metric: Metric
    score: _Score


class Scorer:
    """Scores images under a protocol.

    `metrics` lists what `score` returns, each with its version and the hash of its weights: PSNR and SSIM in the
    protocol's space, Gram texture distance and colour drift; with `every` also DSS and LR consistency; ST-LPIPS where
    `st_lpips` is given, and those of pyiqa in `more`.
    """

    def __init__(
        self,
        protocol: Protocol,
        st_lpips: StLpips | None = None,
        st_lpips_sha256: str = "",
        *,
        every: bool = False,
        more: Sequence[PyiqaMetric] = (),
    ) -> None:
        self.protocol = protocol
        self.with_st_lpips = st_lpips is not None
        self._entries = _plain(protocol, every)
        if st_lpips is not None:
            metric = Metric("st_lpips", "ST0.0, AlexNet", False, weights_sha256=st_lpips_sha256, title="ST-LPIPS")
            self._entries.append(_Entry(metric, lambda sr, hr, lr: st_lpips(sr, hr)))
        for each in more:
            metric = Metric(
                each.name, each.version, False, weights_sha256=each.weights_sha256(), title=each.name.upper()
            )
            self._entries.append(_Entry(metric, lambda sr, hr, lr, each=each: each(sr, hr)))
        self.metrics: tuple[Metric, ...] = tuple(entry.metric for entry in self._entries)

    @classmethod
    def best(cls, protocol: Protocol, device: torch.device | str = "cpu") -> "Scorer":
        """What a training looks at: a scorer with ST-LPIPS if its weights are in the cache, without it otherwise.

        Raises:
            UserError: the cached weights are damaged.
        """
        return cls(protocol, *_cached_st_lpips(device))

    @classmethod
    def full(cls, protocol: Protocol, device: torch.device | str = "cpu", also: Sequence[str] = ()) -> "Scorer":
        """What an evaluation looks at: every metric, and those of pyiqa named in `also` (see `pyiqa_metric.NAMES`).

        Raises:
            UserError: the cached weights of ST-LPIPS are damaged, or pyiqa cannot be used.
        """
        more = [PyiqaMetric(name, device) for name in dict.fromkeys(also)]
        return cls(protocol, *_cached_st_lpips(device), every=True, more=more)

    @torch.no_grad()
    def score(self, sr: Tensor, hr: Tensor, lr: Tensor | None = None) -> list[dict[str, float]]:
        """Scores of each image of a batch.

        Args:
            sr: RGB `[B, 3, H, W]`, in [0, 1] or beyond: it is clamped and rounded as the protocol says.
            hr: the truth, of the same shape; H and W ≥ 24, and multiples of the protocol's scale for LR
                consistency.
            lr: what `sr` was made from, `[B, 3, H/scale, W/scale]`; None: `hr` shrunk by MATLAB's bicubic.

        Returns:
            `{metric name: value}` for each image.

        Raises:
            ValueError: shapes differ, or smaller than 24 pixels.
        """
        sr, hr = self.protocol.quantise(sr), self.protocol.quantise(hr)
        columns = [entry.score(sr, hr, lr).tolist() for entry in self._entries]
        names = [metric.name for metric in self.metrics]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _cached_st_lpips(device: torch.device | str) -> tuple[StLpips | None, str]:
    if not is_cached(KNOWN[ST_LPIPS_WEIGHTS]):
        return None, ""
    path = weight_path(ST_LPIPS_WEIGHTS)
    return StLpips.from_file(path).to(device), sha256(path)


def _plain(protocol: Protocol, every: bool) -> list[_Entry]:
    """The metrics that need no weights."""
    space, crop = protocol.space, protocol.crop
    title = space.upper()

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
    ]
    if every:
        entries += [
            _Entry(DSS, lambda sr, hr, lr: dss(sr, hr)),
            _Entry(LR_PSNR, lambda sr, hr, lr: lr_psnr(sr, _low(lr, hr, protocol))),
        ]
    return entries


def _low(lr: Tensor | None, hr: Tensor, protocol: Protocol) -> Tensor:
    return matlab_bicubic_down(hr, protocol.scale) if lr is None else protocol.quantise(lr)
