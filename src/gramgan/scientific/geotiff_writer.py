"""Writing a GeoTIFF like another one, larger: where it lies, what its bands mean, its masks, tags and overviews."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetWriter
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from gramgan.errors import UserError
from gramgan.images import Window
from gramgan.scientific.base import Enlarged, Note, saying_why, spare_path
from gramgan.scientific.gdal import GDAL_ERRORS, gdal_reason, placed_or_not, session
from gramgan.scientific.geotiff_facts import Facts

_BLOCK = 256
"""Side of the result's internal tiles."""
_ROWS, _COLUMNS = 512, 2048  # of the result, that are made at a time
_RESOLUTION = ("TIFFTAG_XRESOLUTION", "TIFFTAG_YRESOLUTION")
_DESCRIPTION = "TIFFTAG_IMAGEDESCRIPTION"
_WRITING = {
    # Sidecar files beside a temporary name would be lost, and everything has its place in a GeoTIFF.
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
ReadMask = Callable[[Window], np.ndarray]
"""A window of the source → its mask band, uint8 `[height, width]`."""
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def write_geotiff(
    facts: Facts, mask: ReadMask, result: Enlarged, path: Path, note: Note, *, cloud_optimized: bool = False
) -> None:
    """Write `result` to `path` with everything that the source says besides its values.

    The affine transformation is divided by the factor, so that extent and origin are the same numbers; ground control
    points and the coefficients of a camera model (RPC) go to the pixels' new places. Lossless (deflate), in tiles.
    Overviews are made where the source has some. `mask(window)` is the source's mask band.

    Raises:
        UserError: GDAL cannot write it.
        OSError: the disk is full, or the file larger than may be.
    """
    try:
        with saying_why(path, GDAL_ERRORS), session(**_WRITING), placed_or_not():
            if not cloud_optimized:
                _write(facts, mask, result, path, note)
            else:
                plain = spare_path(path)
                try:
                    _write(facts, mask, result, plain, note)
                    _copy_cloud_optimized(facts, plain, path)
                finally:
                    plain.unlink(missing_ok=True)
            _check(path)
    except GDAL_ERRORS as error:
        raise UserError(f"{note.target}: cannot be written ({gdal_reason(error)}); try another place") from error


def _write(facts: Facts, mask: ReadMask, result: Enlarged, path: Path, note: Note) -> None:
    across, down = result.width / facts.width, result.height / facts.height
    with rasterio.open(path, "w", **_profile(facts, result, across, down)) as target:
        _describe(facts, target, note, across, down)
        for window in _windows(result.width, result.height):
            place = RasterioWindow(window.x, window.y, window.width, window.height)  # pyright: ignore[reportCallIssue]
            bands = [_with_common_holes(facts, band, result.read(band, window)) for band in range(len(facts.meanings))]
            target.write(np.stack(bands), window=place)
            if facts.has_mask:
                target.write_mask(result.repeated(mask, window), window=place)
    factors = _overviews(facts, result)
    if factors:
        with rasterio.open(path, "r+", driver="GTiff") as target:
            target.build_overviews(factors, _resampling(facts))


def _with_common_holes(facts: Facts, band: int, values: np.ndarray) -> np.ndarray:
    """Holes have the no-data value of the result where their band has another one."""
    own, common = facts.nodata[band], facts.common_nodata
    if own is None or common is None or own == common or (math.isnan(own) and values.dtype.kind != "f"):
        return values
    return np.where(np.isnan(values) if math.isnan(own) else values == own, common, values).astype(values.dtype)


def _profile(facts: Facts, result: Enlarged, across: float, down: float) -> dict[str, Any]:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": result.width,
        "height": result.height,
        "count": len(facts.meanings),
        "dtype": facts.dtype,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        # The predictor for floats would save a third, but many readers, tifffile among them, do not know it.
        "predictor": 1 if facts.dtype == "float32" or facts.bits else 2,
        "interleave": facts.interleave,
        "bigtiff": "if_safer",
        "photometric": "miniswhite" if facts.white_is_zero else _photometric(facts.meanings),
    }
    if facts.bits:
        profile["nbits"] = facts.bits
    if facts.points:
        profile["gcps"] = [_moved(point, across, down) for point in facts.points]
        profile["crs"] = facts.points_crs or CRS()
    else:
        if facts.crs:
            profile["crs"] = facts.crs
        if facts.crs or facts.transform != Affine.identity():
            profile["transform"] = scaled_transform(facts.transform, across, down)
    if ColorInterp.alpha in facts.meanings:
        profile["alpha"] = "premultiplied" if facts.premultiplied else "unassociated"
    if facts.icc:
        profile["SOURCE_ICC_PROFILE"] = facts.icc
    return profile


def scaled_transform(transform: Affine, across: float, down: float) -> Affine:
    """The same place for pixels that are `across` times narrower and `down` times lower."""
    return Affine(
        transform.a / across,
        transform.b / down,
        transform.c,
        transform.d / across,
        transform.e / down,
        transform.f,
    )


def _photometric(meanings: tuple[ColorInterp, ...]) -> str:
    if ColorInterp.palette in meanings[:1]:
        return "palette"
    return "rgb" if meanings[:3] == _COLOURS else "minisblack"


def _moved(point: GroundControlPoint, across: float, down: float) -> GroundControlPoint:
    assert point.row is not None
    assert point.col is not None
    return GroundControlPoint(
        row=point.row * down, col=point.col * across, x=point.x, y=point.y, z=point.z, id=point.id, info=point.info
    )


def _describe(facts: Facts, target: DatasetWriter, note: Note, across: float, down: float) -> None:
    tags = dict(facts.tags)
    for name, factor in zip(_RESOLUTION, (across, down), strict=True):
        if name in tags:
            tags[name] = f"{float(tags[name]) * factor:.10g}"
    before = tags.get(_DESCRIPTION, "")
    tags[_DESCRIPTION] = f"{before}; {note.sentence}" if before and note.sentence not in before else note.sentence
    target.update_tags(**tags, **{f"GRAMGAN_{name}": value for name, value in note.details.items()})
    for domain, said in facts.domains.items():
        target.update_tags(ns=domain, **said)
    if facts.rpcs is not None:
        target.rpcs = _scaled_rpc(facts.rpcs, across, down)
    if not facts.white_is_zero or len(facts.meanings) > 1:  # a name for one band would make a negative of it
        target.colorinterp = facts.meanings
    if facts.common_nodata is not None:
        # The public way refuses values beyond the type, which files have all the same.
        target._set_nodatavals([facts.common_nodata] * target.count)
    target.scales, target.offsets = facts.scales, facts.offsets
    if any(facts.units):
        target.units = facts.units
    for band, (said, description) in enumerate(zip(facts.band_tags, facts.descriptions, strict=True), start=1):
        if said:
            target.update_tags(band, **said)
        if description:
            target.set_band_description(band, description)
    for band, colours in facts.colours.items():
        target.write_colormap(band, colours)


def _scaled_rpc(rpc: RPC, across: float, down: float) -> RPC:
    """Its pixel coordinates count from the middle of the first pixel."""
    scaled = RPC(**rpc.to_dict())
    scaled.line_off, scaled.samp_off = (rpc.line_off + 0.5) * down - 0.5, (rpc.samp_off + 0.5) * across - 0.5
    scaled.line_scale, scaled.samp_scale = rpc.line_scale * down, rpc.samp_scale * across
    return scaled


def _windows(width: int, height: int) -> Iterator[Window]:
    for top in range(0, height, _ROWS):
        for left in range(0, width, _COLUMNS):
            yield Window(left, top, min(_COLUMNS, width - left), min(_ROWS, height - top))


def _overviews(facts: Facts, result: Enlarged) -> list[int]:
    """Powers of two until one tile holds all; none where the source has none."""
    if not facts.has_overviews:
        return []
    factors, factor = [], 2
    while max(result.width, result.height) / factor > _BLOCK / 2:
        factors.append(factor)
        factor *= 2
    return factors


def _resampling(facts: Facts) -> Resampling:
    return Resampling.nearest if facts.colours else Resampling.average


def _copy_cloud_optimized(facts: Facts, plain: Path, path: Path) -> None:
    copy(
        str(plain),
        str(path),
        driver="COG",
        compress="deflate",
        predictor="no" if facts.dtype == "float32" or facts.bits else "standard",
        bigtiff="if_safer",
        overview_resampling=_resampling(facts).name,
    )


def _check(path: Path) -> None:
    """Read the last pixel of every band: what a full disk has cut off does not show when a file is closed."""
    with rasterio.open(path, driver="GTiff") as written:
        written.read(window=RasterioWindow(written.width - 1, written.height - 1, 1, 1))  # pyright: ignore[reportCallIssue]
