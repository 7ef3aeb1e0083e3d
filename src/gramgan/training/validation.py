"""Scores of the averaged generator on images that are not trained on."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gramgan.data.cutting import check_pair
from gramgan.data.items import Item
from gramgan.degradation import Degradation, seed_of
from gramgan.degradation.bicubic import Bicubic
from gramgan.errors import UserError, in_one_line
from gramgan.evaluation.protocols import Metric, sr_y
from gramgan.evaluation.scoring import Scorer
from gramgan.few import evenly_spread
from gramgan.metrics.texture_distance import MIN_SIZE
from gramgan.names import stand_in
from gramgan.ops.resize import back_project, bicubic_up

_SHOWN = 3  # pictures of a validation

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """Mean scores by metric name, and the first images as float32 `[3, H, W]` in [0, 1] by name."""

    scores: dict[str, float]
    images: dict[str, np.ndarray]


class ImageMetric(Protocol):
    """A metric that a user brought (see `gramgan.training.own`)."""

    @property
    def about(self) -> Metric:
        """Its name, and which way is better."""
        ...

    def __call__(self, sr: Tensor, hr: Tensor) -> float:
        """The score of RGB images `[1, 3, H, W]` in [0, 1]."""
        ...


class Validator:
    """A fixed set of HR images (their centres), degraded once, alike in every run, and upscaled at every validation.

    They are evenly spread over `items`; for unreadable and too small ones, which are logged, others are taken.
    With `consistent`, what a generator makes of them is back-projected, as it will be in use.

    Raises:
        UserError: none of the images can be used.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        images: int,
        crop: int,
        degradation: Degradation,
        consistent: bool,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[None]],
        own_metrics: Sequence[ImageMetric] = (),
    ) -> None:
        self._autocast = autocast
        self._consistent = consistent
        self._own = own_metrics
        self._scale = degradation.scale
        self._scorer = Scorer.best(sr_y(self._scale), device)
        self._degradation = degradation
        self._hr: dict[str, Tensor] = {}
        self._lr: dict[str, Tensor] = {}
        every = list(items)
        # Sub-images of one photograph follow one another: the first few would all be of the same one.
        first = evenly_spread(every, images)
        others = set(every).difference(first)
        for item in [*first, *(item for item in every if item in others)]:
            if len(self._hr) == images:
                break
            try:
                hr, lr = _centres(item, crop, self._scale)
            except Exception as error:  # noqa: BLE001 (one odd file must not end a training)
                _log.warning("left out of the validation: %s", in_one_line(error, item.high))
                continue
            if min(hr.shape[-2:]) < MIN_SIZE:
                _log.warning("left out of the validation: %s: smaller than %dx%d pixels", item.high, MIN_SIZE, MIN_SIZE)
                continue
            # Samples are named by it; in two folders there may be two images of one name.
            stem = stand_in(Path(item.name).stem)
            name = stem if stem not in self._hr else f"{stem}-{len(self._hr)}"
            self._hr[name] = hr.unsqueeze(0).to(device)
            if lr is not None:
                self._lr[name] = lr.unsqueeze(0).to(device)
        if not self._hr:
            raise UserError(
                f"data.validation: none of {len(every)} images can be validated on (readable and at least "
                f"{MIN_SIZE}x{MIN_SIZE} pixels, log.validation_crop too); give larger ones"
            )

        self._paired = bool(self._lr)
        self._lr = {
            name: self._lr[name] if name in self._lr else degradation(hr, [seed_of(name)])
            for name, hr in self._hr.items()
        }

    @property
    def protocol(self) -> str:
        """How the scores were taken, in a few words."""
        consistent = ", back-projected" if self._consistent else ""
        made = "" if self._degradation.name == Bicubic.name else f", LR by {self._degradation.name}"
        if self._paired:
            made = ", LR as given"
        return f"{sr_y(self._scale).name} on {len(self._hr)} validation images{made}{consistent}"

    @property
    def metrics(self) -> dict[str, Metric]:
        """What is scored, by name."""
        return {metric.name: metric for metric in (*self._scorer.metrics, *(own.about for own in self._own))}

    def __call__(self, generator: nn.Module) -> Validation:
        """Upscale and score all images with `generator`; the first results come back as pictures."""
        return self._score(generator, consistent=self._consistent)

    def bicubic(self) -> Validation:
        """Score plain bicubic enlargement in the same way."""
        return self._score(partial(bicubic_up, factor=self._scale), consistent=False)

    def truth(self) -> dict[str, np.ndarray]:
        """The HR images of the pictures."""
        return {name: hr[0].cpu().numpy() for name, hr in list(self._hr.items())[:_SHOWN]}

    def strips(self, validation: Validation) -> dict[str, np.ndarray]:
        """The pictures of a validation, each between bicubic enlargement and truth: float32 `[3, H, 3 W]` in [0, 1]."""
        truth = self.truth()
        bicubic = {name: bicubic_up(self._lr[name], self._scale)[0].float().clamp(0, 1).cpu().numpy() for name in truth}
        return {
            name: np.concatenate((bicubic[name], image, truth[name]), axis=2)
            for name, image in validation.images.items()
        }

    @torch.no_grad()
    def _score(self, enlarge: Callable[[Tensor], Tensor], *, consistent: bool) -> Validation:
        rows, pictures = [], {}
        for name, hr in self._hr.items():
            with self._autocast():
                sr = enlarge(self._lr[name])
            sr = sr.float().clamp(0, 1)
            if consistent:
                sr = back_project(self._lr[name], sr)
            scores = self._scorer.score(sr, hr)
            rows += [{**row, **{own.about.name: own(sr, hr) for own in self._own}} for row in scores]
            if len(pictures) < _SHOWN:
                pictures[name] = sr[0].cpu().numpy()
        return Validation({metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}, pictures)


class Validations:
    """Several named sets, as one `Validator`: the first one's scores and pictures, and the others' as `NAME/score`."""

    def __init__(self, sets: Mapping[str, Validator]) -> None:
        """`sets` has at least one."""
        self._first, *_ = sets.values()
        self._others = dict(list(sets.items())[1:])
        self.truth, self.strips = self._first.truth, self._first.strips

    @property
    def protocol(self) -> str:
        """Of the first set; the others' too."""
        others = "".join(f"; {name}: {validator.protocol}" for name, validator in self._others.items())
        return self._first.protocol + others

    @property
    def metrics(self) -> dict[str, Metric]:
        """What is scored, by name."""
        others = {
            f"{name}/{metric}": about
            for name, validator in self._others.items()
            for metric, about in validator.metrics.items()
        }
        return self._first.metrics | others

    def __call__(self, generator: nn.Module) -> Validation:
        """Score a generator on every set; the first set's scores have no prefix."""
        return self._joined(lambda validator: validator(generator))

    def bicubic(self) -> Validation:
        """The scores of plain bicubic enlargement on every set."""
        return self._joined(Validator.bicubic)

    def _joined(self, score: Callable[[Validator], Validation]) -> Validation:
        first = score(self._first)
        scores = dict(first.scores)
        for name, validator in self._others.items():
            scores |= {f"{name}/{metric}": value for metric, value in score(validator).scores.items()}
        return Validation(scores, first.images)


def _centres(item: Item, crop: int, scale: int) -> tuple[Tensor, Tensor | None]:
    """The centre of an image, at most `crop` HR pixels a side, and the same part of its LR image if it has one."""
    high = item.high.open()
    hr = torch.from_numpy(high.read_rgb())
    if item.low is None:
        return _centre(hr, crop // scale * scale, scale), None
    low = item.low.open()
    check_pair(item, high.info, low.info, scale)
    part = crop // scale
    # The same on both grids: LR's centre, and HR's `scale` times as far from the corner.
    lr = _centre(torch.from_numpy(low.read_rgb()), part, 1)
    height, width = lr.shape[-2:]
    top, left = (low.info.height - height) // 2 * scale, (low.info.width - width) // 2 * scale
    height, width = height * scale, width * scale
    return hr[:, top : top + height, left : left + width], lr


def _centre(image: Tensor, crop: int, step: int) -> Tensor:
    height, width = (min(side, crop) // step * step for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[:, top : top + height, left : left + width]
