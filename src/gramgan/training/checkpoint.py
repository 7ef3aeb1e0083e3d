"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

import contextlib
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.weights.pickled import DAMAGED, load_pickled

_NAME = re.compile(r"(\d{7,})\.pt")
_FORMAT = 2


def save_checkpoint(folder: Path, iteration: int, state: dict[str, Any], keep: int, spare: int | None = None) -> Path:
    """Write `state` as `NNNNNNN.pt`, atomically, and delete all but the newest `keep` checkpoints.

    Args:
        folder: the folder of checkpoints.
        iteration: the name of this one.
        state: what it holds.
        keep: how many stay.
        spare: the iteration of one that stays in any case.

    Raises:
        UserError: the disk is full; the older checkpoints stay.
    """
    path = folder / f"{iteration:07d}.pt"
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save({"format": _FORMAT, "iteration": iteration, **state}, file)
            except RuntimeError as error:
                # torch still wants to end its archive on a full disk; what went wrong is what happened before that.
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None
    except UserError as error:
        older = checkpoints(folder)
        stays = (
            f"; the checkpoint of iteration {int(older[-1].stem)} is kept, --resume goes on from it" if older else ""
        )
        raise UserError(f"{error}{stays}") from error
    for old in checkpoints(folder)[:-keep]:
        if int(old.stem) != spare:
            old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints, oldest first."""
    return sorted((path for path in folder.glob("*.pt") if _NAME.fullmatch(path.name)), key=lambda path: int(path.stem))


def load_checkpoint(folder: Path, before: int | None = None) -> dict[str, Any]:
    """The newest checkpoint's state, on the CPU; the newest before an iteration if that is given and there is one.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    found = checkpoints(folder)
    if not found:
        raise UserError(f"{folder}: holds no checkpoint to resume from; start the run again without --resume")
    earlier = [path for path in found if before is None or int(path.stem) < before]
    path = (earlier or found)[-1]
    damaged = UserError(f"{path}: damaged or no checkpoint; delete it to resume from the one before")
    try:
        state = load_pickled(path, checksums=True)
    except (OSError, pickle.UnpicklingError, *DAMAGED):
        raise damaged from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise UserError(f"{path}: written by another version of Gram-GAN; resume with that version")
    return state


@contextlib.contextmanager
def putting_back(folder: Path) -> Iterator[None]:
    """Say in one line that the newest checkpoint in `folder` is not of this run, whatever that raises.

    Raises:
        UserError: what the block raises for a checkpoint of other contents.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except DAMAGED as error:
        what = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"{checkpoints(folder)[-1]}: does not hold what this run needs ({type(error).__name__}: {what}); delete it "
            "to resume from the one before"
        ) from error


def drop_checkpoints(folder: Path, after: int) -> None:
    """Delete the checkpoints of iterations after `after`: the run has gone back there."""
    for path in checkpoints(folder):
        if int(path.stem) > after:
            path.unlink()
