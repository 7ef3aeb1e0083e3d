"""Scores of the averaged generator on images that are not trained on."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gramgan.degradation.bicubic import SCALE, degrade_bicubic
from gramgan.errors import UserError
from gramgan.evaluation.protocols import SR_Y_CROP4
from gramgan.evaluation.scoring import MIN_SIZE, Scorer
from gramgan.images import read_rgb
from gramgan.ops.resize import bicubic_up


@dataclass(frozen=True)
class Validation:
    """Mean scores by metric name, and the first images as float32 `[3, H, W]` in [0, 1] by name."""

    scores: dict[str, float]
    images: dict[str, np.ndarray]


class Validator:
    """A fixed set of HR images (their centres), shrunk and upscaled at every validation.

    Raises:
        UserError: none of the images can be used.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        images: int,
        crop: int,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._autocast = autocast
        self._scorer = Scorer.best(SR_Y_CROP4, device)
        self._hr: dict[str, Tensor] = {}
        wanted = list(paths)
        for path in wanted:
            if len(self._hr) == images:
                break
            hr = _centre(torch.from_numpy(read_rgb(path)), crop)
            if min(hr.shape[-2:]) >= MIN_SIZE:
                self._hr[path.stem] = hr.unsqueeze(0).to(device)
        if not self._hr:
            raise UserError(
                f"data.validation: none of {len(wanted)} images is at least {MIN_SIZE}x{MIN_SIZE} pixels; give larger ones"
            )

    @property
    def protocol(self) -> str:
        """How the scores were taken, in a few words."""
        return f"{SR_Y_CROP4.name} on {len(self._hr)} validation images"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(metric.name for metric in self._scorer.metrics)

    def __call__(self, generator: nn.Module, shown: int = 3) -> Validation:
        """Upscale and score all images with `generator`; the first `shown` results come back as pictures."""
        return self._score(generator, shown)

    def bicubic(self) -> Validation:
        """The same for plain bicubic enlargement."""
        return self._score(bicubic_up, len(self._hr))

    def truth(self, shown: int = 3) -> dict[str, np.ndarray]:
        """The first HR images."""
        return {name: hr[0].cpu().numpy() for name, hr in list(self._hr.items())[:shown]}

    @torch.no_grad()
    def _score(self, enlarge: Callable[[Tensor], Tensor], shown: int) -> Validation:
        rows, pictures = [], {}
        for name, hr in self._hr.items():
            with self._autocast():
                sr = enlarge(degrade_bicubic(hr)).float().clamp(0, 1)
            rows += self._scorer.score(sr, hr)
            if len(pictures) < shown:
                pictures[name] = sr[0].cpu().numpy()
        return Validation({metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}, pictures)


def _centre(image: Tensor, crop: int) -> Tensor:
    height, width = (min(side, crop) // SCALE * SCALE for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[:, top : top + height, left : left + width]
