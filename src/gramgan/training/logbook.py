"""What a run writes down while it goes: JSON lines and TensorBoard."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from gramgan.files import open_own, write_error, write_text
from gramgan.training.folder import Record, read_log
from gramgan.training.step import StepResult


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
        """Append one record; it holds `event` and `iteration`, numbers go to TensorBoard as well.

        Raises:
            UserError: the disk is full.
        """
        try:
            with os.fdopen(open_own(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(self._path, error) from error
        for name, value in _numbers(record, record["event"]):
            self._board.add_scalar(name, value, record["iteration"])

    def image(self, name: str, iteration: int, image: np.ndarray) -> None:
        """Show an image, float32 `[3, H, W]` in [0, 1], in TensorBoard."""
        self._board.add_image(name, image, iteration)

    def close(self) -> None:
        """Flush what TensorBoard has not yet written."""
        self._board.close()


@dataclass(frozen=True)
class Look:
    """Means since the look before, over the values that are finite; a number that never was is left out."""

    losses: dict[str, float]
    statistics: dict[str, float]


class Meter:
    """Collects losses and statistics of steps; the device is synchronised only when somebody looks."""

    def __init__(self, average: Callable[[Tensor], Tensor] = lambda values: values) -> None:
        """`average` gives the mean over all processes that train together."""
        self._average = average
        self._names: list[tuple[str, bool]] = []  # name, whether it is a loss
        self._values: list[Tensor] = []

    def add(self, result: StepResult) -> None:
        """Add one step's numbers."""
        for values, is_loss in ((result.losses, True), (result.statistics, False)):
            self._names += [(name, is_loss) for name in values]
            self._values += values.values()

    def look(self) -> Look:
        """Means since the last call."""
        values = self._average(torch.stack([value.float() for value in self._values])).tolist() if self._values else []
        found: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
        for (name, is_loss), value in zip(self._names, values, strict=True):
            if math.isfinite(value):
                found[is_loss].setdefault(name, []).append(value)
        self._names.clear()
        self._values.clear()
        losses, statistics = ({name: fmean(each) for name, each in found[kind].items()} for kind in (True, False))
        return Look(losses, statistics)


def _numbers(values: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}/{name}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "iteration":
            found.append((f"{prefix}/{name}", float(value)))
    return found
