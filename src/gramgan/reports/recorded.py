"""What a training run has left in its folder, read once for every page and list that shows it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gramgan.config import Config, load_config
from gramgan.training.folder import BEST_GENERATOR, Record, read_log, settings_path
from gramgan.weights.card import Card

TROUBLES = ("warning", "skip", "rollback")
"""Events of the log that tell of something going wrong."""


@dataclass(frozen=True)
class Recorded:
    """A run's folder: its settings, and the records of its log in their order."""

    folder: Path
    config: Config
    records: list[Record]

    @classmethod
    def read(cls, folder: Path) -> "Recorded":
        """Read a run, finished or not.

        Raises:
            UserError: the folder is no run, or its settings or log are damaged.
        """
        return cls(folder, load_config(file=settings_path(folder)), read_log(folder))

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.resolve().name

    @property
    def start(self) -> str:
        """What its generator began as: weights by name or file, `nearest` or `noise`."""
        generator = self.config.generator
        return generator.start or ("nearest" if generator.from_nearest else "noise")

    @property
    def iteration(self) -> int:
        """How far the log goes."""
        return max((record["iteration"] for record in self.records), default=0)

    @property
    def finished(self) -> bool:
        """Whether that is all of its iterations."""
        return self.iteration >= self.config.stages.total

    @cached_property
    def card(self) -> Card | None:
        """The card of the best weights; None while there are none.

        Raises:
            UserError: the weights are damaged.
        """
        from gramgan.weights.formats import read_weights  # torch, for which a list of runs need not wait

        path = self.folder / f"{BEST_GENERATOR}.safetensors"
        return read_weights(path).card if path.exists() else None

    @property
    def steps(self) -> list[Record]:
        """Records of steps."""
        return [record for record in self.records if record["event"] == "step"]

    def validations(self, of: str = "generator") -> list[Record]:
        """Validations of the generator, of its `start`, or of `bicubic`."""
        return [record for record in self.records if record["event"] == "validation" and record["of"] == of]

    @property
    def best(self) -> Record | None:
        """The validation whose weights were kept."""
        return next((record for record in reversed(self.validations()) if record.get("best")), None)

    @property
    def protocol(self) -> str:
        """How it was validated, "" if it was not."""
        return next((str(record["protocol"]) for record in self.records if record.get("protocol")), "")

    @property
    def troubles(self) -> list[Record]:
        """What the collapse watch and the guard against numbers that are not finite have reported."""
        return [record for record in self.records if record["event"] in TROUBLES]


def trouble_in_words(trouble: Record) -> str:
    """One of a run's `troubles` in words."""
    if trouble["event"] == "skip":
        return f"a step was skipped: {', '.join(trouble.get('broken', ()))} not finite"
    if trouble["event"] == "rollback":
        return (
            f"the run went back from iteration {trouble.get('from', '?')}, learning rates times "
            f"{trouble.get('rate_scale', '?')}: {trouble.get('because', '')}"
        )
    return str(trouble.get("message", ""))


def pace(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, int, float]]:
    """(stage, iterations, seconds) of each stage, from the steps' records."""
    stages: dict[str, list[float]] = {}
    before = 0
    for record in records:
        speed = record.get("iterations_per_second", math.nan)
        if record["event"] == "step" and speed > 0:
            count = record["iteration"] - before
            total = stages.setdefault(record["stage"], [0, 0.0])
            total[0] += count
            total[1] += count / speed
            before = record["iteration"]
    for stage, (iterations, seconds) in stages.items():
        if seconds > 0:
            yield stage, int(iterations), seconds


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """Short names that tell the folders apart: their own, with as many parents before it as it takes."""
    places = [folder.resolve().parts for folder in folders]
    longest = max(len(parts) for parts in places)
    for depth in range(1, longest + 1):
        names = ["/".join(parts[-depth:]) for parts in places]
        if len(set(names)) == len(set(places)):
            return names
    return [str(folder) for folder in folders]
