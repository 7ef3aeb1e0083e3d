"""Training crops decoded in the background, while the training computes: for more images than memory holds."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramgan.data.crew import LIMIT, PATIENCE, Crew
from gramgan.data.items import Item
from gramgan.data.source import CropSource, Demand, Taken
from gramgan.errors import UserError


class StreamedImages(CropSource):
    """Images, or pairs of images, that are read and cut when their turn comes: files, or members of archives.

    Of a JPEG or PNG no more is decoded than down to the crop's last row. A file that cannot be used is counted, named
    and replaced by another one, a worker that dies is replaced (see `gramgan.data.crew`). Nothing is checked
    beforehand: `gramgan prepare` does that once.

    Close it at the end, or use it in a `with` block.

    Raises:
        UserError: there are no images.
    """

    def __init__(
        self,
        items: Iterable[Item],
        demand: Demand,
        *,
        workers: int,
        patience: float = PATIENCE,
        limit: float = LIMIT,
    ) -> None:
        """`workers` processes decode; they start with the first batch."""
        super().__init__(items, demand)
        if not self.items:
            raise UserError("data.photos: there are no images to train on; give some")
        self.workers = workers
        self._patience, self._limit = patience, limit
        self._crew: Crew | None = None
        self._next = 0  # the number that the crew is at

    def __enter__(self) -> "StreamedImages":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. A further `next` would start new ones."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def processes(self) -> list[int]:
        """Process numbers of the workers that run now."""
        return self._crew.processes() if self._crew is not None else []

    def _take(self, numbers: range) -> Taken:
        if self._crew is None or self._next != self.position:  # also after `restore`
            self.close()
            self._crew = self._started()
        side, low_side = self.demand.crop, self.demand.crop // self.demand.scale
        paired = self.items[0].low is not None
        images = self._buffer(len(numbers), side)
        low = self._buffer(len(numbers), low_side) if paired else None
        names = []
        for row in range(len(numbers)):
            job = self._crew.take()
            assert job.crop is not None
            split = 3 * side * side
            samples = np.frombuffer(job.crop, np.uint8)
            images.numpy()[row] = samples[:split].reshape(3, side, side)
            if low is not None:
                low.numpy()[row] = samples[split:].reshape(3, low_side, low_side)
            names.append(self.items[self.order.draw(job.number, job.attempt).item].name)
        self._next = self.position + self.demand.batch
        return Taken(self._on_device(images), None if low is None else self._on_device(low), names)

    def _started(self) -> Crew:
        own = self.demand.batch // self.demand.share.world
        options: dict[str, Any] = {"patience": self._patience, "limit": self._limit}
        return Crew(
            self.items,
            self.order,
            self._numbers(self.position),
            side=self.demand.crop,
            augment=self.demand.augment,
            scale=self.demand.scale,
            workers=self.workers,
            ahead=max(4 * own, 8 * self.workers),
            troubles=self.troubles,
            **options,
        )

    def _numbers(self, position: int) -> Iterator[int]:
        """The crops of this process from `position` on, without end."""
        batch, share = self.demand.batch, self.demand.share
        for start in itertools.count(position, batch):
            yield from range(start, start + batch)[share.rows(batch // share.world)]

    def _buffer(self, count: int, side: int) -> Tensor:
        # From page-locked memory a copy to the GPU needs nobody to wait for it.
        pinned = torch.device(self.demand.device).type == "cuda"
        return torch.empty(count, 3, side, side, dtype=torch.uint8, pin_memory=pinned)

    def _on_device(self, images: Tensor) -> Tensor:
        if torch.device(self.demand.device).type == "cpu":
            # By NumPy: torch's threads would wait for one another where the workers keep all processors busy.
            return torch.from_numpy(images.numpy() / np.float32(255))
        return images.to(self.demand.device, non_blocking=True).float().div_(255)
