"""Looking at every file of a folder: can it be used, how good is it, and what has to be known of it."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gramgan.errors import UserError, in_one_line
from gramgan.files import sha256
from gramgan.images import IMAGE_SUFFIXES, Raster, RasterInfo
from gramgan.images.fingerprint import Lookalikes, Thumbnail, fingerprint, turned
from gramgan.images.folders import walk
from gramgan.images.formats import FORMATS
from gramgan.images.strips import luma, strips
from gramgan.images.values import depth_note
from gramgan.images.vips import name_for, pyvips
from gramgan.prepare.colours import is_srgb
from gramgan.prepare.measures import Measures
from gramgan.scientific.record import RECORD

VERSION = 2
"""Of what a `Check` holds and how it is measured; a journal of another version is not used."""

_OWN_LISTS = ("manifest.csv", "left-out.csv", "attribution.md", RECORD)
_LONG = 20  # times as long as wide: hardly a photograph
_PAGES = ("GIF", "WebP", "AVIF", "PNG")  # formats whose pages are frames


@dataclass(frozen=True)
class Check:
    """One file of a folder: a line of the report.

    `file` is relative to the folder. `width` and `height` are in pixels, upright, 0 where the header cannot be read;
    `bits` of a sample (32: float); `channels` in words. `blur` and `blockiness` are those of `Measures`. `problem` says
    in a few words why the file is not used, empty if it is; `notes` are what is worth knowing of a file all the same,
    and `odd` those of them that training would suffer from, or that are not in its pixels.
    `pixels_sha256` is of the values that sub-images are cut from.
    """

    file: str
    problem: str = ""
    notes: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    format: str = ""
    width: int = 0
    height: int = 0
    bits: int = 0
    channels: str = ""
    blur: float | None = None
    blockiness: float | None = None
    duplicate_of: str = ""
    leaks: str = ""
    sha256: str = ""
    pixels_sha256: str = ""
    fingerprint: str = ""

    @property
    def is_damaged(self) -> bool:
        """Whether it begins like an image and cannot be decoded."""
        return self.problem.startswith("damaged ")


def files_of(folder: Path) -> list[Path]:
    """All files below `folder`, sorted, but for hidden ones and the lists that `gramgan collect` writes.

    Raises:
        UserError: there is no such folder, or no file in it.
    """
    found = [
        path
        for path in walk(folder, "photographs").files
        if path.relative_to(folder).as_posix().lower() not in _OWN_LISTS
    ]
    if not found:
        raise UserError(f"{folder}: this folder is empty; give a folder with photographs")
    return found


def check_file(path: Path, file: str, min_size: int, *, allow_huge: bool = False) -> Check:
    """Decode one file to the last pixel and measure it. Nothing that is wrong with it is raised: it is in the result.

    Args:
        path: the file.
        file: what the report calls it.
        min_size: smallest width and height in pixels that can be used.
        allow_huge: accept more than `MAX_PIXELS` pixels.
    """
    check = Check(file)
    try:
        raster = Raster.open(path, allow_huge=allow_huge)
        info = raster.info
        check = replace(
            check,
            format=info.format,
            width=info.width,
            height=info.height,
            bits=info.bits,
            channels=("grey" if info.colour_channels == 1 else "RGB") + (" + alpha" if info.has_alpha else ""),
            notes=_notes(path, info),
        )
        measured, deep = _measured(raster)
        odd = (*info.notes, *filter(None, [deep]))
        check = replace(check, **measured, notes=(*check.notes, *odd), odd=odd, sha256=sha256(path))
    except Exception as error:  # noqa: BLE001 (one odd file must not end the check of all)
        text = in_one_line(error, path).removeprefix(f"{path}: ").partition("; ")[0]
        is_other = not check.format and path.suffix.lower() not in IMAGE_SUFFIXES
        return replace(check, problem=f"no image ({path.suffix or 'without a suffix'})" if is_other else text)
    if check.format == "GIF" or (info.pages > 1 and info.format in _PAGES):
        what = f"an animation of {info.pages} frames" if info.pages > 1 else "a picture of 256 colours"
        return replace(check, problem=f"{what}, no photograph")
    if min(info.width, info.height) < min_size:
        problem = f"too small: {info.width}x{info.height}, less than {min_size} pixels for a sub-image"
        return replace(check, problem=problem)
    return check


def mark_leaks(checks: Iterable[Check], benchmarks: Lookalikes) -> list[Check]:
    """The checks with what looks like a benchmark's image, turned, mirrored or not, marked."""
    marked = []
    for check in checks:
        near = benchmarks.nearest(check.fingerprint)
        if near is not None:
            problem = check.problem or f"leaks: looks like {near[0]} ({near[1]} of 255 bits differ)"
            check = replace(check, leaks=near[0], problem=problem)
        marked.append(check)
    return marked


def mark_duplicates(checks: Sequence[Check]) -> list[Check]:
    """The checks with all but the largest of pictures that look alike marked; unusable ones are duplicates of none."""
    lookalikes = Lookalikes()
    by_pixels: dict[str, str] = {}
    marked = {check.file: check for check in checks}
    for check in sorted(checks, key=lambda check: (-check.width * check.height, check.file)):
        if check.problem:
            continue
        twin = by_pixels.get(check.pixels_sha256)
        near = lookalikes.nearest(check.fingerprint)
        if twin is not None:
            problem, original = f"duplicate: the same pixels as {twin}", twin
        elif near is not None:
            problem, original = f"duplicate: looks like {near[0]} ({near[1]} of 255 bits differ)", near[0]
        else:
            by_pixels[check.pixels_sha256] = check.file
            lookalikes.add(check.file, [check.fingerprint])
            continue
        marked[check.file] = replace(check, problem=problem, duplicate_of=original)
    return [marked[check.file] for check in checks]


def mark_poor(checks: Iterable[Check], max_blur: float | None, max_blockiness: float | None) -> list[Check]:
    """The checks with those marked that are more blurred, or blockier, than is wanted."""
    marked = []
    for check in checks:
        if not check.problem and max_blur is not None and (check.blur or 0) > max_blur:
            check = replace(check, problem=f"too blurred: {check.blur:.2f}, more than {max_blur:g}")
        if not check.problem and max_blockiness is not None and (check.blockiness or 0) > max_blockiness:
            check = replace(check, problem=f"too blocky: {check.blockiness:.1f}, more than {max_blockiness:g}")
        marked.append(check)
    return marked


def thumbnail_of(path: Path) -> np.ndarray | None:
    """The thumbnail of a file (see `Thumbnail.values`). Raises `UserError` if it cannot be read."""
    raster = Raster.open(path)
    cells = Thumbnail(raster.info.width, raster.info.height)
    for top, strip in strips(raster):
        cells.add(top, luma(strip))
    return cells.values()


def turned_marks(path: Path) -> list[str]:
    """The fingerprints of a benchmark's image in all eight orientations, which training would turn it to."""
    return turned(thumbnail_of(path))


def _measured(raster: Raster) -> tuple[dict[str, object], str | None]:
    """What is measured of the pixels, and what is to be said of their depth."""
    info = raster.info
    cells, measures = Thumbnail(info.width, info.height), Measures()
    highest = 0.0
    digest = hashlib.sha256(f"{info.width}x{info.height}".encode())
    for top, strip in strips(raster):
        strip = np.clip(strip, 0, 1)
        highest = max(highest, float(strip.max()))
        digest.update(np.ascontiguousarray(strip.transpose(1, 2, 0)).tobytes())
        brightness = luma(strip)
        cells.add(top, brightness)
        measures.add(brightness)
    found = {
        "blur": measures.blur,
        "blockiness": measures.blockiness,
        "pixels_sha256": digest.hexdigest(),
        "fingerprint": fingerprint(cells.values()),
    }
    return found, depth_note(round(highest * 65535)) if info.dtype == "uint16" else None


def _notes(path: Path, info: RasterInfo) -> tuple[str, ...]:
    notes = []
    suffixes = next((one.suffixes for one in FORMATS if one.name == info.format), ())
    if suffixes and path.suffix.lower() not in suffixes:
        notes.append(f"a {info.format} file that is called {path.suffix or 'nothing'}")
    stored = pyvips.Image.new_from_source(pyvips.Source.new_from_file(name_for(path)), "")
    if stored.interpretation == "cmyk":
        notes.append("CMYK, converted to RGB")
    orientation = stored.get("orientation") if stored.get_typeof("orientation") else 1
    if orientation != 1:
        notes.append(f"turned upright (EXIF orientation {orientation})")
    if info.bits != 8:
        notes.append("float samples" if info.bits == 32 else f"{info.bits} bits")
    if info.has_alpha:
        notes.append("transparency is dropped")
    if info.icc is not None and not is_srgb(info.icc):
        notes.append("converted to sRGB by its colour profile")
    if info.pages > 1 and info.format not in _PAGES:
        notes.append(f"the first of {info.pages} pages is used")
    if max(info.width, info.height) > _LONG * min(info.width, info.height):
        notes.append("very long and narrow")
    return tuple(notes)
