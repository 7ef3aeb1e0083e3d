"""GeoTIFFs come out with their place, bands, holes and tags; GDAL's own tools are asked where they are installed."""

import json
import shutil
import subprocess
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
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from gramgan.errors import UserError
from gramgan.ops import bicubic
from gramgan.ops.extend import REACH
from gramgan.scientific import detect
from gramgan.upscaling.api import upscale

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

UTM = Affine(9.999999999999998, 0.1, 399960.1234567891, -0.1, -10.000000000000002, 5800020.987654321)


def write(path: Path, values: np.ndarray, **profile: Any) -> Path:
    tags = profile.pop("tags", {})
    settings = {"crs": "EPSG:32633", "transform": UTM, **profile}
    bands, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype, **settings
    ) as file:
        file.write(values)
        file.update_tags(**tags)
    return path


def corner(transform: Affine, x: float, y: float) -> tuple[float, float]:
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def gdalinfo(path: Path) -> dict[str, Any]:
    if shutil.which("gdalinfo") is None:
        pytest.skip("gdalinfo is not installed")
    return json.loads(subprocess.run(["gdalinfo", "-json", str(path)], check=True, capture_output=True).stdout)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_place_and_values_are_kept(tmp_path: Path, enlarge: Enlarge, scene: Scene, dtype: str) -> None:
    low, high = {"uint8": (0, 255), "uint16": (0, 65535), "int16": (-1000, 3000), "float32": (-2.5, 7.5)}[dtype]
    values = scene(4, 90, 130, low, high).astype(dtype)
    source = write(tmp_path / "in.tif", values)
    target = enlarge(source, tmp_path / "out.tif", radiometry=f"{low},{high}")
    before, after = gdalinfo(source), gdalinfo(target)
    assert after["size"] == [520, 360]
    assert after["cornerCoordinates"] == before["cornerCoordinates"]
    assert after["coordinateSystem"]["wkt"] == before["coordinateSystem"]["wkt"]
    assert [band["type"] for band in after["bands"]] == [band["type"] for band in before["bands"]]
    with rasterio.open(target) as file:
        assert corner(file.transform, 520, 360) == corner(UTM, 130, 90)  # to the last bit
        assert file.profile["tiled"]
        assert "synthesised, not measured" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
        result = file.read().astype(np.float64)
    shrunk = bicubic.shrink(result.astype(np.float32)).astype(np.float64)
    given = values.astype(np.float64)
    for band in range(4):
        assert abs(result[band].mean() - given[band].mean()) < 0.001 * (high - low)
        assert abs(shrunk[band].std() / given[band].std() - 1) < 0.01
        assert np.sqrt(np.square(shrunk[band] - given[band]).mean()) < 0.01 * (high - low)


def test_values_outside_of_the_range_are_not_cut_off(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(1, 64, 64, 1000, 4000)
    values[0, 20:30, 20:30] += 9000  # a cloud, far beyond white
    values[0, 40:50, 40:50] = 100  # and a shadow below black
    source = write(tmp_path / "in.tif", values.astype(np.uint16))
    target = enlarge(source, tmp_path / "out.tif", radiometry="1000,4000")
    with rasterio.open(target) as file:
        result = file.read(1).astype(np.float32)
    shrunk = bicubic.shrink(result[None])[0]
    assert np.abs(shrunk[22:28, 22:28] - values[0, 22:28, 22:28]).max() < 0.03 * 9000
    assert np.abs(shrunk[42:48, 42:48] - 100).max() < 60
    assert abs(result.mean() - values.mean()) < 5


@pytest.mark.parametrize("bands", [(), ("3,2,1",), ("4,3,2", "1:nearest")])
def test_a_hole_stays_a_hole_and_its_fill_value_decides_nothing(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, bands: tuple[str, ...]
) -> None:
    values = scene(4, 150, 140, 3000, 9000).astype(np.uint16)
    hole = np.zeros(values.shape[1:], bool)
    hole[10:70, 20:100] = True  # larger than what is filled from its edge
    hole[100, 100] = hole[120:125, :] = True
    results = []
    for fill in (0, 65535):
        values[:, hole] = fill
        source = write(tmp_path / f"{fill}.tif", values, nodata=fill)
        target = enlarge(source, tmp_path / f"out{fill}.tif", bands=bands, radiometry="0,10000", tile=32)
        with rasterio.open(target) as file:
            assert file.nodata == fill
            result = file.read()
        large = hole.repeat(4, 0).repeat(4, 1)
        np.testing.assert_array_equal(result[:, large], fill)
        assert (result[:, ~large] != fill).all()
        results.append(result[:, ~large])
    np.testing.assert_array_equal(results[0], results[1])
    assert min(hole.shape) > 2 * REACH


def test_a_valid_result_never_means_no_data(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(1, 40, 40, 1000, 9000).astype(np.uint16)
    with rasterio.open(enlarge(write(tmp_path / "in.tif", values), tmp_path / "out.tif")) as file:
        free = file.read(1)
    (nodata, *_) = sorted(set(free.flat) - set(values.flat))
    with rasterio.open(enlarge(write(tmp_path / "in.tif", values, nodata=nodata), tmp_path / "out.tif")) as file:
        assert (file.read_masks(1) == 255).all()
        np.testing.assert_array_equal(file.read(1), np.where(free == nodata, nodata + 1, free))


def test_nan_is_a_hole(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(1, 50, 60, 0, 1).astype(np.float32)
    values[0, 5:15, 10:20] = np.nan
    values[0, 30, 30] = np.inf
    target = enlarge(write(tmp_path / "in.tif", values), tmp_path / "out.tif")
    with rasterio.open(target) as file:
        result = file.read(1)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(values[0]).repeat(4, 0).repeat(4, 1))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(values[0]).repeat(4, 0).repeat(4, 1))


def test_mask_bands_and_alpha_are_enlarged_by_nearest(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(3, 40, 50, 0, 255).astype(np.uint8)
    mask = np.full((40, 50), 255, np.uint8)
    mask[10:20, 5:9] = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            tmp_path / "mask.tif", "w", driver="GTiff", count=3, height=40, width=50, dtype="uint8", photometric="rgb"
        ) as file,
    ):
        file.write(values)
        file.write_mask(mask)
    with rasterio.open(
        tmp_path / "alpha.tif",
        "w",
        driver="GTiff",
        count=4,
        height=40,
        width=50,
        dtype="uint8",
        photometric="rgb",
        alpha="yes",
        crs="EPSG:3857",
    ) as file:
        file.write(np.concatenate([values, mask[None]]))
    large = mask.repeat(4, 0).repeat(4, 1)
    with rasterio.open(enlarge(tmp_path / "mask.tif", tmp_path / "out1.tif", bands=("1,2,3",))) as file:
        np.testing.assert_array_equal(file.dataset_mask(), large)
    with rasterio.open(enlarge(tmp_path / "alpha.tif", tmp_path / "out2.tif")) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
        np.testing.assert_array_equal(file.read(4), large)
    assert not list(tmp_path.glob("out*.msk"))
    assert not list(tmp_path.glob("*.aux.xml"))


def test_everything_that_the_file_says_is_kept(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    resolution = {"TIFFTAG_XRESOLUTION": "300", "TIFFTAG_YRESOLUTION": "300", "TIFFTAG_RESOLUTIONUNIT": "2"}
    source = write(
        tmp_path / "in.tif",
        scene(2, 40, 60, 0, 10000).astype(np.uint16),
        tags={"AREA_OR_POINT": "Point", "TIFFTAG_IMAGEDESCRIPTION": "A scene", **resolution},
        interleave="band",
    )
    with rasterio.open(source, "r+") as file:
        file.set_band_description(1, "B08")
        file.scales, file.offsets, file.units = (0.0001, 0.0001), (-0.1, -0.1), ("reflectance", "reflectance")
        file.update_tags(1, WAVELENGTH="842", STATISTICS_MEAN="5")
        file.update_tags(ns="PRODUCT", ID="S2A")
        file.build_overviews([2, 4])
    target = enlarge(source, tmp_path / "out.tif", radiometry="reflectance", scale=8)
    with rasterio.open(source) as before, rasterio.open(target) as after:
        assert after.descriptions == ("B08", None)
        assert after.scales == before.scales
        assert after.offsets == before.offsets
        assert after.units == before.units
        assert after.tags(1) == {"WAVELENGTH": "842"}
        assert after.tags(ns="PRODUCT") == {"ID": "S2A"}
        assert after.tags()["AREA_OR_POINT"] == "Point"
        assert after.tags()["TIFFTAG_IMAGEDESCRIPTION"].startswith("A scene; Upscaled 8x")
        assert float(after.tags()["TIFFTAG_XRESOLUTION"]) == 2400
        assert after.tags()["GRAMGAN_RANGES"] == "1:1000,11000 2:1000,11000"
        assert after.overviews(1) == [2]
        assert after.interleaving == before.interleaving
        np.testing.assert_allclose(after.bounds, before.bounds, rtol=0, atol=1e-9)


def test_scales_that_are_no_power_of_the_network(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(3, 50, 70, 0, 60000).astype(np.uint16)
    values[:, 10:14, 20:24] = 0
    source = write(tmp_path / "in.tif", values, nodata=0)
    with rasterio.open(enlarge(source, tmp_path / "out.tif", scale=2.5)) as after:
        assert (after.width, after.height) == (175, 125)
        np.testing.assert_allclose(corner(after.transform, 175, 125), corner(UTM, 70, 50), rtol=0, atol=1e-8)
        holes = after.read_masks(1) == 0
        assert holes.sum() == 100
        assert holes[25:35, 50:60].all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif"]


def test_ground_control_points_and_camera_models_follow_the_pixels(
    tmp_path: Path, enlarge: Enlarge, scene: Scene
) -> None:
    values = scene(1, 30, 40, 0, 255).astype(np.uint8)
    places = ((0, 0), (30, 40), (0, 40), (12.5, 3))
    points = [GroundControlPoint(row, col, 10 + col, 50 - row, 0) for row, col in places]
    with rasterio.open(
        tmp_path / "in.tif",
        "w",
        driver="GTiff",
        count=1,
        height=30,
        width=40,
        dtype="uint8",
        gcps=points,
        crs="EPSG:4326",
    ) as file:
        file.write(values)
    with rasterio.open(enlarge(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        found, crs = file.gcps
        assert crs == "EPSG:4326"
        assert [(one.row, one.col) for one in found] == [(4 * row, 4 * column) for row, column in places]
        assert [(one.x, one.y) for one in found] == [(one.x, one.y) for one in points]
    polynomial = {"line_num_coeff": 2, "line_den_coeff": 0, "samp_num_coeff": 1, "samp_den_coeff": 0}
    coefficients: dict[str, Any] = {name: [float(one == at) for one in range(20)] for name, at in polynomial.items()}
    places = {"lat_off": 50.0, "long_off": 10.0, "height_off": 0.0, "line_off": 14.5, "samp_off": 19.5}
    scales = {"lat_scale": 1.0, "long_scale": 1.0, "height_scale": 500.0, "line_scale": 15.0, "samp_scale": 20.0}
    errors = {"err_bias": 0.0, "err_rand": 0.0}
    model = RPC(**coefficients, **places, **scales, **errors)
    with rasterio.open(
        tmp_path / "rpc.tif", "w", driver="GTiff", count=1, height=30, width=40, dtype="uint8", rpcs=model
    ) as file:
        file.write(values)
    with rasterio.open(enlarge(tmp_path / "rpc.tif", tmp_path / "out.tif")) as file:
        assert (file.rpcs.line_off, file.rpcs.samp_off) == (59.5, 79.5)
        assert (file.rpcs.line_scale, file.rpcs.samp_scale) == (60.0, 80.0)
        assert file.rpcs.line_num_coeff == coefficients["line_num_coeff"]


def test_classes_of_a_colour_table_are_repeated(tmp_path: Path, enlarge: Enlarge) -> None:
    classes = np.random.default_rng(0).integers(0, 5, (1, 20, 30), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "in.tif", "w", driver="GTiff", count=1, height=20, width=30, dtype="uint8", photometric="palette"
    ) as file:
        file.write(classes)
        file.write_colormap(1, {1: (255, 0, 0, 255), 2: (0, 255, 0, 255)})
        file.update_tags(ns="X", A="B")
    (tmp_path / "in.tfw").write_text("10\n0\n0\n-10\n5\n5\n")
    with rasterio.open(enlarge(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        np.testing.assert_array_equal(file.read(1), classes[0].repeat(4, 0).repeat(4, 1))
        assert file.colormap(1)[2] == (0, 255, 0, 255)
        assert file.transform == Affine(2.5, 0, 0, 0, -2.5, 10)


def test_cloud_optimized(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    source = write(tmp_path / "in.tif", scene(3, 160, 200, 0, 60000).astype(np.uint16), nodata=0)
    plain = enlarge(source, tmp_path / "plain.tif")
    target = enlarge(source, tmp_path / "out.tif", cog=True)
    with rasterio.open(target) as file, rasterio.open(plain) as other:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
        assert file.tags() == other.tags()
        np.testing.assert_array_equal(file.read(), other.read())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif", "plain.tif"]


def test_red_green_and_blue_are_seen_together(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    source = write(tmp_path / "in.tif", scene(5, 30, 40, 0, 255).astype(np.uint8))
    seen = {}
    for name, bands in {"alone": (), "colour": ("3,2,1",)}.items():
        target = enlarge(source, tmp_path / f"{name}.tif", bands=bands)
        with rasterio.open(target) as file:
            seen[name] = file.tags()["GRAMGAN_BANDS"]
    assert seen == {"alone": "1 2 3 4 5", "colour": "3,2,1 4 5"}


@pytest.mark.parametrize(
    ("dtype", "options", "target", "message"),
    [
        ("int16", {}, "out.tif", "in.tif: band 1: nothing says which of its int16 values are black and white"),
        ("uint16", {"bands": ("5",)}, "out.tif", "in.tif: there is no band 5, it has 4"),
        ("uint16", {}, "out.png", "out.png: a '.png' file cannot hold what a GeoTIFF says"),
        ("float64", {}, "out.tif", "in.tif: its samples are of type float64; convert them"),
        ("complex64", {}, "out.tif", "in.tif: its samples are of type complex64"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, dtype: str, options: dict[str, Any], target: str, message: str
) -> None:
    source = write(tmp_path / "in.tif", scene(4, 20, 20, 0, 100).astype(dtype))
    with pytest.raises(UserError) as caught:
        enlarge(source, tmp_path / target, **options)
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_several_rasters_in_a_file_are_refused(tmp_path: Path, enlarge: Enlarge) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for _ in range(2):
            writer.write(np.zeros((20, 20), np.int16), photometric="minisblack")
    with pytest.raises(UserError, match="it holds 2 rasters; split it first"):
        enlarge(tmp_path / "in.tif", tmp_path / "out.tif", radiometry="0,9")


def test_options_without_a_file_to_write_are_refused(tmp_path: Path) -> None:
    for image in (np.zeros((8, 8), np.uint8), tmp_path / "in.tif"):
        with pytest.raises(UserError, match="bands: is for scientific files"):
            upscale(image, bands=["1"])


def test_without_the_library_nothing_is_lost_silently(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.tif", scene(3, 20, 20, 0, 255).astype(np.uint8))
    monkeypatch.setattr(detect, "is_installed", lambda name: False)
    with pytest.raises(UserError, match=r"pip install 'gramgan\[geo\]', or .*--plain"):
        enlarge(source, tmp_path / "out.tif")


def test_a_text_that_is_not_utf_8_is_one_line(tmp_path: Path, enlarge: Enlarge) -> None:
    source = write(tmp_path / "a.tif", np.ones((1, 20, 20), np.uint8))
    with rasterio.open(source, "r+") as file:
        file.set_band_description(1, "HXhe in Metern")
    source.write_bytes(source.read_bytes().replace(b"HXhe", "Höhe".encode("latin-1")))
    with pytest.raises(UserError, match=r"a\.tif: damaged GeoTIFF .*utf-8") as caught:
        enlarge(source, tmp_path / "b.tif")
    assert "\n" not in str(caught.value)
