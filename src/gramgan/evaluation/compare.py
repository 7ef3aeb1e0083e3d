"""Scoring generators, or finished results, against the truth."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from gramgan.arguments import checked
from gramgan.degradation import Degradation, build_degradation, seed_of
from gramgan.degradation.bicubic import Bicubic
from gramgan.errors import UserError, in_one_line
from gramgan.evaluation.crops import Strip, cut_strip
from gramgan.evaluation.entrants import (
    BICUBIC,
    Entrant,
    PrecisionChoice,
    bicubic,
    common_scale,
    open_entrant,
    results_entrant,
    told_apart,
)
from gramgan.evaluation.protocols import Metric, Protocol, protocol_named
from gramgan.evaluation.report import EvaluationReport, ImageScores, ModelScores, UnscoredImage
from gramgan.evaluation.scoring import Scorer, left_out
from gramgan.hardware.allocator import keep_memory
from gramgan.hardware.device import resolve_device
from gramgan.images import Raster, read_rgb
from gramgan.images.info import RasterInfo
from gramgan.images.pairing import Pair, pair_low, pair_with, truths
from gramgan.metrics.texture_distance import MIN_SIZE
from gramgan.places import as_place
from gramgan.progress import Progress, silent
from gramgan.team import Alone, Team, in_order

_LR_MADE = "made from HR by {}, rounded to 8 bits"

_log = logging.getLogger(__name__)


@checked
def evaluate(
    models: str | Path | Entrant | Sequence[str | Path | Entrant],
    hr_folder: str | Path,
    lr_folder: str | Path | None = None,
    *,
    results: Sequence[str | Path] = (),
    protocol: str | Protocol = "sr-y-crop",
    scale: int | None = None,
    also: Sequence[str] = (),
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    consistency: bool | None = None,
    degradation: str = Bicubic.name,
    lr_name: str | None = None,
    strip_side: int = 0,
    progress: Progress | None = None,
    team: Team | None = None,
) -> EvaluationReport:
    """Score models and folders of finished results on the images of a folder.

    HR images are cropped at the right and bottom to multiples of the scale. LR images are those of `lr_folder`, or
    those in `hr_folder` whose names say LR, or else are made from the HR images by `degradation`. Files belong together
    whose names are equal but for tokens such as HR, LR, SR and x4. ST-LPIPS, LPIPS and DISTS are computed where their
    weights are in the cache; else a log message says how to bring them. Grey images count as RGB with three equal
    channels.

    Args:
        models: a name from the catalogue, the path of a weight file, `bicubic`, an `Entrant`, or several of them; may
            be empty.
        hr_folder: folder of the truth.
        lr_folder: folder of the LR images.
        results: folders of images that another program enlarged.
        protocol: how images are scored, or a name that `protocol_named` knows.
        scale: how many times larger HR is than LR. None: what the generators' cards or the protocol say, or else 4.
        also: `lpips-vgg`, LPIPS with VGG-16, which takes as long as all others.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        precision: of the generators; `auto` for what the probe found. The scores themselves are computed in float32
            or more.
        consistency: of the generators: results are back-projected, so that they shrink to LR; None: as each card says.
        degradation: how LR images are made where there are none: `bicubic` (MATLAB's) or another profile of
            `gramgan.degradation`. What is random about an image follows from its name: every model and run gets the
            same.
        lr_name: what the LR image of `{stem}` is called, where the names do not say it (see `images.pairing`).
        strip_side: side in pixels of the square of each image that is kept for pictures; 0 for none.
        progress: called with (images done, all images) over all models.
        team: who enlarges and scores; by default this process, one image after the other.

    Returns:
        Scores of each image and model, models before results. An image of which one file is damaged is left out for
        all of them, so that means stay comparable.

    Raises:
        UserError: a folder is missing or empty, files have no partner, sizes do not fit, an image is too small or
            all are damaged, weights are missing, a protocol, metric or degradation is unknown or cannot be used, or
            models, protocol and `scale` differ in their scale.
    """
    keep_memory()
    hr_folder = as_place(hr_folder)
    specs = [models] if isinstance(models, str | Path | Entrant) else list(models)
    folders = [as_place(folder) for folder in results]
    if not specs and not folders:
        raise UserError("evaluate: nothing to score; give a model or a folder of results")
    truths(hr_folder)
    if strip_side < 0:
        raise UserError(f"strip_side {strip_side}: is negative; give a side in pixels, or 0 for none")
    judging = _Judging(
        protocol, scale, specs, folders, device, precision, consistency, tuple(also), degradation, strip_side
    )
    team = team or Alone()
    # Every weight file is opened before the first image is enlarged: a wrong name must not show after an hour.
    judges = next(in_order(team, judging, [None], reads=hr_folder))
    assert isinstance(judges, _Judges)
    protocol = judges.protocol
    make_low = build_degradation(degradation, protocol.scale)
    low = pair_low(hr_folder, as_place(lr_folder) if lr_folder is not None else None, lr_name, protocol.scale)
    if make_low.name != Bicubic.name and low[0].other is not None:
        raise UserError(f"degradation {degradation}: there are LR images in {lr_folder or hr_folder}; leave it out")
    unreadable = _check_sizes(low, protocol, protocol.scale)
    finished = []
    for folder in folders:
        pairs = pair_with(hr_folder, folder, "result", protocol.scale)
        unreadable |= _check_sizes(pairs, protocol, 1)
        finished.append({pair.name: pair.other for pair in pairs})
    if judges.missing:
        _log.warning("left out, their weights are not here: %s", ", ".join(judges.missing))
    done, total = 0, len(low) * len(judges.entrants)
    report = progress or silent
    report(done, total)
    rows: list[list[ImageScores]] = [[] for _ in judges.entrants]
    strips: list[Strip] = []
    left: list[UnscoredImage] = []
    tasks = [
        _Task(pair, tuple(_there(each[pair.name]) for each in finished), unreadable.get(pair.name)) for pair in low
    ]
    for pair, scored in zip(low, in_order(team, judging, tasks, reads=hr_folder), strict=True):
        if isinstance(scored, str):
            left.append(UnscoredImage(pair.name, scored))
        elif isinstance(scored, _Scored):
            for row, scores in zip(rows, scored.scores, strict=True):
                if scores.keys() != {metric.name for metric in judges.metrics}:
                    raise UserError(
                        f"{pair.hr}: scored on a node that has weights of other metrics; run `gramgan weights get` "
                        "for the same ones on all nodes, or share GRAMGAN_CACHE"
                    )
                row.append(ImageScores(pair.name, scores))
            strips += [scored.strip] if scored.strip is not None else []
        done += len(judges.entrants)
        report(done, total)
    if len(left) == len(low):
        raise UserError(f"{left[0].why}{f' (and {len(left) - 1} others, which are all there are)' * (len(left) > 1)}")
    scored = tuple(
        ModelScores(
            entrant.name,
            entrant.kind,
            entrant.weights_sha256,
            entrant.precision,
            tuple(images),
            entrant.back_projected,
        )
        for entrant, images in zip(judges.entrants, rows, strict=True)
    )
    made_by = "MATLAB's bicubic" if make_low.name == Bicubic.name else make_low.name
    origin = _LR_MADE.format(made_by) if low[0].other is None else str(lr_folder or hr_folder)
    return EvaluationReport(protocol, judges.metrics, scored, str(hr_folder), origin, tuple(strips), tuple(left))


@dataclass(frozen=True)
class _Task:
    """One image: its files, its finished results, and why it cannot be read, if that is known."""

    pair: Pair
    made: tuple[Path, ...]
    why: str | None


@dataclass(frozen=True)
class _Scored:
    """The scores of each entrant, and the square of the image that is shown, if one is wanted."""

    scores: list[dict[str, float]]
    strip: Strip | None


@dataclass(frozen=True)
class _Judges:
    """What images are scored by: protocol and metrics, and whose: the entrants, without what makes results.

    `missing` are metrics whose weights are not there.
    """

    protocol: Protocol
    metrics: tuple[Metric, ...]
    entrants: list[Entrant]
    missing: tuple[str, ...]


_Answer = _Judges | _Scored | str


@dataclass(frozen=True)
class _Judging:
    """The work on an image: to enlarge it by every entrant and score what comes out, or say why it is left out.

    The task None asks who judges.
    """

    protocol: str | Protocol
    scale: int | None
    specs: Sequence[str | Path | Entrant]
    folders: Sequence[Path]
    device: str
    precision: PrecisionChoice
    consistency: bool | None
    also: tuple[str, ...]
    degradation: str
    strip_side: int

    @functools.cached_property
    def _judge(self) -> "_Judge":
        return _Judge(self)

    def open(self) -> Callable[[_Task | None], _Answer]:
        return self._judge

    def lost(self, task: _Task | None, why: str) -> _Answer:
        if task is None:
            raise UserError(f"evaluate: opening the weights {why}")
        return f"{task.pair.hr}: {why}"

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(getattr(self, one.name) for one in fields(self))  # without what is open


class _Judge:
    """What does it, with all weights."""

    def __init__(self, judging: _Judging) -> None:
        keep_memory()
        self._device, self._side = resolve_device(judging.device), judging.strip_side
        opened = [
            spec
            if spec == BICUBIC
            else open_entrant(spec, self._device, judging.precision, consistency=judging.consistency)
            for spec in judging.specs
        ]
        generators = [each for each in opened if isinstance(each, Entrant)]
        self._protocol = _protocol(judging.protocol, generators, judging.scale)
        self._make_low = build_degradation(judging.degradation, self._protocol.scale)
        self._scorer = Scorer.full(self._protocol, self._device, judging.also)
        entrants = [each if isinstance(each, Entrant) else bicubic(self._protocol.scale) for each in opened]
        self._entrants = told_apart([*entrants, *(results_entrant(each) for each in judging.folders)])

    def __call__(self, task: _Task | None) -> _Answer:
        if task is None:
            known = [replace(each, enlarge=None) for each in self._entrants]
            return _Judges(self._protocol, self._scorer.metrics, known, tuple(left_out()))
        try:
            if task.why is not None:
                raise _UnreadableError(task.why)
            hr = self._protocol.crop_to_scale(_read(task.pair.hr))
            lr = _low(task.pair, hr, self._protocol, self._make_low)
            made = iter([_read(path) for path in task.made])
        except _UnreadableError as error:
            return str(error)
        shown: dict[str, Tensor] = {}
        scores = []
        for entrant in self._entrants:
            sr = self._protocol.crop_to_scale(entrant.enlarge(lr) if entrant.enlarge is not None else next(made))
            scores += self._scorer.score(sr.to(self._device), hr.to(self._device), lr.to(self._device))
            shown[entrant.name] = sr
        return _Scored(scores, cut_strip(task.pair.name, hr, lr, shown, self._side) if self._side else None)


def _protocol(wanted: str | Protocol, generators: Sequence[Entrant], scale: int | None) -> Protocol:
    """The protocol for the scale that all generators have.

    Raises:
        UserError: there is none of that name; it, the generators or `scale` differ in their scale.
    """
    own = common_scale(generators)
    if scale is not None and scale < 1:
        raise UserError(f"scale {scale}: must be 1 or more")
    if None not in (own, scale) and own != scale:
        raise UserError(f"scale {scale}: the model enlarges x{own}; leave --scale out")
    found = own or scale
    if isinstance(wanted, str):
        return protocol_named(wanted, found)
    if found not in (None, wanted.scale):
        raise UserError(f"protocol {wanted.name!r}: is for x{wanted.scale}, but what is scored enlarges x{found}")
    return wanted


def _low(pair: Pair, hr: Tensor, protocol: Protocol, make_low: Degradation) -> Tensor:
    return _read(pair.other) if pair.other is not None else make_low(protocol.quantise(hr), [seed_of(pair.name)])


def _there(path: Path | None) -> Path:
    assert path is not None, "pair_with pairs every image"
    return path


class _UnreadableError(Exception):
    """One image of many is to be left out; the message is one line that names the file."""


def _read(path: Path) -> Tensor:
    try:
        return torch.from_numpy(read_rgb(path))[None]
    except Exception as error:  # noqa: BLE001 (whatever one file does, the others are scored)
        raise _UnreadableError(in_one_line(error, path)) from None


def _info(path: Path) -> RasterInfo:
    try:
        return Raster.open(path).info
    except Exception as error:  # noqa: BLE001
        raise _UnreadableError(in_one_line(error, path)) from None


def _check_sizes(pairs: list[Pair], protocol: Protocol, factor: int) -> dict[str, str]:
    """Look at the sizes of all images, from their headers alone; `factor` is how many times smaller the others are.

    Returns:
        Why an image cannot be read, by its name.
    """
    unreadable = {}
    for pair in pairs:
        try:
            _check_size(pair, protocol, factor)
        except _UnreadableError as error:
            unreadable[pair.name] = str(error)
    return unreadable


def _check_size(pair: Pair, protocol: Protocol, factor: int) -> None:
    truth = _info(pair.hr)
    width, height = (size - size % protocol.scale for size in (truth.width, truth.height))
    if min(width, height) < MIN_SIZE:
        raise UserError(
            f"{pair.hr}: {truth.width}x{truth.height} is too small to be scored; leave out images below "
            f"{MIN_SIZE}x{MIN_SIZE} pixels"
        )
    if pair.other is None:
        return
    other = _info(pair.other)
    fits = (other.width, other.height) == (width // factor, height // factor)
    if not fits and not (factor == 1 and (other.width, other.height) == (truth.width, truth.height)):
        raise UserError(
            f"{pair.other}: {other.width}x{other.height}, but {pair.hr.name} needs {width // factor}x"
            f"{height // factor}; give images of {'the same size' if factor == 1 else f'1/{factor} of the size'}"
        )
