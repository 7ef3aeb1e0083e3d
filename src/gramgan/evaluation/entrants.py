"""What is scored: generators, bicubic enlargement, and results that another program has made already."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.hardware.precision import Precision
from gramgan.ops.resize import bicubic_up
from gramgan.upscaling.engine import Upscaler
from gramgan.upscaling.measured import EVERYTHING
from gramgan.upscaling.model import open_model
from gramgan.upscaling.refine import Refine
from gramgan.weights.locate import locate_generator

BICUBIC = "bicubic"
"""Name of the pseudo-model that enlarges with MATLAB's bicubic filter."""

PrecisionChoice = Precision | Literal["auto"]
EntrantKind = Literal["generator", "bicubic", "results"]


@dataclass(frozen=True)
class Entrant:
    """One line of a table of scores.

    `enlarge` makes the SR image `[1, 3, sH, sW]` of an LR image `[1, 3, H, W]`, both on the CPU with values in [0, 1];
    None where the results are there already. `source` is what tells it from another of the same name.
    `weights_sha256` and `precision` are empty where there are none; `back_projected` says that `enlarge` makes results
    consistent with LR. `scale` is how many times larger SR is; None where that is not known.
    """

    name: str
    kind: EntrantKind
    enlarge: Callable[[Tensor], Tensor] | None = None
    source: str = ""
    weights_sha256: str = ""
    precision: str = ""
    back_projected: bool = False
    scale: int | None = None


def open_entrant(
    spec: str | Path | Entrant, device: str, precision: PrecisionChoice, *, consistency: bool | None = None
) -> Entrant:
    """A generator by name or file, of our architecture or of one that spandrel knows, ready to run.

    An entrant stays as it is, and `bicubic` enlarges by four. A generator's results are back-projected as `consistency`
    says; None: as `gramgan upscale` does, by its card.

    Raises:
        UserError: there are no such weights, they are not in the cache, or they are damaged.
    """
    if isinstance(spec, Entrant):
        return spec
    if str(spec) == BICUBIC:
        return bicubic()
    located = locate_generator(spec)
    model = open_model(spec, backend="torch", precision=precision, device=device)
    card = model.card
    consistent = card.consistent if consistency is None else consistency
    upscaler = Upscaler(model.backend, overlap=card.overlap, tile=model.tile, **card.geometry)
    refine = Refine(measured=EVERYTHING) if consistent else None

    def enlarge(low: Tensor) -> Tensor:
        return torch.from_numpy(upscaler.upscale_array(low[0].numpy(), refine))[None]

    name = located.known.name if located.known is not None else located.path.stem
    resolved = model.backend.name.split()[-1]
    return Entrant(name, "generator", enlarge, str(spec), located.digest(), resolved, consistent, card.scale)


def bicubic(scale: int = 4) -> Entrant:
    """MATLAB's bicubic enlargement."""
    return Entrant(BICUBIC, "bicubic", lambda low: bicubic_up(low, scale), BICUBIC, scale=scale)


def common_scale(entrants: Sequence[Entrant]) -> int | None:
    """How many times larger they all make a picture; None where none says it.

    Raises:
        UserError: they differ.
    """
    known = {entrant.scale: entrant.name for entrant in entrants if entrant.scale is not None}
    if len(known) > 1:
        said = " and ".join(f"{name} x{scale}" for scale, name in known.items())
        raise UserError(f"evaluate: {said} cannot be scored together; give models of one scale")
    return next(iter(known), None)


def results_entrant(folder: Path) -> Entrant:
    """The finished results in `folder`, under the folder's name."""
    return Entrant(folder.resolve().name, "results", source=str(folder))


def told_apart(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The same entrants; those that share a name are called by the shortest ends of their paths that differ."""
    names = [entrant.name for entrant in entrants]
    alike = {name for name in names if names.count(name) > 1}
    paths = [Path(entrant.source).resolve().parts for entrant in entrants]
    return [
        replace(entrant, name=_short(path, [other for other, n in zip(paths, names, strict=True) if n == entrant.name]))
        if entrant.name in alike
        else entrant
        for entrant, path in zip(entrants, paths, strict=True)
    ]


def _short(path: tuple[str, ...], alike: Sequence[tuple[str, ...]]) -> str:
    length = 1
    while length < len(path) and sum(other[-length:] == path[-length:] for other in alike) > 1:
        length += 1
    return str(Path(*path[-length:]))
