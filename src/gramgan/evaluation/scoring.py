"""All scores of one pair of images under one protocol."""

import torch
from torch import Tensor

from gramgan.evaluation.protocols import Metric, Protocol
from gramgan.files import sha256
from gramgan.metrics import StLpips, gram_distance, psnr_y, ssim_y
from gramgan.metrics.st_lpips import CATALOG_NAME as ST_LPIPS_WEIGHTS
from gramgan.metrics.st_lpips import MIN_SIZE as _MIN_SIZE
from gramgan.weights.catalog import KNOWN, is_cached, weight_path

MIN_SIZE = _MIN_SIZE
"""Smallest height and width in pixels that every metric can score."""

PSNR_Y = Metric("psnr_y", "1", higher_is_better=True, unit="dB")
SSIM_Y = Metric("ssim_y", "1: 11x11 Gaussian, sigma 1.5, K 0.01 and 0.03", higher_is_better=True)
GRAM_DISTANCE = Metric("gram_distance", "1: rgb, k 4, stride 4", higher_is_better=False)


class Scorer:
    """Scores images under a protocol; with ST-LPIPS where `st_lpips` is given.

    `metrics` lists what `score` returns, each with its version and the hash of its weights.
    """

    def __init__(self, protocol: Protocol, st_lpips: StLpips | None = None, st_lpips_sha256: str = "") -> None:
        self.protocol = protocol
        self._st_lpips = st_lpips
        self.metrics: tuple[Metric, ...] = (PSNR_Y, SSIM_Y, GRAM_DISTANCE)
        if st_lpips is not None:
            self.metrics += (
                Metric("st_lpips", "ST0.0, AlexNet", higher_is_better=False, weights_sha256=st_lpips_sha256),
            )

    @classmethod
    def best(cls, protocol: Protocol, device: torch.device | str = "cpu") -> "Scorer":
        """A scorer with ST-LPIPS if its weights are in the user's cache, and without it otherwise.

        Raises:
            UserError: the cached weights are damaged.
        """
        if not is_cached(KNOWN[ST_LPIPS_WEIGHTS]):
            return cls(protocol)
        path = weight_path(ST_LPIPS_WEIGHTS)
        return cls(protocol, StLpips.from_file(path).to(device), sha256(path))

    @property
    def with_st_lpips(self) -> bool:
        """Whether `score` returns ST-LPIPS."""
        return self._st_lpips is not None

    @torch.no_grad()
    def score(self, sr: Tensor, hr: Tensor) -> list[dict[str, float]]:
        """Scores of each image of a batch.

        Args:
            sr: RGB `[B, 3, H, W]`, in [0, 1] or beyond: it is clamped and rounded as the protocol says.
            hr: the truth, of the same shape, H and W ≥ 24.

        Returns:
            `{metric name: value}` for each image.

        Raises:
            ValueError: shapes differ, or smaller than 24 pixels.
        """
        sr, hr = self.protocol.quantise(sr), self.protocol.quantise(hr)
        crop = self.protocol.crop
        columns = {
            PSNR_Y.name: psnr_y(sr, hr, crop),
            SSIM_Y.name: ssim_y(sr, hr, crop),
            GRAM_DISTANCE.name: gram_distance(sr, hr),
        }
        if self._st_lpips is not None:
            columns["st_lpips"] = self._st_lpips(sr, hr)
        names, values = list(columns), [column.tolist() for column in columns.values()]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
