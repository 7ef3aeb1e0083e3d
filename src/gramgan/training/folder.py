"""What a run leaves in its folder, for whoever lists or shows runs: names, settings, log. Imports no framework."""

import csv
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.files import parse_json

CONFIG = "config.yaml"
BEST_GENERATOR = "gramgan_G_best"
BEST_DISCRIMINATOR = "gramgan_G_best_D"
PSNR_GENERATOR = "gramgan_G_psnr"
USAGE = "patch_usage.csv"
"""How often each patch of a texture database was a target."""

_INT64 = 2**63

Record = dict[str, Any]
"""A line of the log: `event`, `iteration`, and what belongs to the event."""


def is_run(folder: Path) -> bool:
    """Whether a training has been started in the folder: it holds settings, and a log or checkpoints beside them."""
    return (folder / CONFIG).is_file() and ((folder / "log.jsonl").exists() or (folder / "checkpoints").is_dir())


def settings_path(folder: Path) -> Path:
    """The file with a run's resolved settings.

    Raises:
        UserError: the folder is no run.
    """
    path = folder / CONFIG
    if not path.exists():
        raise UserError(f"{folder}: is not a training run (it has no {CONFIG}); give the run's folder")
    return path


def read_log(run: Path) -> list[Record]:
    """All whole records of a run's log; a line that a crash cut short at the end is left out.

    Raises:
        UserError: another line is damaged.
    """
    path = run / "log.jsonl"
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # behind the last end of a line is nothing, or what a crash left
    return [_record(line, f"{path}: line {number}") for number, line in enumerate(lines, start=1)]


def read_usage(run: Path) -> list[tuple[int, int]]:
    """(patch id, count) of the run's targets, the most used first.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = run / USAGE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            used = [(int(line["patch_id"]), int(line["count"])) for line in csv.DictReader(file)]
        if any(count < 1 or not -_INT64 <= patch_id < _INT64 for patch_id, count in used):
            raise ValueError("a number that is none")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path}: there is no such file; the run used no database, or has logged nothing yet: leave --run out"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None
    except (KeyError, TypeError, ValueError, csv.Error):
        raise UserError(
            f"{path}: damaged, not a list of patch_id,count; restore it, or delete it to go on without"
        ) from None
    return used


def _record(line: bytes, where: str) -> Record:
    try:
        record = parse_json(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"event", "iteration"} <= record.keys():
        raise UserError(f"{where} is damaged, it is no record of a training; delete that line")
    return record
