"""What a place in low resolution could be: real patches of other pictures that look alike there, for a training.

A place is a window of 24 pixels of the truth. Its key is how low resolution looks there to the generator that a
training starts from: energies of shallow features of that generator's result, in the window and around it, and the
window's colour. Its value is the real texture. So a place is compared with what other places looked like before
anybody knew their texture, not with their texture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gramgan.networks.discriminator import SLOPE
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.ops.bicubic import SCALE
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.encoding import gram_vectors, texture_channels

WINDOW = 24
CROP = 72
MARGIN = 24
"""Around a crop where it is degraded and looked at, so that its border is none."""
COUNT = 8
"""How many answers a place gets."""
DIRECTIONS, QUANTILES = 24, 24

Enlarge = Callable[[Tensor], Tensor]
Degrade = Callable[[Tensor, int], Tensor]
"""HR `[B, 3, H, W]` and a seed → LR."""


class Shallow:
    """A trunk's second convolution on fixed random directions of its channels, which are scaled to vary alike."""

    def __init__(self, trunk: PerceptualTrunk, images: Sequence[Tensor]) -> None:
        first, second = (trunk.features[index] for index in ("0", "2"))
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        self._mean, self._std, self._first = trunk.mean, trunk.std, first
        channels = second.out_channels
        basis = torch.linalg.qr(torch.randn(channels, channels, generator=torch.Generator().manual_seed(7))).Q
        with torch.no_grad():
            spread = torch.cat([second(self._early(each)).transpose(0, 1).flatten(1) for each in images], dim=1).std(1)
            self._weight = torch.einsum("dc,cijk->dijk", basis[:DIRECTIONS] / spread, second.weight)

    def _early(self, images: Tensor) -> Tensor:
        return F.relu(self._first((images - self._mean) / self._std))

    def __call__(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] → `[B, DIRECTIONS, H, W]`, without a constant that windows take off anyway."""
        return F.conv2d(self._early(images), self._weight, padding=1)


def windows(maps: Tensor) -> Tensor:
    """`[B, C, H, W]` → `[B, N, C, WINDOW²]`, row by row, each without its mean; what no window covers is left out."""
    rows, columns = (side // WINDOW for side in maps.shape[-2:])
    whole = maps[..., : rows * WINDOW, : columns * WINDOW]
    cells = whole.unflatten(3, (columns, WINDOW)).unflatten(2, (rows, WINDOW)).permute(0, 2, 4, 1, 3, 5)
    cells = cells.flatten(4).flatten(1, 2)
    return cells - cells.mean(dim=-1, keepdim=True)


def quantiles(cells: Tensor) -> Tensor:
    """The distribution along each direction: `[..., D, WINDOW²]` → `[..., D, QUANTILES]`."""
    return cells.sort(dim=-1).values.unflatten(-1, (QUANTILES, -1)).mean(dim=-1)


def colour_grams(images: Tensor) -> Tensor:
    """Gram vectors of colours and their derivatives: `[B, N, 45]`, as the method's L_PT compares them."""
    return gram_vectors(windows(texture_channels(images, "rgb-gradient")), centred=False)


def looks(shallow: Shallow, images: Tensor) -> Tensor:
    """How each window of a generator's results looks: `[B, N, 2 DIRECTIONS + 3]`."""
    rows = images.shape[-2] // WINDOW
    energy = windows(shallow(images)).square().mean(dim=-1).transpose(1, 2).unflatten(2, (rows, -1))
    around = F.avg_pool2d(energy, 3, stride=1, padding=1, count_include_pad=False)
    colour = F.avg_pool2d(images, WINDOW)
    return torch.cat([(energy + 1e-4).log(), (around + 1e-4).log(), colour], dim=1).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Bank:
    """Places of the database with their values; `source` is the number of the picture."""

    keys: Tensor
    patches: Tensor
    quantiles: Tensor
    colour_grams: Tensor
    grams: Tensor
    source: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, pictures: Sequence[Tensor], shallow: Shallow, start: Enlarge, degrade: Degrade) -> "Bank":
        """Of pictures `[1, 3, H, W]`, each degraded as a training's crops are."""
        found: list[list[Tensor]] = []
        for number, picture in enumerate(pictures):
            height, width = (side // WINDOW * WINDOW for side in picture.shape[-2:])
            hr = picture[..., :height, :width]
            cells = windows(shallow(hr))[0]
            patches = hr.mul(255).round().byte().unflatten(3, (-1, WINDOW)).unflatten(2, (-1, WINDOW))
            found.append(
                [
                    looks(shallow, start(degrade(hr, number)))[0],
                    patches.permute(0, 2, 4, 1, 3, 5)[0].flatten(0, 1),
                    quantiles(cells).half(),
                    colour_grams(hr)[0],
                    gram_vectors(cells, centred=False),
                    torch.full([len(cells)], number),
                ]
            )
        return cls(*(torch.cat(each) for each in zip(*found, strict=True)))

    def nearest(self, keys: Tensor, source: Tensor | None = None) -> Tensor:
        """The `COUNT` nearest places `[B, N, COUNT]` of keys `[B, N, D]`, none of the picture `source[i]`."""
        scale = self.keys.std(dim=0)
        found = []
        for number, each in enumerate(keys):
            distance = torch.cdist(each / scale, self.keys / scale)
            if source is not None:
                distance[:, self.source == source[number]] = torch.inf
            found.append(distance.topk(COUNT, largest=False).indices)
        return torch.stack(found)


@dataclass(frozen=True)
class Pool:
    """Crops with their low resolution and what was retrieved for each of their windows, `rows` `[M, N, COUNT]`."""

    hr: Tensor
    lr: Tensor
    rows: Tensor
    drawn: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        pictures: Sequence[Tensor],
        numbers: Sequence[int],
        bank: Bank,
        shallow: Shallow,
        start: Enlarge,
        degrade: Degrade,
        *,
        of_bank: bool = False,
    ) -> "Pool":
        """A crop of each picture named; `of_bank`: they are the database's own, which do not answer themselves."""
        hr, lr, keys = [], [], []
        edge, side = MARGIN // WINDOW, (CROP + 2 * MARGIN) // WINDOW
        for crop in drawn_crops(pictures, numbers, degrade):
            hr.append(crop.hr.mul(255).round().byte())
            lr.append(crop.lr)
            every = looks(shallow, start(crop.around)).unflatten(1, (side, side))
            keys.append(every[:, edge:-edge, edge:-edge].flatten(1, 2))
        rows = bank.nearest(torch.cat(keys), torch.tensor(numbers) if of_bank else None)
        drawn = torch.randint(len(bank.keys), rows.shape, generator=torch.Generator().manual_seed(3))
        return cls(torch.cat(hr), torch.cat(lr), rows, drawn)


class Crop(NamedTuple):
    """HR `[1, 3, CROP, CROP]` with its LR, and LR with `MARGIN` of HR `around` it."""

    hr: Tensor
    lr: Tensor
    around: Tensor


def drawn_crops(pictures: Sequence[Tensor], numbers: Sequence[int], degrade: Degrade) -> Iterator[Crop]:
    """A crop of each picture named, the same in every run."""
    random = torch.Generator().manual_seed(1)
    side = CROP + 2 * MARGIN
    high, low = slice(MARGIN, MARGIN + CROP), slice(MARGIN // SCALE, (MARGIN + CROP) // SCALE)
    for seed, number in enumerate(numbers):
        picture = pictures[number]
        top, left = (int(torch.randint(size - side + 1, (), generator=random)) for size in picture.shape[-2:])
        hr = picture[..., top : top + side, left : left + side]
        if torch.randint(2, (), generator=random):
            hr = hr.flip(-1)
        around = degrade(hr, seed)
        yield Crop(hr[..., high, high], around[..., low, low], around)


class Step:
    """The crops of a training's steps, and what the database says of those at hand."""

    def __init__(self, bank: Bank, shallow: Shallow, pool: Pool, real: Pool | None, *, seed: int, drawn: bool) -> None:
        """`real`: crops that D takes for real where the pool's truths are not to be known. `drawn`: a control."""
        self._bank, self._shallow, self._pool, self._real, self._drawn = bank, shallow, pool, real, drawn
        self._order, self._other = (
            torch.randperm(len(each.hr), generator=torch.Generator().manual_seed(seed)) for each in (pool, real or pool)
        )
        self._scales = bank.colour_grams.std(dim=0), bank.grams.std(dim=0)
        self.crops(0, 1, CROP)

    def crops(self, number: int, batch: int, crop: int) -> tuple[Tensor, Tensor]:
        """HR (or real crops of elsewhere) and LR of a step, which are what all else here is about from now on."""
        at = torch.arange(number * batch, (number + 1) * batch)
        chosen, other = self._order[at % len(self._order)], self._other[at % len(self._other)]
        real, there = (self._pool, chosen) if self._real is None else (self._real, other)
        self._rows = self._pool.drawn[chosen] if self._drawn else self._pool.rows[chosen]
        self._rows_real = real.drawn[there] if self._drawn else real.rows[there]
        self._hr = real.hr[there].float() / 255
        return self._hr, self._pool.lr[chosen]

    def _answers(self, values: Tensor, like: Tensor) -> Tensor:
        """Stored values of what was retrieved, `[B, N, COUNT, …]`, for windows `like` `[B, N, …]`."""
        rows = self._rows
        if like.shape[:2] != rows.shape[:2]:  # the engine tries losses on tensors of its own
            rows = rows[:1, :1].expand(*like.shape[:2], -1)
        return values[rows].float()

    def sliced(self, sr: Tensor, hr: Tensor, share: float) -> Tensor:
        """Sliced Wasserstein distance of windows' shallow features, by `share` to HR and else to the answers."""
        own = quantiles(windows(self._shallow(sr)))
        loss = own.new_zeros(())
        if share < 1:
            loss = (1 - share) * (own[:, :, None] - self._answers(self._bank.quantiles, own)).abs().mean()
        if share:
            with torch.no_grad():
                truth = quantiles(windows(self._shallow(hr)))
            loss = loss + share * (own - truth).abs().mean()
        return loss

    def distances(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Sliced distances from HR: of each answer, of the mean of them, of the nearest, and of the start's SR."""
        truth = quantiles(windows(self._shallow(hr)))
        answers = self._answers(self._bank.quantiles, truth)
        each = (answers - truth[:, :, None]).abs().mean(dim=(-1, -2))
        return {
            "each": each.mean(),
            "mean": (answers.mean(dim=2) - truth).abs().mean(),
            "nearest": each.min(dim=-1).values.mean(),
            "start": (quantiles(windows(self._shallow(sr))) - truth).abs().mean(),
        }

    def best(self, sr: Tensor, hr: Tensor) -> Tensor:
        """L_PT to the answer that is nearest to what lies half-way between SR and HR (best-buddy)."""
        own, scale = colour_grams(sr), self._scales[0]
        with torch.no_grad():
            query = (own + colour_grams(hr)) / 2
        return _to_nearest(own / scale, query / scale, self._answers(self._bank.colour_grams, own) / scale)

    def gram(self, sr: Tensor) -> Tensor:
        """L_PT in shallow features, to the answer nearest to SR itself: HR is not asked."""
        own, scale = gram_vectors(windows(self._shallow(sr)), centred=False), self._scales[1]
        return _to_nearest(own / scale, own.detach() / scale, self._answers(self._bank.grams, own) / scale)

    def shown(self, images: Tensor) -> Tensor:
        """What D sees beside `images` `[B, 3, H, W]`: the answers in their places, `[B, COUNT, 3, H, W]` in [0, 1]."""
        real = images.shape == self._hr.shape and torch.equal(images, self._hr)
        rows = (self._rows_real if real else self._rows)[: len(images)]
        rows = rows.expand(len(images), -1, -1)
        side = CROP // WINDOW
        patches = self._bank.patches[rows].unflatten(1, (side, side)).permute(0, 3, 4, 1, 5, 2, 6)
        return patches.flatten(5).flatten(3, 4).float() / 255


def _to_nearest(own: Tensor, query: Tensor, answers: Tensor) -> Tensor:
    chosen = (answers - query[:, :, None]).norm(dim=-1).argmin(dim=-1)
    return (own - answers.take_along_dim(chosen[..., None, None], dim=2)[:, :, 0]).abs().mean()


def consistency(sr: Tensor, lr: Tensor) -> Tensor:
    """L1 between SR, shrunk, and LR."""
    return F.l1_loss(matlab_bicubic_down(sr, quantise=False), lr)  # rounding has no gradient


class Judge(nn.Module):
    """A discriminator of places of 26 pixels; with `shown` it sees real patches beside each."""

    def __init__(self, shown: Callable[[Tensor], Tensor] | None, width: int = 32) -> None:
        super().__init__()
        self._shown = shown
        self.first = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.second = spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1))
        self.third = spectral_norm(nn.Conv2d(2 * width * (1 if shown is None else 2), 4 * width, 3, padding=1))
        self.last = nn.Conv2d(4 * width, 1, 3, padding=1)
        if shown is not None:
            self.beside = nn.Conv2d(3, width, 4, stride=2, padding=1)
            self.beside_second = spectral_norm(nn.Conv2d(width, width, 4, stride=2, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, 1, H/4, W/4]` of `[B, 3, H, W]` in [0, 1]."""
        x = _active(self.second(_active(self.first(images * 2 - 1))))
        if self._shown is not None:
            patches = self._shown(images)
            y = _active(self.beside_second(_active(self.beside(patches.flatten(0, 1) * 2 - 1))))
            y = y.unflatten(0, patches.shape[:2])
            x = torch.cat([x, y.mean(dim=1), y.std(dim=1)], dim=1)
        return self.last(_active(self.third(x)))


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)
