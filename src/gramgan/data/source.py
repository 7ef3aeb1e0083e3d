"""What every source of training crops has in common: what is asked of it, and what it gives."""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramgan.data.items import Item
from gramgan.data.order import Order
from gramgan.data.troubles import SourceEvents, Troubles
from gramgan.share import WHOLE, Share

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demand:
    """What a training asks of its source.

    `crop` is the side of HR crops in pixels, `batch` the number of crops of a step in all processes together, of which
    this process gets the part `share`. `seed` decides which image every crop is cut from, and where; `augment` turns
    and flips the crops. LR images of pairs are `scale` times smaller than their HR images.
    """

    crop: int
    batch: int
    seed: int = 0
    augment: bool = True
    device: str | torch.device = "cpu"
    share: Share = WHOLE
    scale: int = 4


class Crops(NamedTuple):
    """HR crops of a step.

    `images` are float32 `[B, 3, crop, crop]` in [0, 1] on the device, those of one process; `names` says which
    photographs those of all processes come from (those of other processes as drawn: an image that cannot be read is
    replaced where it is met). `low` are the LR crops `[B, 3, crop / scale, crop / scale]` of a source of pairs;
    without them LR is made from HR, `seeds[i]` decides how for `images[i]`.
    """

    images: Tensor
    names: tuple[str, ...]
    low: Tensor | None = None
    seeds: tuple[int, ...] = ()


class Taken(NamedTuple):
    """The HR and LR crops of one process, as in `Crops`, and the names of its images."""

    images: Tensor
    low: Tensor | None
    names: list[str]


class CropSource(ABC):
    """Training crops, one batch after another, the same for the same seed whatever the source, machine and processes.

    With several processes, every one builds its source with the whole batch's size and its own `Demand.share`: each
    gets its rows of what one process would get, in the order of the ranks, and keeps the position of all. So `state`
    is the same in every process, and a run may go on with another number of them.

        source = …(items, Demand(crop=192, batch=16, share=Share(rank, world)))
        source.restore(checkpoint["data"])
        hr = source.next().images
        checkpoint["data"] = source.state()
    """

    def __init__(self, items: Iterable[Item], demand: Demand) -> None:
        """Begin with the first crop.

        Raises:
            ValueError: the batch cannot be shared equally.
        """
        if demand.batch % demand.share.world:
            raise ValueError(f"a batch of {demand.batch} cannot be shared by {demand.share.world} processes")
        self.items = list(items)
        self.demand = demand
        self.order = Order(len(self.items), demand.seed)
        self.position = 0
        self.troubles = Troubles()

    def __len__(self) -> int:
        """How many images there are to draw from."""
        return len(self.items)

    def next(self) -> Crops:
        """The next batch; float32 on the device (see `Crops`).

        Raises:
            UserError: hardly any image can be read.
        """
        batch, share = self.demand.batch, self.demand.share
        numbers = range(self.position, self.position + batch)
        own = share.rows(batch // share.world)
        taken = self._take(numbers[own])
        names = [self.items[self.order.draw(number).item].name for number in numbers]
        names[own] = taken.names
        self.position += batch
        return Crops(taken.images, tuple(names), taken.low, tuple(self.order.seed(number) for number in numbers[own]))

    def state(self) -> dict[str, Any]:
        """The position in the data, for a checkpoint."""
        return {"position": self.position, "images": len(self), "listing": self._listing()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; with other images than then, that is said in the log."""
        self.position = state["position"]
        if state["listing"] != self._listing():
            _log.warning(
                "the %d images to train on are not those that the checkpoint knows (%d): other crops follow from here",
                len(self),
                state["images"],
            )

    def look(self) -> SourceEvents:
        """What happened since the last call."""
        return self.troubles.look()

    def close(self) -> None:  # noqa: B027 (most sources have nothing to end)
        """End what works in the background; the source cannot be used after it."""

    @abstractmethod
    def _take(self, numbers: range) -> Taken:
        """The crops of those numbers."""

    def _listing(self) -> str:
        names = "\n".join(item.name for item in self.items)
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]
