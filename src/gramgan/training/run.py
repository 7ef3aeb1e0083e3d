"""A training run from settings to weights: its folder, starting, resuming, stopping."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from torch import nn

from gramgan.arguments import checked
from gramgan.config import Config, load_config
from gramgan.config.sections import DatabaseConfig, Stage
from gramgan.errors import UserError
from gramgan.files import ensure_folder, remove_leftovers, write_error, write_text
from gramgan.hardware.allocator import keep_memory
from gramgan.locks import claim, release
from gramgan.names import in_utf8
from gramgan.places import ObjectPath, as_place
from gramgan.progress import Progress, silent
from gramgan.training.build import build_training, resolve
from gramgan.training.checkpoint import checkpoints, load_checkpoint, putting_back
from gramgan.training.databases import entries_in_words, resumed_entries, tag_versions
from gramgan.training.folder import BEST_GENERATOR, CONFIG, Record, read_log, settings_path
from gramgan.training.loop import Loop, Observer
from gramgan.training.machines import note_machine
from gramgan.training.own import OwnParts, gather, record_parts
from gramgan.training.processes import Processes, launch, quieten_others
from gramgan.training.weights import name_overlap

_LOCK = ".lock"
_FIRST = 0  # the iteration of the checkpoint that a run makes before its first step

# What a resumed run may change. Whole sections: how long it takes and how fast it learns, what it does when it breaks.
_CHANGEABLE = ("stages", "schedule", "guard", "log")
_CHANGEABLE_PARTS = {
    "texture": ("candidates", "databases", "search", "recall"),  # where targets come from, not what they are
    "data": ("source", "workers"),  # how images are read; the crops are the same
    "train": (  # what it runs on, and how far a step may go
        "device",
        "devices",
        "num_nodes",
        "precision",
        "memory_format",
        "compile",
        "activation_checkpointing",
        "clip",
        "clip_discriminator",
    ),
}
_SETTLED = ("train.device", "train.precision", "train.memory_format", "data.source")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    `best` is the weight file of the best validation (None if there was none yet), `scores` are its scores. `first` is
    False in all but one of several processes that train together: that one tells what came of it.
    """

    folder: Path
    iteration: int
    finished: bool
    best: Path | None
    scores: dict[str, float]
    first: bool = True


class Unwatched:
    """An observer that shows nothing."""

    def iteration(self, done: int, total: int, stage: Stage) -> None:
        """`done` of `total` iterations are behind."""

    def record(self, record: Record) -> None:
        """A record was written to the log."""


@checked
def train(
    config: Config,
    folder: Path | str | None = None,
    *,
    generator: nn.Module | Callable[[], nn.Module] | None = None,
    discriminator: nn.Module | Callable[[], nn.Module] | None = None,
    losses: Mapping[str, tuple[Callable[..., Any], float]] | None = None,
    degradation: Callable[..., Any] | None = None,
    crops: Callable[[int, int, int], Any] | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    resume: bool = False,
    observer: Observer | None = None,
    loading: Progress = silent,
) -> RunResult:
    """Train as `config` says and leave everything in `folder`.

    The folder gets `config.yaml` (resolved), `log.jsonl`, `tensorboard/`, `samples/`, `checkpoints/`,
    `patch_usage.csv` and the best weights of generator and discriminator. SIGINT and SIGTERM let the step end, save a
    checkpoint and return.

    Args:
        config: the settings; with `resume` they must be the run's own, but for `stages`, `schedule`, `guard`, `log`,
            the texture databases and how they are searched, the devices and the clipping of gradients; what was left to
            the run (`auto`, the newest version of a database) stays as it was decided.
        folder: the run's folder; None: `runs/` and the name of the preset.
        generator: a generator of your own, or what makes one: RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, sH, sW]`, s =
            `generator.scale`. All parts of your own are tried on a small tensor first, and recorded in the run; give
            them again to resume.
        discriminator: the same; it gives logits `[B, 1]` or `[B, 1, H, W]` of images, or with two feature maps for
            L_DP: `(logit, early, late)`.
        losses: (function, weight) by name, in the adversarial stage beside the others. A function names what it takes
            of `sr`, `hr`, `lr` and `average` (the averaged generator's result) and gives a scalar.
        degradation: `hr → lr`, or `(hr, seeds) → lr` with a number for each image that decides all that is random.
        crops: `(number, batch, crop) → [batch, 3, crop, crop]` in [0, 1], or a pair (HR, LR), the same for the same
            number: in place of photographs.
        metrics: `(sr, hr) → number` by name, of images `[1, 3, H, W]` in [0, 1]; less is better, unless the function
            has an attribute `higher_is_better = True`. `log.best_by` may name one.
        resume: go on from the newest checkpoint there.
        observer: told of every iteration and record.
        loading: progress of reading the photographs.

    Raises:
        UserError: the settings do not fit the data, the folder holds another run, another process trains in it, losses
            stay not finite, the disk is full.
    """
    folder = Path("runs") / config.preset if folder is None else as_place(folder)
    if isinstance(folder, ObjectPath):
        raise UserError(
            f"{folder}: a run appends to its journals, so it needs a local folder; train there, and copy the folder "
            "when it is finished"
        )
    keep_memory()
    given = {"generator": generator, "discriminator": discriminator, "losses": losses, "metrics": metrics}
    own = gather(config, {**given, "degradation": degradation, "crops": crops})
    quieten_others()
    databases_before = ()
    if resume:
        databases_before = load_config(file=settings_path(folder)).texture.databases
        config = _resumed(config, folder)
    elif any(int(path.stem) > _FIRST for path in checkpoints(folder / "checkpoints")):
        raise UserError(f"{folder}: holds a training run already; go on with --resume or choose another folder")
    settings, processes = launch(config.train)
    config = config.model_copy(update={"train": settings})
    with contextlib.ExitStack() as stack:
        processes.alone(lambda: stack.enter_context(_claimed(folder)))
        config = processes.from_first(_settled(config, folder, databases_before, processes, own))
        processes.alone(lambda: record_parts(folder, own, resume=resume))
        saved = processes.together(lambda: _newest(folder)) if resume else None
        parts = processes.together(
            lambda: build_training(config, loading if processes.first else silent, processes, own)
        )
        should_stop = stack.enter_context(_stop_requests())
        loop = Loop(config, parts, folder, observer or Unwatched(), should_stop)
        if saved is not None:
            processes.together(lambda: _put_back(loop, saved, folder))
        processes.alone(lambda: write_text(folder / CONFIG, config.to_yaml()))
        processes.alone(lambda: note_machine(folder, config.train.device, loop.iteration))
        finished = loop.run()
        if finished and loop.best:
            truth = parts.validator.truth().values()
            processes.alone(lambda: name_overlap(folder, truth, parts.fabric.device, parts.ema.module))
    best = folder / f"{BEST_GENERATOR}.safetensors"
    return RunResult(
        folder,
        loop.iteration,
        finished,
        best if loop.best else None,
        loop.best.scores if loop.best else {},
        processes.first,
    )


def _resumed(config: Config, folder: Path) -> Config:
    """The run's own settings with the changes that a resumed run may make applied, and others refused."""
    stored = load_config(file=settings_path(folder))
    databases = resumed_entries(config.texture.databases, stored.texture.databases)
    config = config.model_copy(update={"texture": config.texture.model_copy(update={"databases": databases})})
    changeable = tuple(f"{section}.{name}" for section, names in _CHANGEABLE_PARTS.items() for name in names)
    old = _flat(stored.model_dump(mode="json"))
    new = _flat(config.model_dump(mode="json"))
    for key in {**old, **new}:
        value = new.get(key)
        if value == old.get(key) or (key in _SETTLED and value == "auto"):
            continue
        if key.partition(".")[0] not in _CHANGEABLE and key not in changeable:
            raise UserError(
                f"{key}: is {old.get(key)} in this run and cannot become {value}; "
                f"a resumed run may change only {', '.join((*_CHANGEABLE, *changeable[:-1]))} and {changeable[-1]}"
            )
        if key == "texture.databases":
            _log_new_databases(databases, stored.texture.databases)
        else:
            _log.info("resuming with %s = %s (was %s)", key, value, old.get(key))
    sections: dict[str, Any] = {section: getattr(config, section) for section in _CHANGEABLE}
    for section, names in _CHANGEABLE_PARTS.items():
        new = {name: getattr(getattr(config, section), name) for name in names}
        kept = {name: value for name, value in new.items() if not (f"{section}.{name}" in _SETTLED and value == "auto")}
        sections[section] = getattr(stored, section).model_copy(update=kept)
    return stored.model_copy(update=sections)


def _settled(
    config: Config, folder: Path, databases_before: Sequence[DatabaseConfig], processes: Processes, own: OwnParts
) -> Config:
    """The settings with what was left to the run decided, by the first process."""

    def settle() -> None:
        nonlocal config
        for place in (folder, folder / "checkpoints", *(folder / "samples").glob("*")):
            if place.is_dir():
                remove_leftovers(place)
        config = resolve(config, own)
        if config.uses_database:
            tag_versions(folder, config.texture.databases, databases_before)
        if not (folder / CONFIG).exists():  # from here on the run can be resumed, whatever happens
            write_text(folder / CONFIG, config.to_yaml())

    processes.alone(settle)
    return config


def _newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint; None for a run that was stopped before it had made one.

    Raises:
        UserError: it has made one, and that cannot be read.
    """
    if checkpoints(folder / "checkpoints") or any(record["iteration"] > 0 for record in read_log(folder)):
        return load_checkpoint(folder / "checkpoints")
    _log.warning("%s: was stopped before its first checkpoint; it begins anew", folder)
    return None


def _put_back(loop: Loop, saved: dict[str, Any], folder: Path) -> None:
    with putting_back(folder / "checkpoints"):
        loop.restore(saved)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from training in `folder`.

    Raises:
        UserError: one does already, or the folder cannot be used.
    """
    if in_utf8(str(folder)) != str(folder):
        raise UserError(f"{folder}: TensorBoard takes names in UTF-8 only; choose another folder")
    ensure_folder(folder)
    path = folder / _LOCK
    try:
        handle = claim(path)
    except OSError as error:
        raise write_error(path, error) from None
    if handle is None:
        raise UserError(f"{folder}: another process trains in this folder; wait for it or choose another one")
    try:
        yield
    finally:
        release(handle, path)


def _log_new_databases(new: Sequence[DatabaseConfig], old: Sequence[DatabaseConfig]) -> None:
    _log.info("resuming with the texture databases %s (were %s)", entries_in_words(new), entries_in_words(old))
    if new and old and (new[0].path, new[0].identity) != (old[0].path, old[0].identity):
        _log.warning(
            "%s is the first database now: its scale is used, and the texture loss may weigh more or less than before",
            new[0].path,
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"seed": 0}}` as `{"train.seed": 0}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


@contextlib.contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question that the loop asks after each step; a second signal acts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        _log.warning("stopping after this step (%s); once more to stop at once", signal.Signals(number).name)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers; there the caller's stay
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
