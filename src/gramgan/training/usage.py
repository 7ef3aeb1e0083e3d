"""How often each patch of the texture database was chosen as a target."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gramgan.files import write_text
from gramgan.texture.candidates import NO_PATCH


class PatchUsage:
    """Counts of chosen patch ids. Ids are kept where they were made until `collect`, so that no step waits for them."""

    def __init__(self, gather: Callable[[Tensor], Tensor] = lambda ids: ids) -> None:
        """`gather` brings together what all processes that train together have noted."""
        self._gather = gather
        self._ids = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._pending: list[Tensor] = []

    def add(self, patch_id: Tensor) -> None:
        """Note the chosen patches of one step, any shape."""
        self._pending.append(patch_id.flatten())

    def collect(self) -> dict[str, float]:
        """Count what was noted since the last call, and return its statistics.

        `database_share`: share of targets that came from the database. `unique_share`: different patches among those,
        over their number; near 1 every patch finds its own texture, near 0 a few textures serve for all.
        """
        if not self._pending:
            return {}
        chosen = self._gather(torch.cat(self._pending)).cpu().numpy()
        self._pending.clear()
        from_database = chosen[chosen != NO_PATCH]
        ids, counts = np.unique(from_database, return_counts=True)
        self._merge(ids, counts)
        share = len(ids) / len(from_database) if len(from_database) else 0.0
        return {"database_share": len(from_database) / len(chosen), "unique_share": share}

    def _merge(self, ids: np.ndarray, counts: np.ndarray) -> None:
        every = np.concatenate((self._ids, ids))
        self._ids, position = np.unique(every, return_inverse=True)
        merged = np.zeros(len(self._ids), np.int64)
        np.add.at(merged, position, np.concatenate((self._counts, counts)))
        self._counts = merged

    def most_used(self, number: int) -> list[tuple[int, int]]:
        """(patch id, count) of the most often chosen patches."""
        order = np.argsort(-self._counts, kind="stable")[:number]
        return [(int(self._ids[i]), int(self._counts[i])) for i in order]

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint; everything noted so far is counted first."""
        self.collect()
        return {"ids": torch.from_numpy(self._ids), "counts": torch.from_numpy(self._counts)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's `state`."""
        self._ids, self._counts = state["ids"].numpy(), state["counts"].numpy()

    def write_csv(self, path: Path) -> None:
        """Write all counts, most used first, as `patch_id,count`."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("patch_id", "count"))
        writer.writerows(self.most_used(len(self._ids)))
        write_text(path, text.getvalue())
