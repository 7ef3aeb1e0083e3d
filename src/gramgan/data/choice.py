"""How images are read: from memory where they fit, else in the background from where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gramgan.data.items import Item
from gramgan.data.resident import ResidentPhotos
from gramgan.data.shards import shards_in
from gramgan.data.source import CropSource, Demand
from gramgan.data.stream import StreamedImages
from gramgan.errors import UserError
from gramgan.hardware.device import free_device_bytes
from gramgan.hardware.processor import threads
from gramgan.images.folders import is_image, walk
from gramgan.progress import Progress, silent

SourceKind = Literal["folder", "shards", "pairs"]
"""What images come from: files of a folder, WebDataset shards, folders of HR and LR images."""
Way = Literal["resident", "folder", "shards", "pairs"]
"""How a training reads them: from the device's memory, or streamed from what they come from."""

_SHARE = 0.4  # of the free memory that images may take; the training itself needs the rest
_LOOKED_AT = 200  # images whose sizes stand for all
_GIB = 2**30
_MAX_WORKERS = 16


@dataclass(frozen=True)
class SourceChoice:
    """How to read, and in a few words why."""

    way: Way
    why: str


def kind_of(photos: Path, low: Path | None) -> SourceKind:
    """What `data.photos` and `data.low` are: shards are a tar file, or a folder that holds some and no image."""
    if low is not None:
        return "pairs"
    if photos.is_file():
        return "shards"
    holds_images = any(map(is_image, walk(photos).files))
    return "folder" if holds_images or not shards_in(photos) else "shards"


def choose(items: Sequence[Item], kind: SourceKind, device: str, processes: int = 1) -> SourceChoice:
    """Resident where all images take at most two fifths of the device's free memory, else streamed.

    Args:
        items: all images; the sizes of up to 200 of them, evenly spread, stand for all.
        kind: what they come from.
        device: where the training runs.
        processes: how many of them train on this machine; on a CPU each holds its own images.
    """
    needed, free = resident_bytes(items), free_device_bytes(device)
    if device == "cpu":
        needed *= processes
    fits = needed <= _SHARE * free
    memory = f"{_gib(needed)} of {_gib(free)} free {'memory' if device == 'cpu' else 'memory on ' + device}"
    why = f"{len(items)} images would take about {memory}" + ("" if fits else f", more than {_SHARE:.0%}")
    return SourceChoice("resident" if fits else kind, why)


def resident_bytes(items: Sequence[Item]) -> int:
    """About how many bytes all images take as uint8 in memory; ones that cannot be read count as the others do."""
    looked_at = items[:: max(1, len(items) // _LOOKED_AT)]
    sizes = []
    for item in looked_at:
        try:
            infos = [place.open(sequential=True).info for place in (item.high, item.low) if place is not None]
        except UserError:
            continue  # it is named when it is read
        sizes.append(sum(3 * info.width * info.height for info in infos))
    return round(sum(sizes) / len(sizes) * len(items)) if sizes else 0


def open_source(
    way: Way, items: Sequence[Item], demand: Demand, *, workers: int | None = None, progress: Progress = silent
) -> CropSource:
    """The source that reads `items` that way; `workers` decode in the background (None: see `usual_workers`).

    Raises:
        UserError: see the sources.
    """
    if way == "resident":
        return ResidentPhotos(items, demand, progress=progress)
    return StreamedImages(items, demand, workers=workers or usual_workers())


def usual_workers(processes: int = 1) -> int:
    """One worker for each processor that a training process has for itself, 16 at most."""
    return max(1, min(_MAX_WORKERS, threads() // processes))


def _gib(size: float) -> str:
    return f"{size / _GIB:.2g} GiB"
