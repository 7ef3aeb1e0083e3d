"""Examples, and what the study does with their places besides what the program does, for `texture_memory.py`."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gramgan.condition import of_file
from gramgan.files import write_bytes
from gramgan.images import read_rgb
from gramgan.ops.bicubic import SCALE
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.encoding import gram_vectors, texture_channels
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.measured import Measured
from gramgan.upscaling.texture_memory import PATCH, STEP, Example, Memory, Plane, keys
from photo import KINDS, as_tensor

COUNT = 8


@dataclass(frozen=True)
class Held(Example):
    """An example with the file of its low-resolution picture."""

    file: Path


def enlarged(hr: np.ndarray, kind: str, name: str, upscaling: Upscaling, folder: Path) -> Held:
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
    truth = np.ascontiguousarray(hr.transpose(2, 0, 1)) / np.float32(255)
    return Held(truth, read_rgb(file), read_rgb(target), Measured.of(of_file(file), 1.0), file)


class Places(Memory):
    """A memory that weaves in other ways as well."""

    def woven_by(self, lr: Plane, how: str) -> Plane:
        """A plane four times as large as `lr`, woven of overlapping patches.

        `how`: nearest or random as in the program, mean (of eight, plain average) or coherent.
        """
        if how in ("nearest", "random"):
            return self.woven(lr, drawn=how == "random")
        step = STEP // SCALE
        wanted, contrast = keys(lr, step)
        distances, rows = self.nearest(wanted, COUNT)
        ramp = np.sin(np.pi / 2 * np.clip((np.minimum(np.arange(PATCH), PATCH - 1 - np.arange(PATCH)) + 0.5) / 8, 0, 1))
        weight = np.outer(ramp, ramp).astype(np.float32)
        out, norm = (np.zeros([SCALE * side + 2 * PATCH for side in lr.shape], np.float32) for _ in range(2))
        chosen: dict[tuple[int, int], int] = {}
        for i, j in np.ndindex(*rows.shape[:2]):
            top, left = (PATCH + STEP * at + SCALE // 2 - PATCH // 2 for at in (i, j))
            here = slice(top, top + PATCH), slice(left, left + PATCH)
            level = contrast[i, j]
            if how == "mean":
                patch = self.patches(rows[i, j], level.expand(COUNT)).mean(axis=0)
            else:
                so_far = out[here] / np.sqrt(np.maximum(norm[here], 1e-6))
                row = self._continued(i, j, rows, distances, chosen, so_far, norm[here] > 0, level)
                chosen[i, j] = row
                patch = self._patch(row, level)
            out[here] += weight * patch
            norm[here] += weight * weight if how != "mean" else weight
        norm = np.maximum(norm, 1e-6) if how == "mean" else np.sqrt(np.maximum(norm, 1e-6))
        return (out / norm)[PATCH:-PATCH, PATCH:-PATCH]

    def _patch(self, row: int, contrast: Tensor) -> Plane:
        return self.patches(torch.tensor([row]), contrast[None])[0]

    def _continued(
        self,
        i: int,
        j: int,
        rows: Tensor,
        distances: Tensor,
        chosen: dict[tuple[int, int], int],
        so_far: Plane,
        there: Plane,
        contrast: Tensor,
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
            seam = float(np.square((self._patch(row, contrast) - so_far)[there]).mean()) if there.any() else 0.0
            return candidates[row] / scale + seam / energy

        return min(candidates, key=cost)

    @cached_property
    def _row_of(self) -> dict[tuple[int, ...], int]:
        return {tuple(place): row for row, place in enumerate(self.places)}


def coverage(database: Example, example: Example, part: int) -> dict[str, float]:
    """Distance of the nearest of k answers' texture from the truth's, over that of k drawn ones.

    Args:
        database: whose every `part`-th place is there.
        example: the held-out picture.
        part: the database's size as a fraction.
    """
    side, edge = 16, 2

    def textures(picture: np.ndarray) -> Tensor:
        image = torch.from_numpy(picture)[None]
        channels = texture_channels(image, "rgb-gradient")[..., : image.shape[2], : image.shape[3]]
        cells = channels.unfold(2, side, SCALE).unfold(3, side, SCALE)[0].permute(1, 2, 0, 3, 4).flatten(3)
        return gram_vectors(cells, centred=True)

    def inner(lr: Plane) -> Tensor:  # the low-resolution pixel right of and below each patch's middle
        size = [s - side // SCALE + 1 for s in lr.shape]
        return keys(lr)[0][edge : edge + size[0], edge : edge + size[1]]

    pick = np.random.default_rng(1).permutation(len(inner(database.planes[1]).flatten(0, 1)))[::part].copy()
    stored, looks = textures(database.hr).flatten(0, 1)[pick], inner(database.planes[1]).flatten(0, 1)[pick]
    scale = stored.std(dim=0) + 1e-9
    stored = stored / scale
    truth, guess = (textures(each)[::4, ::4].flatten(0, 1) / scale for each in (example.hr, example.sr))
    wanted = inner(example.planes[1])[::4, ::4].flatten(0, 1)
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
