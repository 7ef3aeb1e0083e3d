"""Files beside a raster: their place goes on, or a line tells that it does not; nothing else is looked at."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")

import rasterio
import tifffile
from affine import Affine
from rasterio._env import get_gdal_config
from rasterio.crs import CRS
from rasterio.rpc import RPC

from gramgan.images import Raster, write_image
from gramgan.scientific.gdal import ALONE
from gramgan.scientific.sidecars import read_world

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

HEIGHT, WIDTH = 32, 40
PLACE = Affine(10, 0, 400000, 0, -10, 5800000)
LARGE = Affine(2.5, 0, 400000, 0, -2.5, 5800000)
WORLD = "10\n0\n0\n-10\n400005\n5799995\n"  # the middle of the first pixel
UTM = CRS.from_epsg(32633)
PAM = f"<PAMDataset><SRS>{UTM.to_wkt()}</SRS><GeoTransform>400000,10,0,5800000,0,-10</GeoTransform></PAMDataset>"
TAB = """!table
!version 300
!charset WindowsLatin1

Definition Table
  File "in.tif"
  Type "RASTER"
  (400000,5800000) (0,0) Label "Pt 1",
  (400400,5800000) (40,0) Label "Pt 2",
  (400000,5799680) (0,32) Label "Pt 3",
  (400400,5799680) (40,32) Label "Pt 4"
  CoordSys Earth Projection 8, 104, "m", 15, 0, 0.9996, 500000, 0
  Units "m"
"""


@pytest.fixture
def plain(tmp_path: Path, scene: Scene) -> Callable[..., Path]:
    """`plain(name)`: a TIFF that says nothing of a place."""

    def make(name: str = "in.tif", **options: Any) -> Path:
        values = scene(1, HEIGHT, WIDTH, 0, 255)[0].astype(np.uint8)
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack", metadata=None, **options)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("name", "beside", "text", "crs"),
    [
        ("in.tif", "in.tif.aux.xml", PAM, True),
        ("in.tif", "in.tfw", WORLD, False),
        ("in.tif", "in.tifw", WORLD, False),
        ("in.tif", "in.wld", WORLD, False),
        ("IN.TIF", "in.TFW", WORLD, False),
        ("in.tiff", "in.tiffw", WORLD, False),
        ("in.tif", "in.tab", TAB, True),
        ("M\udcfcller.tif", "M\udcfcller.tfw", WORLD, False),
    ],
)
def test_the_place_beside_a_tiff_is_in_the_result(
    tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path], name: str, beside: str, text: str, crs: bool
) -> None:
    source = plain(name)
    (tmp_path / beside).write_text(text)
    with rasterio.open(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.transform.almost_equals(LARGE, 1e-6)
        assert (file.crs == UTM) == crs
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, beside, "out.tif"])


def test_a_projection_beside_a_world_file(tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path]) -> None:
    source = plain()
    (tmp_path / "in.tfw").write_text(WORLD)
    (tmp_path / "in.prj").write_text(UTM.to_wkt(morph_to_esri_dialect=True))  # pyright: ignore[reportCallIssue]
    with rasterio.open(enlarge(source, tmp_path / "out.tif")) as file:
        assert (file.crs.to_epsg(), file.transform) == (32633, LARGE)


@pytest.mark.parametrize("option", ["RPB", "RPCTXT"])
def test_a_camera_model_beside_a_tiff(
    tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path], option: str
) -> None:
    model: dict[str, Any] = dict.fromkeys(("lat_off", "long_off", "height_off", "height_scale"), 50.0)
    model |= dict.fromkeys(("lat_scale", "long_scale", "err_bias", "err_rand"), 1.0)
    model |= {"line_off": 14.5, "samp_off": 19.5, "line_scale": 15.0, "samp_scale": 20.0}
    for name, at in {"line_num": 2, "line_den": 0, "samp_num": 1, "samp_den": 0}.items():
        model[f"{name}_coeff"] = [float(one == at) for one in range(20)]
    asked: dict[str, Any] = {
        option: "YES",
        "count": 1,
        "height": HEIGHT,
        "width": WIDTH,
        "dtype": "uint8",
        "profile": "BASELINE",
    }
    with rasterio.open(tmp_path / "in.tif", "w", driver="GTiff", rpcs=RPC(**model), **asked):
        pass
    kept = {"RPB": "in.RPB", "RPCTXT": "in_RPC.TXT"}[option]
    assert (tmp_path / kept).exists()
    for path in tmp_path.iterdir():
        if path.name != kept:
            path.unlink()
    with rasterio.open(enlarge(plain(), tmp_path / "out.tif")) as file:
        assert (file.rpcs.line_off, file.rpcs.samp_off, file.rpcs.line_scale) == (59.5, 79.5, 60.0)


def test_a_mask_and_overviews_beside_a_tiff(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, scene(1, 200, 200, 0, 255)[0].astype(np.uint8), photometric="minisblack", metadata=None)
    mask = np.full((200, 200), 255, np.uint8)
    mask[:50] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False, TIFF_USE_OVR=True), rasterio.open(source, "r+") as file:
        file.write_mask(mask)
        file.build_overviews([2])
    assert {"in.tif.msk", "in.tif.ovr"} <= {path.name for path in tmp_path.iterdir()}
    with rasterio.open(enlarge(source, tmp_path / "out.tif")) as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask.repeat(4, 0).repeat(4, 1))
        assert file.overviews(1)
    assert not list(tmp_path.glob("out.tif.*"))


@pytest.mark.parametrize(
    ("beside", "text", "line"),
    [
        ("in.tfw", "10\n0\n0\n", "in.tif: beside it in.tfw says no place that can be read"),
        ("in.tab", "!table", "in.tif: beside it in.tab says no place that can be read"),
        ("in.tif.aux.xml", PAM[:-5], "in.tif.aux.xml: damaged"),
        ("in.prj", "nothing", "in.prj: no coordinate system that can be read"),
        ("in.tif.msk", "no TIFF", "in.tif.msk: not a TIFF, so this mask is not read"),
        ("in.aux", "EHFA_HEADER_TAG", "in.aux: sidecars of this kind are not read"),
        (
            "in.tif.aux.xml",
            PAM.replace("</PAM", '<PAMRasterBand band="1"><CategoryNames/></PAMRasterBand></PAM'),
            "in.tif.aux.xml: it holds names of classes, which the result does not have",
        ),
    ],
)
def test_what_cannot_be_kept_has_a_line(
    tmp_path: Path,
    enlarge: Enlarge,
    plain: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    beside: str,
    text: str,
    line: str,
) -> None:
    source = plain(extratags=[(42113, "s", 0, "-9999", True)] if beside == "in.aux" else [])
    (tmp_path / beside).write_text(text)
    enlarge(source, tmp_path / "out.tif")
    assert any(line in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("source", "world", "target", "result"),
    [
        ("in.png", "in.pgw", "out.png", "out.pgw"),
        ("in.png", "in.pngw", "out.jpg", "out.jgw"),
        ("in.jpg", "in.jgw", "out.png", "out.pgw"),
        ("in.jpg", "IN.JGW", "out.tif", "out.tfw"),
        ("in.webp", "in.wld", "out.webp", "out.wpw"),
    ],
)
def test_the_world_file_of_a_picture_goes_on_beside_the_result(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, source: str, world: str, target: str, result: str
) -> None:
    write_image(tmp_path / source, scene(3, HEIGHT, WIDTH, 0, 1).astype(np.float32))
    (tmp_path / world).write_text(WORLD)
    (tmp_path / "in.prj").write_text(UTM.to_wkt())
    enlarge(tmp_path / source, tmp_path / target)
    assert read_world(tmp_path / result) == (2.5, 0, 0, -2.5, 400001.25, 5799998.75)
    assert (tmp_path / "out.prj").read_text() == UTM.to_wkt()
    assert Raster.open(tmp_path / target).info.width == 4 * WIDTH
    if target.endswith((".png", ".jpg")):  # those that GDAL reads with it
        with rasterio.open(tmp_path / target) as file:
            assert file.transform == LARGE


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("beside", ["in.tab", "in{}.aux.xml", "in_rpc.txt", "in{}.msk", "in.wld"])
def test_what_a_picture_cannot_take_along_has_a_line(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture, suffix: str, beside: str
) -> None:
    write_image(tmp_path / f"in{suffix}", scene(3, HEIGHT, WIDTH, 0, 1).astype(np.float32))
    (tmp_path / beside.format(suffix)).write_text(PAM)
    for target in ("out.png", "out.tif"):
        caplog.clear()
        enlarge(tmp_path / f"in{suffix}", tmp_path / target)
        (line,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
        assert f"{beside.format(suffix)}: what it says of in{suffix}, such as its place, is not in the result" in line


def test_statistics_beside_a_picture_are_no_loss(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "in.png", scene(3, HEIGHT, WIDTH, 0, 1).astype(np.float32))
    (tmp_path / "in.png.aux.xml").write_text('<PAMDataset><MDI key="STATISTICS_MEAN">3</MDI></PAMDataset>')
    enlarge(tmp_path / "in.png", tmp_path / "out.png")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that takes every connection and answers none; the test fails if there was one."""
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "5")  # so that a test that fails ends
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"/vsicurl/http://127.0.0.1:{listening.getsockname()[1]}/x.tif"
        listening.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listening.accept()


def _vrt(secret: str) -> str:
    return (
        f'<VRTDataset rasterXSize="{WIDTH // 2}" rasterYSize="{HEIGHT // 2}"><VRTRasterBand dataType="Byte" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="0">{secret}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def _points_elsewhere(kind: str, source: Path, secret: Path, server: str) -> None:
    """Have `source`, or what lies beside it, point at another file or at a server."""
    places = {"a server": server, "a file": str(secret), "an inline VRT": _vrt(str(secret)), "a VRT": _vrt(server)}
    how, _, place = kind.partition(" of ")
    if how == "domain":
        with rasterio.open(source, "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=places[place])
            file.update_tags(ns="GEOLOCATION", X_DATASET=places[place], Y_DATASET=places[place])
    elif how == "aux.xml":
        text = places[place].replace("<", "&lt;").replace(">", "&gt;")
        pam = f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{text}</MDI></Metadata></PAMDataset>'
        Path(f"{source}.aux.xml").write_text(pam)
    elif how == "link":
        Path(f"{source}.{place}").symlink_to(secret)
    else:
        Path(f"{source}.{how}").write_text(places[place])


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        *(f"domain of {place}" for place in ("a server", "a file", "an inline VRT", "a VRT")),
        *(f"aux.xml of {place}" for place in ("a server", "a file", "an inline VRT", "a VRT")),
        *(f"{end} of {place}" for end in ("ovr", "msk") for place in ("an inline VRT", "a VRT")),
        "link of ovr",
    ],
)
def test_nothing_outside_of_the_file_and_its_sidecars_is_opened(
    tmp_path: Path,
    enlarge: Enlarge,
    plain: Callable[..., Path],
    server: str,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    cog: bool,
) -> None:
    source = plain(extratags=[(42113, "s", 0, "-9999", True)])
    honest = rasterio.open(enlarge(source, tmp_path / "honest.tif", radiometry="percentile")).read()
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, np.full((HEIGHT // 2, WIDTH // 2), 201, np.uint8), metadata=None)
    kept = secret.read_bytes()
    _points_elsewhere(kind, source, secret, server)
    caplog.clear()
    target = enlarge(source, tmp_path / "out.tif", radiometry="percentile", cog=cog)
    with rasterio.open(target) as file:
        np.testing.assert_array_equal(file.read(), honest)  # a decimated read would have changed the range
    assert secret.read_bytes() == kept
    for word in (b"OVERVIEW_FILE", b"X_DATASET", b"vsicurl", b"secret"):
        assert word not in target.read_bytes()
    if kind.startswith(("domain", "aux.xml")):
        assert "in.tif: its metadata OVERVIEWS is not followed and not kept" in caplog.text


def test_gdal_is_as_it_was_for_the_program_around(tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path]) -> None:
    names = [*ALONE, "GDAL_CACHEMAX", "GDAL_TIFF_INTERNAL_MASK"]
    source = plain(extratags=[(42113, "s", 0, "-9999", True)])
    before = {name: get_gdal_config(name) for name in names}
    enlarge(source, tmp_path / "out.tif")
    assert {name: get_gdal_config(name) for name in names} == before
    # And what it has set does not keep the place from us.
    (tmp_path / "in.tfw").write_text(WORLD)
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
        target = enlarge(source, tmp_path / "out.tif")
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
    with rasterio.open(target) as file:
        assert file.transform == LARGE


def test_where_links_cannot_be_made(
    tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "a privilege is not held")

    source = plain()
    (tmp_path / "in.tfw").write_text(WORLD)
    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with rasterio.open(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.transform == LARGE


def test_names_that_gdal_would_take_for_more(tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path]) -> None:
    first = plain(extratags=[(42113, "s", 0, "-9999", True)])
    for name in ("a?b=c.tif", "a#b.tif", "a!b.tif", "<VRTDataset>.tif", "GTIFF_DIR:1:a.tif", f"{'n' * 200}.tif"):
        shutil.copy(first, tmp_path / name)
        with rasterio.open(enlarge(tmp_path / name, tmp_path / "out.tif")) as file:
            assert file.width == 4 * WIDTH


@pytest.mark.parametrize("cog", [False, True])
def test_folders_whose_names_are_not_in_utf_8(
    tmp_path: Path, enlarge: Enlarge, plain: Callable[..., Path], cog: bool
) -> None:
    folder = tmp_path / "M\udcfcller"
    folder.mkdir()
    shutil.move(plain(), folder / "in.tif")
    (folder / "in.tfw").write_text(WORLD)
    shutil.copy(enlarge(folder / "in.tif", folder / "out.tif", cog=cog), tmp_path)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.transform == LARGE
    assert sorted(path.name for path in folder.iterdir()) == ["in.tfw", "in.tif", "out.tif"]


@pytest.mark.parametrize(("suffix", "older"), [(".tif", ".tif.aux.xml"), (".tif", ".tif.ovr"), (".png", ".tab")])
def test_what_lies_beside_an_older_result_has_a_line(
    tmp_path: Path,
    enlarge: Enlarge,
    plain: Callable[..., Path],
    scene: Scene,
    caplog: pytest.LogCaptureFixture,
    suffix: str,
    older: str,
) -> None:
    source = plain(extratags=[(42113, "s", 0, "-9999", True)])
    if suffix == ".png":
        source = tmp_path / "in.png"
        write_image(source, scene(3, HEIGHT, WIDTH, 0, 1).astype(np.float32))
    (tmp_path / f"out{older}").write_text(PAM)
    enlarge(source, tmp_path / f"out{suffix}")
    assert f"out{older}: it lies beside the result and says what was true of an older one" in caplog.text
