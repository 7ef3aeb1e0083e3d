"""Stored values of GeoTIFFs as the field has them: no-data beyond the type, white that is 0, odd bits, fill values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")

import rasterio
import tifffile
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from gramgan.ops import bicubic

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

NODATA = 42113
LOWEST = -3.4028234663852886e38


def raw(path: Path, values: np.ndarray, nodata: str | None = "-9999", **options: Any) -> Path:
    """A TIFF with a no-data tag as it stands, which GDAL would not write; the tag makes a GeoTIFF of it."""
    tags = [] if nodata is None else [(NODATA, "s", 0, nodata, True)]
    tifffile.imwrite(path, values, metadata=None, extratags=tags, **{"photometric": "minisblack", **options})
    return path


def nodata_of(path: Path) -> float:
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags[NODATA]
        file.filehandle.seek(tag.valueoffset)
        return float(file.filehandle.read(tag.count).rstrip(b"\0"))


def shrunk(values: np.ndarray) -> np.ndarray:
    return bicubic.shrink(values.astype(np.float32)[None])[0]


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", "-9999"), ("uint8", "256"), ("uint16", "-1"), ("int16", "nan"), ("uint8", "-inf")]
)
def test_a_no_data_value_beyond_the_type_stays(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, dtype: str, nodata: str, cog: bool
) -> None:
    values = scene(1, 32, 40, 0, 255)[0].astype(dtype)
    target = enlarge(raw(tmp_path / "in.tif", values, nodata), tmp_path / "out.tif", radiometry="0,255", cog=cog)
    assert nodata_of(target) == pytest.approx(float(nodata), nan_ok=True)
    assert np.abs(shrunk(tifffile.imread(target)) - values).max() < 8


@pytest.mark.parametrize(
    ("nodata", "fill"),
    [
        ("-1.797e308", LOWEST),
        ("-1.7976931348623157e+308", LOWEST),
        ("-3.4028234663852886e+38", LOWEST),
        (None, LOWEST),
        (None, -LOWEST),
        ("nan", np.nan),
        ("-inf", -np.inf),
        ("0", LOWEST),
        ("-9999", -9999),
    ],
)
def test_fill_values_spoil_no_valid_pixel(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, nodata: str | None, fill: float
) -> None:
    values = scene(1, 32, 40, 0.1, 0.9)[0].astype(np.float32)
    hole = np.zeros(values.shape, bool)
    hole[5:15, 10:20] = hole[25, 30] = True
    values[hole] = fill
    source = raw(tmp_path / "in.tif", values, nodata)
    large = hole.repeat(4, 0).repeat(4, 1)
    for options in ({"radiometry": "0,1"}, {"radiometry": "percentile"}, {"radiometry": "minmax"}, {}):
        target = enlarge(source, tmp_path / "out.tif", bands=("1",), **options)
        result = tifffile.imread(target)
        np.testing.assert_array_equal(result[large], np.float32(fill))
        assert 0 < result[~large].min() < result[~large].max() < 1
    if nodata is not None:
        assert nodata_of(target) == pytest.approx(float(nodata), nan_ok=True)


def test_values_far_outside_of_the_range_have_a_line(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    values = scene(1, 32, 40, 0.1, 0.9)[0].astype(np.float32)
    values[:8] = -9999
    enlarge(raw(tmp_path / "in.tif", values, None), tmp_path / "out.tif", radiometry="0,1")
    assert "in.tif: band 1: there are values as far outside of the range 0 to 1 as -9999" in caplog.text


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_ramp_whose_white_is_0_is_drawn_and_stays_what_it_is(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture, dtype: str, cog: bool
) -> None:
    top = np.iinfo(dtype).max
    values = scene(1, 32, 40, 0, top)[0].astype(dtype)
    source = raw(tmp_path / "in.tif", values, photometric="miniswhite")
    target = enlarge(source, tmp_path / "out.tif", cog=cog)
    with tifffile.TiffFile(target) as file:
        page, result = file.pages.first, file.asarray()
    assert np.abs(shrunk(result) - values).mean() < 0.01 * top
    assert (result[::4, ::4] != values).any()  # not repeated
    with rasterio.open(source) as before, rasterio.open(target) as after:
        assert after.colormap(1) == before.colormap(1)  # as GDAL shows it: no negative
        assert after.tags()["GRAMGAN_RANGES"] == f"1:{top},0"
    if cog:
        assert "as a cloud-optimized GeoTIFF it gets a colour table instead of WhiteIsZero" in caplog.text
    else:
        assert page.photometric == tifffile.PHOTOMETRIC.MINISWHITE


def test_white_that_is_0_with_alpha(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(2, 32, 40, 0, 255).astype(np.uint8)
    values[1] = 255
    values[1, :8] = 0
    options: dict[str, Any] = {"photometric": "miniswhite", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    source = raw(tmp_path / "in.tif", np.moveaxis(values, 0, -1), **options)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        page, result = file.pages.first, file.asarray()
    assert page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    assert page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    np.testing.assert_array_equal(result[..., 1], values[1].repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
def test_single_bits_are_repeated(tmp_path: Path, enlarge: Enlarge, scene: Scene, photometric: str) -> None:
    values = scene(1, 32, 40, 0, 1)[0] > 0.5
    source = raw(tmp_path / "in.tif", values, photometric=photometric)
    for cog in (False, True):
        with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif", cog=cog)) as file:
            assert file.pages.first.bitspersample == 1
            np.testing.assert_array_equal(file.asarray(), values.repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize(("bits", "dtype"), [(2, "uint8"), (4, "uint8"), (12, "uint16"), (16, "float32")])
def test_bits_that_are_not_all_of_the_type(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, bits: int, dtype: str, cog: bool
) -> None:
    top = 1 if dtype == "float32" else 2**bits - 1
    values = scene(2, 32, 40, 0, top)
    values = (values if dtype == "float32" else values.round()).astype(dtype)
    size: dict[str, Any] = {"width": 40, "height": 32, "count": 2, "dtype": dtype, "crs": "EPSG:3857"}
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", nbits=bits, **size) as file:
        file.write(values)
    with rasterio.open(enlarge(tmp_path / "in.tif", tmp_path / "out.tif", cog=cog)) as file:
        assert file.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == str(bits)
        assert file.tags()["GRAMGAN_RANGES"] == f"1:0,{top} 2:0,{top}"
        assert file.read().max() <= top


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
def test_the_kind_of_alpha_stays(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    values = np.moveaxis(scene(4, 32, 40, 0, 255).astype(np.uint8), 0, -1)
    source = raw(tmp_path / "in.tif", values, photometric="rgb", extrasamples=[kind])
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.pages.first.extrasamples == (tifffile.EXTRASAMPLE[kind.upper()],)
    enlarge(source, tmp_path / "out.tif", cog=True)
    assert ("it gets unassociated alpha" in caplog.text) == (kind == "assocalpha")


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("crs", [CRS(), CRS.from_epsg(4326)])
def test_ground_control_points_with_and_without_a_coordinate_system(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, crs: CRS, cog: bool
) -> None:
    places = ((0, 0), (32, 40), (0, 40), (9.5, 3))
    points = [GroundControlPoint(row, col, 10 + col, 50 - row, 3) for row, col in places]
    size: dict[str, Any] = {"width": 40, "height": 32, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", gcps=points, crs=crs, **size) as file:
        file.write(scene(1, 32, 40, 0, 255).astype(np.uint8))
    with rasterio.open(enlarge(tmp_path / "in.tif", tmp_path / "out.tif", cog=cog)) as file:
        found, known = file.gcps
    assert (known or CRS()) == crs
    assert [(one.row, one.col) for one in found] == [(4 * row, 4 * col) for row, col in places]
    assert [(one.x, one.y, one.z) for one in found] == [(one.x, one.y, one.z) for one in points]


def test_bands_with_no_data_values_of_their_own(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    values = scene(4, 32, 40, 1, 200).astype(np.uint8)
    holes = np.zeros(values.shape, bool)
    holes[0, :5, :5] = holes[1, 10:15, 10:15] = holes[3, 20:22] = True
    for band, nodata in {0: 0, 1: 77, 3: 255}.items():
        values[band][(values[band] == nodata) & ~holes[band]] += 1
        values[band][holes[band]] = nodata
    values[2, :3] = 0  # valid there
    size: dict[str, Any] = {"width": 40, "height": 32, "count": 4, "dtype": "uint8", "crs": "EPSG:3857"}
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", transform=Affine(1, 0, 0, 0, -1, 0), **size) as file:
        file.write(values)
    bands = "".join(
        f'<PAMRasterBand band="{band + 1}"><NoDataValue>{nodata}</NoDataValue></PAMRasterBand>'
        for band, nodata in {0: 0, 1: 77, 3: 255}.items()
    )
    (tmp_path / "in.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    target = enlarge(tmp_path / "in.tif", tmp_path / "out.tif")
    with rasterio.open(target) as file:
        assert set(file.nodatavals) == {0}
        np.testing.assert_array_equal(file.read_masks() == 0, holes.repeat(4, 1).repeat(4, 2))
    assert "in.tif: a GeoTIFF has one no-data value for all bands: in the result it is 0" in caplog.text
    assert [path.name for path in tmp_path.glob("out*")] == ["out.tif"]


def test_blocks_of_metadata_that_go_have_a_line(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    xmp = b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x/><?xpacket end='w'?>"
    values = scene(1, 32, 40, 0, 255)[0].astype(np.uint8)
    tags = [(NODATA, "s", 0, "-9999", True), (700, "B", len(xmp), xmp, True), (33723, "B", 4, b"\x1c\2\0\0", True)]
    tags.append((285, "s", 0, "sheet 7", True))
    tifffile.imwrite(tmp_path / "in.tif", values, metadata=None, photometric="minisblack", extratags=tags)
    enlarge(tmp_path / "in.tif", tmp_path / "out.tif")
    assert "in.tif: its metadata xml:XMP is not followed and not kept" in caplog.text
    assert "in.tif: IPTC, PageName left out; a picture keeps it (--plain)" in caplog.text
