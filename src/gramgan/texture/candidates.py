"""Where the target texture of a patch is looked for (Song et al., 2023, "patch-wise texture loss").

The target of patch i is the p* among the candidates that minimises α‖G(p) - G(g_i)‖² + β‖G(p) - G(e_i)‖² with e the SR
and g the HR image. Completing the square, for α + β > 0 that is the nearest neighbour of
q_i = (α G(g_i) + β G(e_i)) / (α + β): one search, no re-ranking.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.errors import UserError
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.ops.transfer import send
from gramgan.share import WHOLE, Share, SharedMaker, own_memory
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.search import RECALL, SearchBackend, build_index, say_recall
from gramgan.texture.search.disk import FaissDisk, shared_disk_index

if TYPE_CHECKING:  # a step of training needs neither tables nor images
    from gramgan.texture.database import TextureDatabase

NO_PATCH = -1
"""The `patch_id` of a target that comes from the image itself and not from a database."""

_WARP_LIMIT = 2.0  # standard deviations beyond which the random warp is clipped, so that its reach is known
_BICUBIC_REACH = 2  # pixels around a position that bicubic interpolation looks at


@dataclass(frozen=True)
class Targets:
    """What the losses get: the chosen texture of each of N patches of B images; no gradient flows through it.

    `gram` `[B, N, D]` standardised Gram vectors, `distance` `[B, N]` to the query, `patch_id` `[B, N]` int64,
    `NO_PATCH` for textures of the image itself.
    """

    gram: Tensor
    distance: Tensor
    patch_id: Tensor


class TargetSource(Protocol):
    """Chooses a real texture for every patch."""

    descriptor: Descriptor

    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """Nearest real textures of `query` `[B, N, D]`, given the HR images `[B, 3, H, W]` in [0, 1]."""
        ...


def combined_query(gram_hr: Tensor, gram_sr: Tensor, alpha: float, beta: float) -> Tensor:
    """q = (α G(g) + β G(e)) / (α + β), detached; the shape of its inputs.

    Raises:
        ValueError: α or β is negative, or both are 0.
    """
    if alpha < 0 or beta < 0 or alpha + beta == 0:
        raise ValueError(f"alpha and beta must be ≥ 0 and not both 0, got {alpha} and {beta}")
    return (alpha * gram_hr.detach() + beta * gram_sr.detach()) / (alpha + beta)


def target_ratio(query_distance: Tensor, gram_hr: Tensor, gram_sr: Tensor) -> Tensor:
    """Mean distance of targets from their queries over half the mean distance between SR and HR: a scalar.

    Far above 1, the candidates are too sparse and pull away from the truth; near 0, the target is the query itself and
    L_PT has become a plain Gram distance to HR.
    """
    half_gap = (gram_sr.detach() - gram_hr).norm(dim=-1).mean() / 2
    return query_distance.mean() / half_gap.clamp_min(1e-12)


@dataclass(frozen=True)
class DatabasePart:
    """A texture database, or what it holds of one domain."""

    database: "TextureDatabase"
    domain: str | None = None


class DatabaseSource:
    """Textures from real photographs: one search over all patches of the batch, in one database or in several as one.

    Vectors of several databases are put on the scale of the first.
    """

    def __init__(
        self,
        database: "TextureDatabase | Sequence[DatabasePart]",
        backend: SearchBackend = "auto",
        device: str | torch.device = "cpu",
        *,
        descriptor: Descriptor | None = None,
        recall: float = RECALL,
        place: SharedMaker = own_memory,
    ) -> None:
        """`descriptor` sets another scale than the first database's; `recall` is for approximate backends.

        Vectors, ids and an exact index on a CPU lie in `place`.

        Raises:
            UserError: a domain has no patches, or the databases differ in descriptor or k.
        """
        parts = list(database) if isinstance(database, Sequence) else [DatabasePart(database)]
        self.descriptor = descriptor or parts[0].database.descriptor
        if backend == "faiss-disk":
            index = _on_disk(parts, self.descriptor, recall)
            self._vectors, self._ids, self.index = torch.from_numpy(index.vectors), torch.from_numpy(index.ids), index
            say_recall(index, len(index.ids))
            return
        vectors = place(lambda: _joined([_vectors(part, self.descriptor) for part in parts]))
        ids = place(lambda: _joined([part.database.patch_ids(part.domain) for part in parts]))
        self._vectors, self._ids = torch.from_numpy(vectors).to(device), torch.from_numpy(ids).to(device)
        self.index = build_index(self._vectors, backend, recall=recall, place=place)

    def __len__(self) -> int:
        return len(self._ids)

    @torch.no_grad()
    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """The nearest real textures of `query` `[B, N, D]`, given the HR images `[B, 3, H, W]` in [0, 1]."""
        distance, row = self.index.query(query.flatten(0, 1))
        shape = query.shape[:2]
        row = row.to(self._ids.device)  # what is on the disk is not on the device
        gram, ids = self._vectors[row].to(query.device), self._ids[row].to(query.device)
        return Targets(gram.view_as(query), distance.to(query.dtype).view(shape), ids.view(shape))


class LocalSource:
    """Textures of the same HR crop: its patches at stride k/2, of its ½ and ¼ copies, and of a slightly warped copy.

    The paper's own candidate set, as later work describes it: real texture of the very surface, free to move by a few
    pixels.
    """

    def __init__(
        self, descriptor: Descriptor, generator: torch.Generator, warp: float = 0.003, share: Share = WHOLE
    ) -> None:
        self.descriptor = descriptor
        self._generator = generator
        self._warp = warp
        self._share = share

    @torch.no_grad()
    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """The nearest real textures of `query` `[B, N, D]`, given the HR images `[B, 3, H, W]` in [0, 1]."""
        candidates = self.candidates(hr)
        parts = [self._nearest(image, query[i]) for i, image in enumerate(candidates)]
        gram = torch.stack([part[0] for part in parts])
        distance = torch.stack([part[1] for part in parts])
        return Targets(gram, distance, torch.full_like(distance, NO_PATCH, dtype=torch.int64))

    @torch.no_grad()
    def candidates(self, hr: Tensor) -> Tensor:
        """All candidate vectors of each image, a new warp at every call: `[B, 3, H, W]` → `[B, M, D]`.

        Copies too small for one patch are left out.
        """
        k = self.descriptor.k
        smallest = min(hr.shape[-2:])
        copies = [hr, *(_shrunk(hr, factor) for factor in (2, 4) if smallest // factor >= k)]
        if self._warp:
            warped = self._warped(hr)
            if min(warped.shape[-2:]) >= k:
                copies.append(warped)
        return torch.cat([self.descriptor.encode(copy, stride=max(1, k // 2)) for copy in copies], dim=1)

    def _warped(self, hr: Tensor) -> Tensor:
        """A copy under a small random affine map for each image, without the margin that it may have to make up."""
        drawn = torch.randn(self._share.whole(len(hr)), 2, 3, generator=self._generator)[self._share.rows(len(hr))]
        jitter = drawn.clamp(-_WARP_LIMIT, _WARP_LIMIT) * self._warp
        matrix = send((torch.eye(2, 3) + jitter).to(hr.dtype), hr.device)
        grid = F.affine_grid(matrix, list(hr.shape), align_corners=False)
        warped = F.grid_sample(hr, grid, mode="bicubic", align_corners=False).clamp(0, 1)
        # Coordinates run from -1 to 1: the entries of a row move no pixel by more than their sum times half a side.
        reach = 3 * _WARP_LIMIT * self._warp / 2
        margins = (int(reach * side) + _BICUBIC_REACH for side in hr.shape[-2:])
        for dim, margin in zip((-2, -1), margins, strict=True):
            warped = warped.narrow(dim, margin, max(0, hr.shape[dim] - 2 * margin))
        return warped

    @staticmethod
    def _nearest(candidates: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        distance, row = build_index(candidates).query(query)
        return candidates[row], distance.to(query.dtype)


class NearerSource:
    """For each patch the nearer one of two sources' targets."""

    def __init__(self, first: TargetSource, second: TargetSource) -> None:
        if first.descriptor != second.descriptor:
            raise ValueError("two sources of targets need the same descriptor and scale")
        self.descriptor = first.descriptor
        self._first, self._second = first, second

    @torch.no_grad()
    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """The nearest real textures of `query` `[B, N, D]`, given the HR images `[B, 3, H, W]` in [0, 1]."""
        a, b = self._first.targets(query, hr), self._second.targets(query, hr)
        take_b = b.distance < a.distance
        return Targets(
            torch.where(take_b.unsqueeze(-1), b.gram, a.gram),
            torch.where(take_b, b.distance, a.distance),
            torch.where(take_b, b.patch_id, a.patch_id),
        )


def _on_disk(parts: Sequence[DatabasePart], descriptor: Descriptor, recall: float) -> FaissDisk:
    for part in parts:
        part.database.require(descriptor.name, descriptor.k)
    scale = np.asarray(descriptor.scale, np.float32)
    of = [(part.database.identity, part.database.version, part.domain) for part in parts]
    count = sum(len(part.database) for part in parts)

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in parts:
            for vectors, ids in part.database.vector_blocks(part.domain):
                yield vectors / scale, ids

    return shared_disk_index(
        json.dumps([of, descriptor.name, descriptor.k, scale.tolist()]), blocks, count, len(scale), recall
    )


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _vectors(part: DatabasePart, descriptor: Descriptor) -> np.ndarray:
    """The vectors of `part` on the scale of `descriptor`: float32 `[N, D]`."""
    database, domain = part.database, part.domain
    database.require(descriptor.name, descriptor.k)
    vectors = database.natural_vectors(domain)
    if not len(vectors):
        held = ", ".join(sorted(set(database.words("domain")[1])))
        what = f"no patches of the domain {domain}, only of {held}" if domain and held else "no patches"
        raise UserError(f"{database.path}: holds {what}; choose another domain or add photographs: gramgan db add")
    vectors /= np.asarray(descriptor.scale, np.float32)
    return vectors


def _shrunk(hr: Tensor, factor: int) -> Tensor:
    height, width = (side // factor * factor for side in hr.shape[-2:])
    return matlab_bicubic_down(hr[..., :height, :width], factor, quantise=False).clamp(0, 1)
