"""Examples, and a memory of their places by how they look in low resolution, for `texture_memory.py`."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from gramgan.condition import of_file
from gramgan.files import write_bytes
from gramgan.ops.bicubic import SCALE, enlarge
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.encoding import gram_vectors, texture_channels
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.measured import Measured
from gramgan.upscaling.refine import back_project_measured
from photo import KINDS, as_tensor

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
KEY = 7
PATCH, STEP = 24, 16
COUNT = 8
Plane = np.ndarray


@dataclass
class Example:
    """A truth, its low-resolution file and what the program makes of it: uint8 RGB `[H, W, 3]`."""

    hr: np.ndarray
    lr: np.ndarray
    sr: np.ndarray
    file: Path

    @cached_property
    def luma(self) -> tuple[Plane, Plane, Plane, Plane]:
        """HR, LR, SR and the bicubic enlargement of LR, float32 in [0, 1]."""
        hr, lr, sr = (each.astype(np.float32) @ LUMA / 255 for each in (self.hr, self.lr, self.sr))
        return hr, lr, sr, enlarge(lr[None])[0]

    @cached_property
    def measured(self) -> Measured:
        """What a result has to agree with, as the program sees it."""
        return Measured.of(of_file(self.file), 1.0)

    def finished(self, luma: Plane) -> Tensor:
        """SR with another luma, consistent and rounded, `[1, 3, H, W]`."""
        planes = self.sr.transpose(2, 0, 1) / np.float32(255) + (luma - self.luma[2])
        lr = np.ascontiguousarray(self.lr.transpose(2, 0, 1)) / np.float32(255)
        result, _, _ = back_project_measured(lr, np.clip(planes, 0, 1), self.measured)
        return torch.from_numpy(result).mul(255).round().div(255)[None]


def enlarged(hr: np.ndarray, kind: str, name: str, upscaling: Upscaling, folder: Path) -> Example:
    """The example of a truth; what is in `folder` already is read."""
    image = Image.fromarray(np.ascontiguousarray(hr))
    if kind == "clean":
        small = matlab_bicubic_down(as_tensor(image)).clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0)
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small.numpy()).save(file)
    else:
        data, suffix = KINDS[kind](image, np.random.default_rng(zlib.crc32(f"{kind} {name}".encode())))
        file = folder / f"{name}{suffix}"
        write_bytes(file, data)
    target = folder / f"{name}-sr.png"
    if not target.is_file():
        upscaling.file(file, target)
    lr, sr = (np.array(Image.open(each).convert("RGB")) for each in (file, target))
    return Example(hr, lr, sr, file)


def ways(planes: Sequence[Plane]) -> Iterator[list[Plane]]:
    """As they are, and mirrored."""
    for rows in (1, -1):
        for columns in (1, -1):
            yield [np.ascontiguousarray(plane[::rows, ::columns]) for plane in planes]


def windows(plane: Plane, side: int, step: int) -> Tensor:
    """What is around each cell of `step` pixels: `[N, side²]`."""
    before = (side - step) // 2
    pad = (before, side - step - before) * 2
    return F.unfold(F.pad(torch.from_numpy(plane)[None, None], pad, mode="reflect"), side, stride=step)[0].T


def keys(lr: Plane) -> tuple[Tensor, Tensor]:
    """The key of each low-resolution pixel, `[h, w, 49]`, and its contrast `[h, w]`."""
    around = windows(lr, KEY, 1).reshape(*lr.shape, KEY * KEY)
    around = around - around.mean(dim=-1, keepdim=True)
    contrast = around.square().mean(dim=-1).sqrt() + 2 / 255
    return around / contrast[..., None], contrast


def blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(ndimage.gaussian_filter(plane, sigma, mode="reflect", truncate=3))


class Memory:
    """Keys of one example's places with their values: planes that `of` makes of it."""

    def __init__(self, example: Example, of: Callable[[Plane, Plane, Plane, Plane], Plane]) -> None:
        edge = PATCH // 2 // SCALE
        found, contrasts, places = [], [], []
        self.planes: list[Plane] = []
        for planes in ways(example.luma):
            each, contrast = keys(planes[1])
            inner = slice(edge, -edge)
            rows, columns = np.mgrid[edge : each.shape[0] - edge, edge : each.shape[1] - edge]
            found.append(each[inner, inner].flatten(0, 1))
            contrasts.append(contrast[inner, inner].flatten())
            places.append(np.stack([np.full(rows.size, len(self.planes)), rows.ravel(), columns.ravel()], axis=1))
            self.planes.append(of(*planes))
        self.keys, self.contrasts, self.places = torch.cat(found), torch.cat(contrasts), np.concatenate(places)

    def nearest(self, lr: Plane, step: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Distances and rows of the k nearest `[h, w, k]` of every `step`-th low-resolution pixel, its contrast."""
        wanted, contrast = (each[::step, ::step] for each in keys(lr))
        distances, rows = torch.cdist(wanted.flatten(0, 1), self.keys).topk(k, largest=False)
        size = wanted.shape[:2]
        return distances.reshape(*size, k), rows.reshape(*size, k), contrast

    def patch(self, row: int, contrast: float, plane: Plane | None = None) -> Plane:
        """A value `[24, 24]`, scaled to a contrast."""
        number, y, x = self.places[row]
        top, left = (SCALE * at + SCALE // 2 - PATCH // 2 for at in (y, x))
        whole = self.planes[number] if plane is None else plane
        return whole[top : top + PATCH, left : left + PATCH] * np.clip(contrast / float(self.contrasts[row]), 1 / 3, 3)

    def woven(self, lr: Plane, how: str) -> Plane:
        """A plane four times as large as `lr`, woven of overlapping patches of equal energy.

        `how`: nearest, random, mean (of eight, plain average) or coherent.
        """
        step = STEP // SCALE
        distances, rows, contrast = self.nearest(lr, step, COUNT)
        if how == "random":
            rows = torch.from_numpy(np.random.default_rng(0).integers(0, len(self.keys), tuple(rows.shape)))
        ramp = np.sin(np.pi / 2 * np.clip((np.minimum(np.arange(PATCH), PATCH - 1 - np.arange(PATCH)) + 0.5) / 8, 0, 1))
        weight = np.outer(ramp, ramp).astype(np.float32)
        out, norm = (np.zeros([SCALE * side + 2 * PATCH for side in lr.shape], np.float32) for _ in range(2))
        chosen: dict[tuple[int, int], int] = {}
        for i, j in np.ndindex(*rows.shape[:2]):
            top, left = (PATCH + STEP * at + SCALE // 2 - PATCH // 2 for at in (i, j))
            here = slice(top, top + PATCH), slice(left, left + PATCH)
            level = float(contrast[i, j])
            if how == "mean":
                patch = np.mean([self.patch(int(row), level) for row in rows[i, j]], axis=0)
            else:
                row = int(rows[i, j, 0])
                if how == "coherent":
                    so_far = out[here] / np.sqrt(np.maximum(norm[here], 1e-6))
                    row = self._continued(i, j, rows, distances, chosen, so_far, norm[here] > 0, level)
                chosen[i, j] = row
                patch = self.patch(row, level)
            out[here] += weight * patch
            norm[here] += weight * weight if how != "mean" else weight
        norm = np.maximum(norm, 1e-6) if how == "mean" else np.sqrt(np.maximum(norm, 1e-6))
        return (out / norm)[PATCH:-PATCH, PATCH:-PATCH]

    def _continued(
        self,
        i: int,
        j: int,
        rows: Tensor,
        distances: Tensor,
        chosen: dict[tuple[int, int], int],
        so_far: Plane,
        there: Plane,
        contrast: float,
    ) -> int:
        """Of the nearest and of what continues the patches above and to the left, the least seam and distance."""
        candidates = {int(row): float(distance) for row, distance in zip(rows[i, j], distances[i, j], strict=True)}
        step = STEP // SCALE
        for before, shift in (((i - 1, j), (step, 0)), ((i, j - 1), (0, step))):
            if before in chosen:
                place = self.places[chosen[before]] + (0, *shift)
                if found := self._row_of.get(tuple(place)):
                    candidates.setdefault(found, float(distances[i, j, -1]))
        scale = float(distances[i, j, 0]) + 1e-6
        energy = float(np.square(so_far[there]).mean()) + 1e-6 if there.any() else 1.0

        def cost(row: int) -> float:
            seam = float(np.square((self.patch(row, contrast) - so_far)[there]).mean()) if there.any() else 0.0
            return candidates[row] / scale + seam / energy

        return min(candidates, key=cost)

    @cached_property
    def _row_of(self) -> dict[tuple[int, ...], int]:
        return {tuple(place): row for row, place in enumerate(self.places)}

    def confidence(self, lr: Plane) -> Plane:
        """1 where a key is as near as half of the database's keys are to others of it, 0 where as few as 5 %."""
        _, y, x = self.places[self.places[:, 0] == 0][::7].T
        own = torch.cdist(self.keys[: (self.places[:, 0] == 0).sum()][::7], self.keys)
        others = torch.from_numpy(self.places)
        near = (others[None, :, 1] - torch.from_numpy(y)[:, None]).abs() < KEY
        near &= (others[None, :, 2] - torch.from_numpy(x)[:, None]).abs() < KEY
        own[near] = torch.inf  # a key's own surroundings, whichever way round
        usual = own.min(dim=1).values
        half, rare = (float(usual.quantile(q)) for q in (0.5, 0.95))
        distance = self.nearest(lr, 1, 1)[0][..., 0].numpy()
        sure = np.clip((rare - distance) / max(rare - half, 1e-6), 0, 1)
        return np.clip(enlarge(blurred(sure, 2)[None])[0], 0, 1)


def coverage(database: Example, example: Example, part: int) -> dict[str, float]:
    """Distance of the nearest of k answers' texture from the truth's, over that of k drawn ones.

    Args:
        database: whose every `part`-th place is there.
        example: the held-out picture.
        part: the database's size as a fraction.
    """
    side, edge = 16, 2

    def textures(picture: np.ndarray) -> Tensor:
        image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        channels = texture_channels(image, "rgb-gradient")[..., : image.shape[2], : image.shape[3]]
        cells = channels.unfold(2, side, SCALE).unfold(3, side, SCALE)[0].permute(1, 2, 0, 3, 4).flatten(3)
        return gram_vectors(cells, centred=True)

    def inner(lr: Plane) -> Tensor:  # the low-resolution pixel right of and below each patch's middle
        size = [s - side // SCALE + 1 for s in lr.shape]
        return keys(lr)[0][edge : edge + size[0], edge : edge + size[1]]

    pick = np.random.default_rng(1).permutation(len(inner(database.luma[1]).flatten(0, 1)))[::part].copy()
    stored, looks = textures(database.hr).flatten(0, 1)[pick], inner(database.luma[1]).flatten(0, 1)[pick]
    scale = stored.std(dim=0) + 1e-9
    stored = stored / scale
    truth, guess = (textures(each)[::4, ::4].flatten(0, 1) / scale for each in (example.hr, example.sr))
    wanted = inner(example.luma[1])[::4, ::4].flatten(0, 1)
    textured = truth[:, 0] > truth[:, 0].median()
    far = torch.cdist(truth[textured], stored)
    drawn = torch.from_numpy(np.random.default_rng(2).integers(0, len(stored), (int(textured.sum()), COUNT)))
    found = {}
    for k in (1, COUNT):
        chance = far.gather(1, drawn[:, :k]).min(dim=1).values.mean()
        answers = {
            "keys": torch.cdist(wanted[textured], looks).topk(k, largest=False).indices,
            "Gram of SR": torch.cdist(guess[textured], stored).topk(k, largest=False).indices,
            "best there": far.topk(1, largest=False).indices,
        }
        for name, rows in answers.items():
            found[f"{name}, k = {k}"] = float(far.gather(1, rows).min(dim=1).values.mean() / chance)
    return found
