"""What a shell offers for the values of options; called at each press of the tab key, so it imports little."""

import glob
import os
from pathlib import Path


def presets() -> list[str]:
    """Names of presets."""
    from gramgan.config import preset_names

    return preset_names()


def generators(incomplete: str) -> list[str]:
    """Names of known generators, and files and folders that begin like `incomplete`."""
    from gramgan.weights.catalog import KNOWN

    return [known.name for known in KNOWN.values() if known.kind == "generator"] + _paths(incomplete)


def run_folders(incomplete: str) -> list[str]:
    """Folders of training runs in `runs`, and folders that begin like `incomplete`."""
    found = sorted(str(log.parent) for log in Path("runs").glob("*/log.jsonl"))
    return found + [path for path in _paths(incomplete) if path.endswith("/") and path.rstrip("/") not in found]


def _paths(incomplete: str) -> list[str]:
    if not incomplete:
        return []
    folder, begun = os.path.split(incomplete)
    found = sorted(Path(folder or ".").glob(f"{glob.escape(begun)}*"))
    return [f"{path}/" if path.is_dir() else str(path) for path in found]
