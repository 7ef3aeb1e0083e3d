"""Training photographs held as 8-bit images in the training device's memory; crops are cut there."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.images import read_rgb8
from gramgan.progress import Progress, silent
from gramgan.share import WHOLE, Share

_LISTED = 5  # photographs left out that a message names

log = logging.getLogger(__name__)


class Crops(NamedTuple):
    """HR crops of a step.

    `images` are float32 `[B, 3, crop, crop]` in [0, 1] on the device, those of one process; `names` says which
    photographs those of all processes come from.
    """

    images: Tensor
    names: tuple[str, ...]


class ResidentPhotos:
    """All photographs as uint8 on one device, and random HR crops of them.

    Every photograph has the same chance, whatever its size. Unreadable ones and ones smaller than a crop are left out,
    logged and kept in `skipped` (path and reason).

    Raises:
        UserError: nothing is left to train on.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        crop: int,
        device: str | torch.device = "cpu",
        *,
        augment: bool = True,
        progress: Progress = silent,
    ) -> None:
        self.crop = crop
        self.augment = augment
        self.skipped: dict[Path, str] = {}
        self._photos: list[Tensor] = []
        self._names: list[str] = []
        every = list(paths)
        for number, path in enumerate(every, start=1):
            self._add(path, device)
            progress(number, len(every))
        listing = "; ".join(f"{path.name} ({reason})" for path, reason in list(self.skipped.items())[:_LISTED])
        if len(self.skipped) > _LISTED:
            listing += f"; and {len(self.skipped) - _LISTED} more"
        if not self._photos:
            raise UserError(
                f"data.photos: none of {len(every)} images can be trained on: {listing}; give photographs of at least "
                f"{crop}x{crop} pixels or a smaller data.crop"
            )
        if self.skipped:
            log.warning("%d of %d photographs are left out: %s", len(self.skipped), len(every), listing)

    def _add(self, path: Path, device: str | torch.device) -> None:
        try:
            photo = torch.from_numpy(read_rgb8(path))
        except UserError as error:
            self.skipped[path] = str(error).removeprefix(f"{path}: ")
            return
        if min(photo.shape[-2:]) < self.crop:
            self.skipped[path] = f"{photo.shape[-1]}x{photo.shape[-2]} is smaller than a crop of {self.crop}"
            return
        self._photos.append(photo.to(device))
        self._names.append(path.name)

    def __len__(self) -> int:
        return len(self._photos)

    def sample(self, batch: int, generator: torch.Generator, share: Share = WHOLE) -> Crops:
        """Random crops, flipped and turned if `augment`: this process's share of `batch`.

        `generator` is a CPU generator; its state alone decides what is drawn, for all processes alike.
        """
        drawn = [self._crop(generator) for _ in range(batch)]
        own = drawn[share.rows(batch // share.world)]
        images = torch.stack([crop for _, crop in own]).float().div_(255)
        return Crops(images, tuple(name for name, _ in drawn))

    def _crop(self, generator: torch.Generator) -> tuple[str, Tensor]:
        number = _draw(len(self._photos), generator)
        photo = self._photos[number]
        top = _draw(photo.shape[-2] - self.crop + 1, generator)
        left = _draw(photo.shape[-1] - self.crop + 1, generator)
        crop = photo[:, top : top + self.crop, left : left + self.crop]
        if self.augment:
            turn = _draw(8, generator)  # the eight symmetries of the square
            crop = torch.rot90(crop, turn % 4, (-2, -1))
            if turn >= 4:
                crop = crop.flip(-1)
        return self._names[number], crop


def _draw(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))
