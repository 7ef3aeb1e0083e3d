"""Training on scientific files: windows of large rasters as 16-bit pictures."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gramgan.collect.holdout import choose_sides
from gramgan.collect.manifest import ManifestEntry, refuse_foreign_lists, write_manifest
from gramgan.errors import UserError
from gramgan.files import ensure_folder, sha256
from gramgan.images import Window, write_image
from gramgan.progress import Progress, silent
from gramgan.scientific.arrangement import Channel, arrange_file, group_raster
from gramgan.scientific.base import Reading, ScientificFile
from gramgan.scientific.detect import open_scientific, scientific_kind
from gramgan.scientific.record import write_record

MIN_DEVIATION = 0.01
"""Standard deviation of a window's values in [0, 1] below which there is no texture to learn."""


@dataclass(frozen=True)
class CutResult:
    """What `cut_windows` did: windows written, and those left out for holes and for lack of texture."""

    windows: int
    with_holes: int
    without_texture: int


def scientific_files(folder: Path) -> list[Path]:
    """All scientific files below `folder`, sorted.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with GeoTIFF, DICOM, OME or ImageJ files")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and scientific_kind(path) is not None]
    found = [path for path in found if path.name != "DICOMDIR"]
    if not found:
        raise UserError(
            f"{folder}: no GeoTIFF, DICOM, OME or ImageJ file in it; leave --bands and --radiometry out for photographs"
        )
    return found


def cut_windows(
    folder: Path,
    output: Path,
    reading: Reading,
    *,
    size: int,
    step: int,
    licence: str = "not stated",
    allow_huge: bool = False,
    progress: Progress = silent,
) -> CutResult:
    """Cut the groups that `reading` names, or all, of every scientific file of `folder` into windows to train on.

    A window is what the network sees: a PNG of 16 bits, grey or RGB, black and white by the radiometry. Those with a
    hole and those without texture are left out. All windows of one file are on the same side of the split. `output` is
    then a folder of photographs like any other, for `gramgan train`, `db build` and `prepare`.

    Args:
        folder: the files; it is only read.
        output: gets the windows, `manifest.csv` and a record of `reading`.
        reading: groups and radiometry.
        size: side of a window in pixels.
        step: from one window to the next.
        licence: of the files.
        allow_huge: lift the limit of pixels.
        progress: told (files done, files in all).

    Raises:
        UserError: a folder is missing, not writable or holds lists of another program; a file cannot be read; or
            nothing is left to train on.
    """
    files = scientific_files(folder)
    ensure_folder(output)
    refuse_foreign_lists(output)
    sides = choose_sides((path.relative_to(folder).as_posix() for path in files), {})
    entries: list[ManifestEntry] = []
    skipped = {"holes": 0, "plain": 0}
    for done, path in enumerate(files, start=1):
        file = open_scientific(path, reading, allow_huge=allow_huge)
        assert file is not None
        with closing(file):
            name = path.relative_to(folder).as_posix()
            groups = arrange_file(file, reading).groups
            wanted = sum(not choice.nearest for choice in reading.bands) or len(groups)  # those come first
            for number, group in enumerate(groups[:wanted], start=1):
                for window, values in _windows(file, group, size, step, skipped):
                    entries.append(
                        _write(output, values, name, number, window, group=name, side=sides[name], licence=licence)
                    )
        progress(done, len(files))
    if not entries:
        raise UserError(
            f"{folder}: no window of {size} pixels has texture and no hole ({skipped['holes']} with holes, "
            f"{skipped['plain']} without texture); use a smaller --size or another --radiometry"
        )
    write_manifest(output, entries)
    write_record(output, reading)
    return CutResult(len(entries), skipped["holes"], skipped["plain"])


def _windows(
    file: ScientificFile, group: tuple[Channel, ...], size: int, step: int, skipped: dict[str, int]
) -> Iterator[tuple[Window, np.ndarray]]:
    raster = group_raster(file, group)
    layers = [channel.layer for channel in group]
    for y in range(0, file.height - size + 1, step):
        for x in range(0, file.width - size + 1, step):
            window = Window(x, y, size, size)
            valid = file.valid(layers, window)
            if valid is not None and not valid.all():
                skipped["holes"] += 1
                continue
            values = raster.read(window)
            if values.std(axis=(1, 2)).max() < MIN_DEVIATION:
                skipped["plain"] += 1
                continue
            yield window, values


def _write(
    output: Path,
    values: np.ndarray,
    name: str,
    number: int,
    window: Window,
    *,
    group: str,
    side: Literal["train", "holdout"],
    licence: str,
) -> ManifestEntry:
    stem = "-".join(name.replace(".", "-").split("/"))
    target = output / f"{stem}_g{number:03d}_x{window.x:05d}_y{window.y:05d}.png"
    write_image(target, values, bits=16)
    pixels = np.floor(values * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    return ManifestEntry(
        file=target.name,
        width=window.width,
        height=window.height,
        sha256=sha256(target),
        pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        source=f"{name}#group={number}&x={window.x}&y={window.y}",
        licence=licence,
        licence_url="",
        author="",
        title="",
        page_url="",
        group=group,
        split=side,
    )
