"""Which machines a run was made on: a note in its folder for every start and resumption."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from gramgan import __version__
from gramgan.errors import UserError
from gramgan.files import parse_json, write_text
from gramgan.hardware.probe import device_name

_NAME = "machines.json"


def machine(device: str) -> dict[str, str]:
    """What computes on `device` (as torch names it), by title: device, processor, system, versions."""
    return {
        "device": f"{device}: {device_name(device)}",
        "processor": f"{device_name('cpu')}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "system": platform.platform(),
        "versions": f"Gram-GAN {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def note_machine(run: Path, device: str, iteration: int) -> None:
    """Note that the run continues here from `iteration` on, unless the machine is the one noted last.

    Raises:
        UserError: the folder is not writable, or the earlier note is damaged.
    """
    before = [note for note in read_machines(run) if note["from"] <= iteration] if iteration else []
    note = {"from": iteration, **machine(device)}
    if before and {**before[-1], "from": iteration} == note:
        return
    write_text(run / _NAME, json.dumps([*before, note], indent=2) + "\n")


def read_machines(run: Path) -> list[dict[str, Any]]:
    """The notes, oldest first: `from` is an iteration, all else is text. Empty for runs that have none.

    Raises:
        UserError: the file is damaged.
    """
    path = run / _NAME
    if not path.exists():
        return []
    try:
        notes = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(notes, list) or not all(isinstance(note["from"], int) for note in notes):
            raise ValueError(path)
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is damaged; delete it, the run only loses the note of its machines") from None
    return notes
