"""Exact search by comparing every pair, for GPUs: nothing in it makes the host wait for the device."""

import torch
from torch import Tensor

from gramgan.texture.search.index import check_neighbours

_PAIRS = 2**25  # most scores held at a time: 256 MiB
_MORE = 3  # vectors beside the wanted ones whose distances are computed by differences: scores rank copies by chance


class DirectSearch:
    """All ‖p - q‖² = ‖p‖² - 2 p·q + ‖q‖² by matrix products in float64, whose rounding errors are far below float32's.

    Unlike `BlockedSearch`, which compares again as many vectors as turn out to be near, it does the same for all data:
    no number travels to the host. It costs twice the memory traffic.
    """

    name = "direct"
    recall = 1.0

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.detach().float()
        precise = self._vectors.double()
        self._mean = precise.mean(dim=0)  # centred, rounding errors are smaller
        self._centred = precise - self._mean
        self._square = self._centred.square().sum(dim=1)

    @torch.no_grad()
    def query(self, vectors: Tensor, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """Euclidean distances (float64) and rows (int64) of the nearest vectors of each of `[M, D]`."""
        check_neighbours(neighbours, len(self._vectors))
        queries = vectors.detach().to(self._vectors)
        size = max(1, _PAIRS // len(self._vectors))
        with torch.autocast(queries.device.type, enabled=False):
            row = torch.cat([self._nearest(block.double(), neighbours) for block in queries.split(size)])
            # The first of equally near ones comes first: rows ascend before a stable sort by distance.
            row = row.sort(dim=1).values
            distance = (self._vectors[row].double() - queries.double().unsqueeze(1)).norm(dim=2)
            order = distance.argsort(dim=1, stable=True)[:, :neighbours]
        distance, row = distance.gather(1, order), row.gather(1, order)
        distance = distance.where(distance.isfinite(), torch.nan)
        return (distance.squeeze(1), row.squeeze(1)) if neighbours == 1 else (distance, row)

    def _nearest(self, queries: Tensor, neighbours: int) -> Tensor:
        scores = torch.addmm(self._square, queries - self._mean, self._centred.T, alpha=-2)
        return scores.topk(min(neighbours + _MORE, len(self._vectors)), dim=1, largest=False).indices
