"""An order of vectors in which near ones lie together."""

import numpy as np
import torch

_BITS = 5  # of a component: 32 intervals, equally full
_COMPONENTS = 6  # at most so many take part, those with the largest variance
_SAMPLE = 4096  # vectors that the intervals are taken from


class Curve:
    """A space-filling (Morton) curve through the space of some vectors `[N, D]`, by quantiles of their components."""

    def __init__(self, vectors: np.ndarray) -> None:
        sample = torch.from_numpy(vectors[:: max(1, len(vectors) // _SAMPLE)])
        self._components = sample.var(dim=0, correction=0).argsort(descending=True)[:_COMPONENTS].tolist()
        shares = torch.linspace(0, 1, 2**_BITS + 1)[1:-1]
        # Each float32's upper half, a bfloat16, is looked up: in 10 million vectors six times as fast as bisection.
        values = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).float()
        self._tables = []
        for place, component in enumerate(self._components):
            interval = torch.bucketize(values, torch.quantile(sample[:, component], shares), out_int32=True)
            table = torch.zeros(2**16, dtype=torch.int32)
            for bit in range(_BITS):
                table |= (interval >> bit & 1) << ((bit + 1) * len(self._components) - 1 - place)
            self._tables.append(table.numpy())

    def order(self, vectors: np.ndarray) -> np.ndarray:
        """Rows of `[M, D]` (float32) in the order in which the curve passes them: int64 `[M]`."""
        places = np.zeros(len(vectors), np.int32)
        for component, table in zip(self._components, self._tables, strict=True):
            places |= table[np.ascontiguousarray(vectors[:, component]).view(np.uint32) >> np.uint32(16)]
        return np.argsort(places)
