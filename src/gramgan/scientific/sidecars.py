"""Files beside a raster that say where it lies and what it means: which there are, and what GDAL is shown of them."""

import contextlib
import functools
import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from xml.parsers import expat

from gramgan.files import write_bytes, write_text
from gramgan.images import Raster
from gramgan.images.formats.tiff_directory import TIFF_SIGNATURES
from gramgan.places import changed_at

_log = logging.getLogger(__name__)

PROJECTION, MASK = ".prj", ".msk"
_PAM = ".aux.xml"
# After the whole name, and in place of the suffix: what decides where a raster lies or what its values mean.
_AFTER_NAME = (_PAM, MASK)
_AFTER_STEM = (".tab", PROJECTION, ".rpb", ".rpc", ".imd", "_rpc.txt")
# The rest of what the readers of satellites' products look for; too common to make a GeoTIFF of every TIFF.
_MORE = (".xml", "_metadata.txt", "_mtl.txt", ".pvl", ".eph", ".pass", ".att")
# Beside IMG_x.TIF there are DIM_x.XML and RPC_x.XML.
_BEFORE = {"img_": ("dim_", "rpc_"), "img-": ("hdr-", "rpc-")}
_BESIDE = (".xml", ".txt")
# What an .aux.xml says besides statistics and histograms, which are of the old pixels.
_SAYS = tuple(
    mark.encode()
    for mark in (
        *("<SRS", "<GeoTransform", "<GCPList", '"RPC"', '"OVERVIEWS"', '"GEOLOCATION"', "<NoDataValue", "<Scale"),
        *("<Offset", "<UnitType", "<ColorInterp", "<ColorTable", "<Description", "<CategoryNames"),
        "<GDALRasterAttributeTable",
    )
)
_NOT_KEPT = {b"<CategoryNames": "names of classes", b"<GDALRasterAttributeTable": "an attribute table"}
_LARGEST = 16 << 20  # bytes of a sidecar
_IMAGINE = b"EHFA_HEADER_TAG"

World = tuple[float, float, float, float, float, float]
"""A world file's lines: the column's step in x and y, the row's step in x and y, the middle of the first pixel."""


def placing(path: Path) -> list[Path]:
    """The files beside `path` that say where it lies or what its values mean."""
    names = [*(path.name + end for end in _AFTER_NAME), *(path.stem + end for end in (*_AFTER_STEM, *_world(path)))]
    return [one for one in _existing(path, names) if not one.name.lower().endswith(_PAM) or _matters(one)]


def has_overviews(path: Path) -> bool:
    """Whether a file with overviews lies beside `path`."""
    return bool(_overviews(path))


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[Path]:
    """`path`, of a name in UTF-8, by a way that is in UTF-8 too: GDAL takes nothing else."""
    if _readable(str(path)) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="gramgan-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / "folder"
        folder.symlink_to(path.absolute().parent, target_is_directory=True)
        yield folder / path.name


@contextlib.contextmanager
def shown_alone(path: Path) -> Iterator[Path]:
    """The raster at `path` in a folder that has nothing else in it but copies of its sidecars.

    GDAL takes what lies beside a file for a part of it, opens it by any of its drivers and goes where it points, to
    other files and servers. Here it finds texts that can be read as such, and a mask that is a TIFF; a line in the log
    tells of others. File names need not be UTF-8.
    """
    with tempfile.TemporaryDirectory(prefix="gramgan-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shown = folder / _readable(path.name)
        _link(path, shown)
        for mask in _existing(path, [path.name + MASK]):
            if _head(mask, 4) in TIFF_SIGNATURES:
                _link(mask, folder / _readable(mask.name))
            else:
                _log.warning("%s: not a TIFF, so this mask is not read; the result has none", mask)
        for old in _existing(path, [path.stem + ".aux", path.name + ".aux"]):
            if _head(old, len(_IMAGINE)) == _IMAGINE:
                _log.warning("%s: sidecars of this kind are not read; gdal_translate takes it into a GeoTIFF", old)
        for text in _texts(path):
            if _is_sound(text):
                shutil.copyfile(text, folder / _readable(text.name))
        yield shown


def read_world(path: Path) -> World | None:
    """The six numbers of a world file; None if they are not there."""
    try:
        numbers = [float(text) for text in path.read_bytes()[:4096].decode("ascii").split()]
    except (OSError, ValueError):
        return None
    if len(numbers) != 6 or numbers[0] * numbers[3] == numbers[1] * numbers[2]:
        return None
    a, d, b, e, c, f = numbers
    return a, d, b, e, c, f


def carry_place(source: Path, target: Path) -> None:
    """Copy the place of a picture to its result: the world file, for the new size of pixels, and the projection.

    The log names every other file of its place, since the result lacks it.
    """
    written = []
    for beside in placing(source):
        suffix = beside.name[len(source.stem) :].lower()
        world = read_world(beside) if suffix in _world(source) else None
        if world is not None:
            before, after = Raster.open(source, allow_huge=True).info, Raster.open(target, allow_huge=True).info
            scaled = _enlarged(world, after.width / before.width, after.height / before.height)
            written.append(target.with_suffix(_world(target)[0]))
            write_text(written[-1], scaled)
        elif suffix == PROJECTION:
            written.append(target.with_suffix(PROJECTION))
            write_bytes(written[-1], beside.read_bytes())
        else:
            _log.warning(
                "%s: what it says of %s, such as its place, is not in the result; make a GeoTIFF of both first "
                "(gdal_translate %s %s.tif)",
                *(beside, source.name, source.name, source.stem),
            )
    tell_of_older(target, written)


def tell_of_older(target: Path, written: Collection[Path] = ()) -> None:
    """A line for what lies beside a new result and was not written with it: programs take it for a part of it."""
    for beside in [*placing(target), *_overviews(target)]:
        if beside not in written:
            _log.warning("%s: it lies beside the result and says what was true of an older one; delete it", beside)


def _enlarged(world: World, across: float, down: float) -> str:
    a, d, b, e, c, f = world
    x, y = c + a * (1 / across - 1) / 2 + b * (1 / down - 1) / 2, f + d * (1 / across - 1) / 2 + e * (1 / down - 1) / 2
    return "".join(f"{number!r}\n" for number in (a / across, d / across, b / down, e / down, x, y))


def _world(path: Path) -> tuple[str, ...]:
    """Suffixes of world files: .tfw, .tifw, .wld for .tif."""
    end = path.suffix.lower()[1:]
    return (f".{end[0]}{end[-1]}w", f".{end}w", ".wld") if end else (".wld",)


def _overviews(path: Path) -> list[Path]:
    return _existing(path, [path.name + ".ovr"])


def _texts(path: Path) -> list[Path]:
    stem, found = path.stem, placing(path)
    names = [stem + end for end in _MORE]
    for before, others in _BEFORE.items():
        if stem.lower().startswith(before):
            rest = stem[len(before) :]
            rests = {rest, rest.rpartition("_R")[0]}  # DIM_x.XML is of all tiles IMG_x_R1C1.TIF
            names += [other + rest + end for other in others for rest in rests for end in _BESIDE]
    names.append(path.name + ".xml")
    return [one for one in dict.fromkeys([*found, *_existing(path, names)]) if one.suffix.lower() != MASK]


def _existing(path: Path, names: list[str]) -> list[Path]:
    """Those of `names`, in small or capital letters, that are files beside `path`."""
    folder = path.absolute().parent
    try:
        listing = _listing(folder, changed_at(folder))
    except OSError:
        return []
    found = [path.with_name(name) for one in names for name in listing.get(one.casefold(), ())]
    return [one for one in dict.fromkeys(found) if one.is_file() and one.name != path.name]


@functools.lru_cache(maxsize=4)
def _listing(folder: Path, changed: int) -> dict[str, list[str]]:
    """The names in a folder by what they are without capital letters."""
    del changed
    names: dict[str, list[str]] = {}
    for entry in folder.iterdir():
        names.setdefault(entry.name.casefold(), []).append(entry.name)
    return names


def _matters(pam: Path) -> bool:
    try:
        text = pam.read_bytes()[:_LARGEST]
    except OSError:
        return False
    return any(mark in text for mark in _SAYS)


def _is_sound(text: Path) -> bool:
    """Whether GDAL is to see this file; a line in the log tells why not."""
    if text.stat().st_size > _LARGEST:
        _log.warning("%s: larger than 16 MB, so it is not read", text)
        return False
    name, content = text.name.lower(), text.read_bytes()
    if name.endswith(_PAM):
        try:
            expat.ParserCreate().Parse(content, True)
        except expat.ExpatError as error:
            _log.warning("%s: damaged (%s), so it is not read", text, error)
            return False
        for mark, what in _NOT_KEPT.items():
            if mark in content:
                _log.warning("%s: it holds %s, which the result does not have", text, what)
    return True


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")  # GDAL takes nothing else


def _link(source: Path, place: Path) -> None:
    with contextlib.suppress(OSError, NotImplementedError):
        place.symlink_to(source.absolute())
        return
    with contextlib.suppress(OSError):  # Windows lets few users make symbolic links
        place.hardlink_to(source.absolute())
        return
    shutil.copyfile(source, place)


def _head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
