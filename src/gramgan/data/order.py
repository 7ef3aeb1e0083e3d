"""Which image every training crop is cut from, and where: a function of the seed and of the crop's number alone.

Crops are numbered from 0 over a whole training. So the position in the data is one number, whatever reads the images:
another source, another number of workers or of processes, and a training that was resumed get the same crops. The
random words are Philox's own (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), a function of key
and counter, which no later version of NumPy will change.
"""

from dataclasses import dataclass

import numpy as np

_EPOCHS, _CROPS, _SEEDS = 0, 1, 2  # second word of the key: what the random words are for
_KEPT = 2  # orders of epochs: one that ends and the one that begins


@dataclass(frozen=True)
class Draw:
    """What was drawn for one crop: the image's index, and 64 random bits for each edge and 3 for the turn."""

    item: int
    top: int
    left: int
    turn: int

    def corner(self, height: int, width: int, side: int) -> tuple[int, int]:
        """(y, x) of a crop of `side` pixels in an image of at least that size; every place has the same chance."""
        return self.top * (height - side + 1) >> 64, self.left * (width - side + 1) >> 64

    def turned(self, crop: np.ndarray) -> np.ndarray:
        """A view of `[C, H, W]`, `turn` % 4 quarter turns on and flipped from 4 on: the square's eight symmetries."""
        crop = np.rot90(crop, self.turn % 4, (1, 2))
        return crop[:, :, ::-1] if self.turn >= 4 else crop


class Order:
    """The order of `count` images: every epoch takes each image once, in an order of its own."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self._seed = seed
        self._epochs: dict[int, np.ndarray] = {}

    def draw(self, number: int, attempt: int = 0) -> Draw:
        """What crop `number` is cut from.

        `attempt` counts the images that had to be passed over for this crop, because they cannot be read: each further
        one is drawn anew from all. They move nothing for other crops.
        """
        chance, top, left, turn = self._words(_CROPS, number, attempt, 4).tolist()
        item = chance * self.count >> 64 if attempt else self._in_epoch(number)
        return Draw(item, top, left, turn >> 61)

    def seed(self, number: int) -> int:
        """What is random about the LR image of crop `number` is drawn from this seed, 0 ≤ seed < 2⁶³."""
        return int(self._words(_SEEDS, number, 0, 1)[0]) >> 1

    def _in_epoch(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if epoch not in self._epochs:
            while len(self._epochs) >= _KEPT:
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = np.argsort(self._words(_EPOCHS, epoch, 0, self.count), kind="stable")
        return int(self._epochs[epoch][place])

    def _words(self, purpose: int, number: int, attempt: int, count: int) -> np.ndarray:
        return np.random.Philox(key=[self._seed, purpose], counter=[0, attempt, number, 0]).random_raw(count)
