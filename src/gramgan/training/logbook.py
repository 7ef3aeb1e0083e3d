"""What a run writes down while it goes: JSON lines and TensorBoard."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gramgan.files import write_text
from gramgan.training.step import StepResult

Record = dict[str, Any]


class Logbook:
    """Appends records to `log.jsonl` and to `tensorboard/` in a run's folder.

    On resuming, records beyond the checkpoint's iteration are dropped: those steps will be made again.
    """

    def __init__(self, folder: Path, resume_at: int = 0) -> None:
        self._path = folder / "log.jsonl"
        kept = [record for record in read_log(folder) if record["iteration"] <= resume_at] if resume_at else []
        write_text(self._path, "".join(json.dumps(record) + "\n" for record in kept))
        # TensorBoard hides what is at or behind `purge_step`: the steps that will be made again, for a new run all.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at + 1 if resume_at else 0)

    def write(self, record: Record) -> None:
        """Append one record; it holds `event` and `iteration`, numbers go to TensorBoard as well."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in _numbers(record, record["event"]):
            self._board.add_scalar(name, value, record["iteration"])

    def image(self, name: str, iteration: int, image: np.ndarray) -> None:
        """Show an image, float32 `[3, H, W]` in [0, 1], in TensorBoard."""
        self._board.add_image(name, image, iteration)

    def close(self) -> None:
        """Flush what TensorBoard has not yet written."""
        self._board.close()


def read_log(run: Path) -> list[Record]:
    """All whole records of a run's log; a line that a crash cut short at the end is left out."""
    path = run / "log.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class Meter:
    """Means of losses and statistics between two looks; the device is synchronised only at the look."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], Tensor] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, result: StepResult) -> None:
        """Add one step's numbers."""
        for kind, values in (("losses", result.losses), ("statistics", result.statistics)):
            for name, value in values.items():
                key = (kind, name)
                self._sums[key] = self._sums[key] + value if key in self._sums else value
                self._counts[key] = self._counts.get(key, 0) + 1

    def flush(self) -> dict[str, dict[str, float]]:
        """Means since the last call, as {"losses": {...}, "statistics": {...}}."""
        result: dict[str, dict[str, float]] = {"losses": {}, "statistics": {}}
        if self._sums:
            means = torch.stack([self._sums[key].float() / self._counts[key] for key in self._sums]).tolist()
            for (kind, name), mean in zip(self._sums, means, strict=True):
                result[kind][name] = mean
        self._sums.clear()
        self._counts.clear()
        return result


def _numbers(values: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "iteration":
            found.append((f"{prefix}/{name}", float(value)))
    return found
