"""What a run does about losses and gradients that are not finite.

A step that breaks changes nothing (see `TrainingStep`) and is named. Several of them within a short time send the run
back to its last checkpoint before them, with lower learning rates; after a few such returns it ends.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gramgan.config.sections import GuardConfig, Stage
from gramgan.training.processes import Processes
from gramgan.training.step import StepResult

_NAMED = 8  # photographs that a message names


@dataclass(frozen=True)
class Skip:
    """A step that changed nothing.

    `broken` names the losses that were not finite, or "gradient of the generator" and the like where all of them were;
    `images` are the photographs of the parts of the batch in which they were not.
    """

    iteration: int
    stage: Stage
    broken: tuple[str, ...]
    images: tuple[str, ...]

    def __str__(self) -> str:
        different = list(dict.fromkeys(self.images))
        more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
        kind = "" if self.broken[0].startswith("gradient") else "loss " if len(self.broken) == 1 else "losses "
        return (
            f"the {kind}{', '.join(self.broken)} {'is' if len(self.broken) == 1 else 'are'} not finite at iteration "
            f"{self.iteration} "
            f"({self.stage.replace('_', ' ')}) on {', '.join(different[:_NAMED])}{more}"
        )


@dataclass(frozen=True)
class _Step:
    iteration: int
    stage: Stage
    result: StepResult
    images: tuple[str, ...]


class StepGuard:
    """Finds the broken steps among those made, and decides what follows.

    Flags stay on the device until `look`. `returns` counts how often the run has gone back to a checkpoint.
    """

    def __init__(self, settings: GuardConfig, processes: Processes) -> None:
        self._settings = settings
        self._processes = processes
        self._pending: list[tuple[_Step, Tensor]] = []
        self._recent: list[int] = []
        self.returns = 0

    @property
    def rate_scale(self) -> float:
        """What all learning rates are multiplied by: less after every return to a checkpoint."""
        return self._settings.rate_factor**self.returns

    @property
    def since(self) -> int | None:
        """The first of the broken steps that count together; None without any."""
        return self._recent[0] if self._recent else None

    def add(self, iteration: int, stage: Stage, result: StepResult, images: tuple[str, ...]) -> None:
        """Note a step; `images` are the photographs of the whole batch, one process's after another's."""
        if result.broken is not None:
            self._pending.append((_Step(iteration, stage, result, images), result.broken))

    def look(self) -> list[Skip]:
        """The broken ones of the steps noted since the last look; waits for the device, in all processes."""
        flags = torch.stack([flag for _, flag in self._pending]).tolist() if self._pending else []
        broken = [step for (step, _), flag in zip(self._pending, flags, strict=True) if flag]
        self._pending.clear()
        skips = [self._named(step) for step in broken]
        self._recent += [skip.iteration for skip in skips]
        return skips

    def exhausted(self, iteration: int) -> bool:
        """Whether too many of the last steps were broken, at `iteration`, after a look."""
        self._recent = [one for one in self._recent if one > iteration - self._settings.window]
        return len(self._recent) >= self._settings.patience

    @property
    def may_go_back(self) -> bool:
        """Whether the run may return to a checkpoint once more."""
        return self.returns < self._settings.roll_backs

    def went_back(self) -> None:
        """The run has returned to a checkpoint."""
        self.returns += 1
        self._recent.clear()
        self._pending.clear()

    def state(self) -> dict[str, Any]:
        """For a checkpoint; after a look."""
        return {"returns": self.returns, "recent": list(self._recent)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's `state`."""
        self.returns, self._recent = state["returns"], list(state["recent"])

    def _named(self, step: _Step) -> Skip:
        """Which numbers broke, and in which processes' parts of the batch."""
        gradients = {
            f"gradient of the {name.removeprefix('gradient_')}": value
            for name, value in step.result.statistics.items()
            if name.startswith("gradient_")
        }
        for values in (step.result.losses, gradients):
            stacked = torch.stack([value.float() for value in values.values()])
            each = self._processes.each(stacked).isfinite().tolist()
            names = [name for name, finite in zip(values, zip(*each, strict=True), strict=True) if not all(finite)]
            # A loss that is a sum of broken ones says nothing new.
            names = [name for name in names if name != "total"] or names
            if names:
                # What breaks in all processes, as a loss over the whole batch does, tells no part from another.
                telling = [i for i, finite in enumerate(zip(*each, strict=True)) if any(finite) and not all(finite)]
                where = [rank for rank, row in enumerate(each) if not telling or not all(row[i] for i in telling)]
                part = len(step.images) // len(each)
                images = [name for rank in where for name in step.images[rank * part : (rank + 1) * part]]
                return Skip(step.iteration, step.stage, tuple(names), tuple(images))
        raise AssertionError(f"iteration {step.iteration} is flagged as broken and all its numbers are finite")
