"""All training images held as 8-bit images in the training device's memory; crops are cut there."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from gramgan.data.cutting import check_crop_fits, check_pair
from gramgan.data.items import Item
from gramgan.data.order import Draw
from gramgan.data.source import CropSource, Demand, Taken
from gramgan.errors import UserError, in_one_line
from gramgan.hardware.processor import threads
from gramgan.progress import Progress, silent

_LISTED = 5  # images left out that a message names

_log = logging.getLogger(__name__)


class ResidentPhotos(CropSource):
    """All images, or pairs of images, as uint8 on one device.

    Every image has the same chance, whatever its size. Unreadable ones and ones smaller than a crop are left out,
    logged and kept in `skipped` (reason by name).

    Raises:
        UserError: nothing is left to train on.
    """

    def __init__(self, items: Iterable[Item], demand: Demand, *, progress: Progress = silent) -> None:
        self.skipped: dict[str, str] = {}
        self._images: list[tuple[Tensor, Tensor | None]] = []
        every, kept = list(items), []
        pool = ThreadPoolExecutor(threads())
        try:
            for number, (item, image) in enumerate(zip(every, pool.map(partial(_load, demand), every), strict=True), 1):
                if isinstance(image, UserError):
                    self.skipped[item.name] = str(image).removeprefix(f"{item.high}: ")
                else:
                    self._images.append(image)
                    kept.append(item)
                progress(number, len(every))
        finally:
            pool.shutdown(cancel_futures=True)  # also at Ctrl-C
        listing = "; ".join(f"{name} ({reason})" for name, reason in list(self.skipped.items())[:_LISTED])
        if len(self.skipped) > _LISTED:
            listing += f"; and {len(self.skipped) - _LISTED} more"
        if not kept:
            raise UserError(
                f"data.photos: none of {len(every)} images can be trained on: {listing}; give photographs of at least "
                f"{demand.crop}x{demand.crop} pixels or a smaller data.crop"
            )
        super().__init__(kept, demand)
        if self.skipped:
            _log.warning("%d of %d photographs are left out: %s", len(self.skipped), len(every), listing)
            for name, reason in self.skipped.items():
                self.troubles.add(name, reason, logged=False)

    def _take(self, numbers: range) -> Taken:
        side = self.demand.crop
        crops, low_crops, names = [], [], []
        for number in numbers:
            draw = self.order.draw(number)
            high, low = self._images[draw.item]
            if low is None:
                y, x = draw.corner(high.shape[-2], high.shape[-1], side)
            else:
                part = side // self.demand.scale
                y, x = draw.corner(low.shape[-2], low.shape[-1], part)
                low_crops.append(self._finished(low[:, y : y + part, x : x + part], draw))
                y, x = y * self.demand.scale, x * self.demand.scale
            crops.append(self._finished(high[:, y : y + side, x : x + side], draw))
            names.append(self.items[draw.item].name)
        return Taken(_batch(crops), _batch(low_crops) if low_crops else None, names)

    def _finished(self, crop: Tensor, draw: Draw) -> Tensor:
        if self.demand.augment:
            crop = torch.rot90(crop, draw.turn % 4, (-2, -1))
            if draw.turn >= 4:
                crop = crop.flip(-1)
        return crop


def _batch(crops: list[Tensor]) -> Tensor:
    return torch.stack(crops).float().div_(255)


def _load(demand: Demand, item: Item) -> tuple[Tensor, Tensor | None] | UserError:
    try:
        high, low = item.high.open(), None if item.low is None else item.low.open()
        check_crop_fits(item, high.info, demand.crop)
        if low is not None:
            check_pair(item, high.info, low.info, demand.scale)
        pixels = [one.read_rgb8() for one in (high, low) if one is not None]
    except Exception as error:  # noqa: BLE001 (one odd file must not end a training)
        return UserError(in_one_line(error, item.name))
    on_device = [torch.from_numpy(one).to(demand.device) for one in pixels]
    return on_device[0], None if low is None else on_device[1]
