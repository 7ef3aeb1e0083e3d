"""What a GeoTIFF and the files beside it say besides its values."""

import contextlib
import logging
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.rpc import RPC

from gramgan.images.formats.tiff_directory import page_directory
from gramgan.scientific.base import TAGS_LOST
from gramgan.scientific.sidecars import MASK, PROJECTION, has_overviews, placing

_log = logging.getLogger(__name__)

_OWN = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "COLOR_PROFILE", "SUBDATASETS")
# They name other files or servers, and count the old pixels.
_POINTING = ("OVERVIEWS", "GEOLOCATION")
_STATISTICS = "STATISTICS_"
_EXTRA_SAMPLES, _NO_DATA = 338, 42113
_ASSOCIATED = 1
_NOT_OF_GDAL = {271: "Make", 272: "Model", 285: "PageName"}


@dataclass(frozen=True)
class Facts:
    """All that a GeoTIFF says besides its values. It is read at once, so that damage shows before any work.

    `nodata` are the values of the bands, of which a result has only the first that is one; `bits` of a sample are given
    where they are not all of the type's.
    """

    width: int
    height: int
    dtype: str
    bits: int | None
    white_is_zero: bool
    premultiplied: bool
    nodata: tuple[float | None, ...]
    interleave: str
    crs: CRS | None
    transform: Affine
    points: list[GroundControlPoint]
    points_crs: CRS | None
    rpcs: RPC | None
    icc: str
    meanings: tuple[ColorInterp, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    units: list[str]
    descriptions: tuple[str | None, ...]
    tags: dict[str, str]
    band_tags: list[dict[str, str]]
    domains: dict[str, dict[str, str]]
    colours: dict[int, dict[int, tuple[int, int, int, int]]]
    has_mask: bool
    has_overviews: bool

    @property
    def common_nodata(self) -> float | None:
        """The no-data value of the result: a GeoTIFF has one for all bands."""
        return next((value for value in self.nodata if value is not None), None)

    def no_data_of(self, band: int) -> list[float]:
        """What no valid pixel of a band, counted from 0, may have: its own no-data value and that of the result."""
        values = {self.nodata[band], self.common_nodata}
        return sorted(value for value in values if value is not None and not math.isnan(value))


def read_facts(source: DatasetReader, path: Path) -> Facts:
    """Everything that is kept, of the raster at `path`, which GDAL was shown as `source`.

    Statistics are left out, as they would no longer be true. A line in the log tells of everything else that is lost.
    """
    bands = range(1, source.count + 1)
    structure = source.tags(ns="IMAGE_STRUCTURE")
    white_is_zero = structure.get("MINISWHITE") == "YES"
    meanings = list(source.colorinterp)
    if white_is_zero:
        meanings[0] = ColorInterp.gray  # GDAL makes a colour table of it
    raw_nodata, premultiplied, lost_tags = _raw_tags(path)
    if lost_tags:
        _log.warning("%s: %s left out; a picture keeps it (--plain)", path, ", ".join(lost_tags))
    nodata = _nodata(source.nodatavals, raw_nodata, path)
    points, points_crs = source.gcps
    domains = {name: source.tags(ns=name) for name in source.tag_namespaces() if name not in _OWN}
    lost = [name for name in domains if name in _POINTING or name.startswith("xml:")]
    for name in lost:
        _log.warning("%s: its metadata %s is not followed and not kept", path, name)
        del domains[name]
    said_bits = source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "")
    facts = Facts(
        width=source.width,
        height=source.height,
        dtype=source.dtypes[0],
        bits=int(said_bits) if said_bits.isdecimal() else None,
        white_is_zero=white_is_zero,
        premultiplied=premultiplied,
        nodata=nodata,
        interleave=source.interleaving.value if source.interleaving else "pixel",
        crs=source.crs or (None if points else _projection(path)),
        transform=source.transform,
        points=list(points),
        points_crs=points_crs,
        rpcs=source.rpcs,
        icc=source.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE", ""),
        meanings=tuple(meanings),
        scales=source.scales,
        offsets=source.offsets,
        units=[unit or "" for unit in source.units],
        descriptions=source.descriptions,
        tags=_lasting(source.tags()),
        band_tags=[_lasting(source.tags(band)) for band in bands],
        domains=domains,
        colours={band: source.colormap(band) for band in bands if meanings[band - 1] == ColorInterp.palette},
        has_mask=any(
            MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in source.mask_flag_enums
        ),
        # Asking for overviews opens them, wherever they are.
        has_overviews=has_overviews(path) or ("OVERVIEWS" not in lost and bool(source.overviews(1))),
    )
    beside = [one for one in placing(path) if one.suffix.lower() != MASK]
    if beside and facts.transform == Affine.identity() and not (facts.points or facts.rpcs or facts.crs):
        _log.warning("%s: beside it %s says no place that can be read; the result has none", path, beside[0].name)
    return facts


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith(_STATISTICS)}


def _nodata(known: Sequence[float | None], raw: float | None, path: Path) -> tuple[float | None, ...]:
    """rasterio passes over what is beyond the type, and makes an infinity of what is beyond a float."""
    values = tuple(raw if one is None or math.isinf(one) else one for one in known) if raw is not None else tuple(known)
    if len({str(value) for value in values}) > 1:
        common = next(value for value in values if value is not None)
        _log.warning("%s: a GeoTIFF has one no-data value for all bands: in the result it is %g", path, common)
    return values


def _raw_tags(path: Path) -> tuple[float | None, bool, list[str]]:
    """The no-data value as the file has it, whether colours are multiplied with alpha, and names of tags that go."""
    tags, stored = {}, set[int]()
    with contextlib.suppress(OSError, struct.error), path.open("rb") as file:
        layout, directory = page_directory(file, 0)
        tags = {tag.number: tag.value for tag in directory.tags}
        stored = {struct.unpack_from(f"{layout.order}H", raw)[0] for raw in directory.raw}
    text = tags.get(_NO_DATA, b"").split(b"\0")[0].decode("ascii", "replace").strip()
    try:
        value = float(text)
    except ValueError:
        value = None
    extra = tags.get(_EXTRA_SAMPLES, b"")
    lost = [name for number, name in (TAGS_LOST | _NOT_OF_GDAL).items() if number in stored]
    return value, int.from_bytes(extra[:2], "little") == _ASSOCIATED, lost


def _projection(path: Path) -> CRS | None:
    """The coordinate system in a .prj file beside `path`, which GDAL does not read for a TIFF."""
    for beside in placing(path):
        if beside.suffix.lower() == PROJECTION:
            try:
                return CRS.from_wkt(beside.read_bytes().decode("utf-8", "replace"), morph_from_esri_dialect=True)
            except CRSError:
                _log.warning("%s: no coordinate system that can be read; the result has none", beside)
    return None
