"""Windows to train on: without holes, with texture, and remembered by the weights that learn from them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")

import rasterio
from affine import Affine

from gramgan.cli.app import run
from gramgan.collect.holdout import split
from gramgan.collect.manifest import read_manifest
from gramgan.errors import UserError
from gramgan.images import Raster
from gramgan.scientific.record import fit_bands, fit_radiometry, read_record

Scene = Callable[..., np.ndarray]


@pytest.fixture
def scenes(tmp_path: Path, scene: Scene) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(2):
        values = scene(4, 96, 128, 1000, 9000, number).astype(np.uint16)
        values[:, :10, :10] = 0  # a hole in the first window
        values[:, 64:96, 0:32] = 3000  # no texture in this one
        with rasterio.open(
            folder / f"scene{number}.tif",
            "w",
            driver="GTiff",
            count=4,
            height=96,
            width=128,
            dtype="uint16",
            nodata=0,
            crs="EPSG:32633",
            transform=Affine(10, 0, 0, 0, -10, 0),
        ) as file:
            file.write(values)
    return folder


def test_windows(tmp_path: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "windows"
    options = ["--bands", "3,2,1", "--bands", "4", "--radiometry", "sentinel-2", "--size", "32"]
    assert run(["prepare", str(scenes), "-o", str(output), *options, "--licence", "CC-BY-4.0"]) == 0
    # Of 12 places of each of 2 groups in 2 files: one has a hole and one no texture.
    assert "windows: 40" in capsys.readouterr().out
    entries = read_manifest(output) or []
    assert len(entries) == 40
    assert {entry.licence for entry in entries} == {"CC-BY-4.0"}
    places = {entry.source for entry in entries}
    assert "scene0.tif#group=1&x=32&y=0" in places
    assert "scene0.tif#group=1&x=0&y=0" not in places
    assert "scene0.tif#group=2&x=0&y=64" not in places
    with rasterio.open(scenes / "scene1.tif") as file:
        stored = file.read([3, 2, 1])[:, 32:64, 96:128]
    cut = Raster.open(output / "scene1-tif_g001_x00096_y00032.png").read()
    np.testing.assert_allclose(cut, np.clip((stored - 1000.0) / 10000, 0, 1), atol=1e-5)
    train, holdout = split(output)
    assert {path.name[:6] for path in train}.isdisjoint(path.name[:6] for path in holdout)
    assert read_record(output) == {"bands": "3,2,1 4", "radiometry": "sentinel-2"}
    assert read_record(scenes) == {}
    # Cut again, smaller or into shards, they are still what they are.
    smaller = tmp_path / "smaller"
    assert run(["prepare", str(output), "-o", str(smaller), "--size", "24"]) == 0
    assert read_record(smaller) == read_record(output)
    assert "scientific.json" not in capsys.readouterr().out


def test_mistakes(tmp_path: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([str(scenes), "--bands", "7"], "there is no band 7, it has 4"),
        ([str(scenes), "--radiometry", "0,9000", "--shards"], "--shards: it is for photographs"),
        ([str(scenes), "--radiometry", "0,9000", "--size", "500"], "no window of 500 pixels has texture"),
        ([str(tmp_path / "empty"), "--radiometry", "full"], "no GeoTIFF, DICOM, OME or ImageJ file in it"),
    ):
        assert run(["prepare", *arguments, "-o", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_weights_know_what_they_learned_from(tmp_path: Path) -> None:
    settings: dict[str, str | int | float | bool | None] = {"bands": "3,2,1", "radiometry": "sentinel-2"}
    assert fit_radiometry(None, settings, "w") == "sentinel-2"
    assert fit_radiometry("reflectance", settings, "w") == "reflectance"
    assert fit_radiometry("percentile", {}, "w") == "percentile"
    assert fit_bands((), settings, "w") == ["3,2,1"]
    assert fit_bands(("4,3,2",), settings, "w") == ("4,3,2",)
    with pytest.raises(UserError, match="radiometry percentile: w was trained with sentinel-2"):
        fit_radiometry("percentile", settings, "w")
    with pytest.raises(UserError, match="bands 4: w was trained with 3,2,1"):
        fit_bands(("4",), settings, "w")
    (tmp_path / "scientific.json").write_text(json.dumps(["no", "record"]))
    with pytest.raises(UserError, match="damaged"):
        read_record(tmp_path)
