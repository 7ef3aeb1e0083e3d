"""From a raster to a raster: windows, a training on them, and weights that know how to look at the next one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")

import rasterio
from affine import Affine

from gramgan.cli.app import run
from gramgan.config import Config
from gramgan.networks.build import load_generator
from gramgan.scientific.bands import parse_bands
from gramgan.scientific.base import Reading
from gramgan.scientific.radiometry import Radiometry
from gramgan.scientific.training import cut_windows
from gramgan.texture.database import TextureDatabase
from gramgan.training.run import train


def scene(path: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(1000, 9000, (4, 128, 192)).astype(np.uint16)
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 0, 0, -10, 0), "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", count=4, height=128, width=192, dtype="uint16", **profile) as file:
        file.write(values)


def test_weights_of_a_run_know_bands_and_radiometry(
    tmp_path: Path, tiny: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    scenes, windows, folder = tmp_path / "scenes", tmp_path / "windows", tmp_path / "run"
    scenes.mkdir()
    for seed in range(2):
        scene(scenes / f"{seed}.tif", seed)
    cut_windows(scenes, windows, Reading(parse_bands(["3,2,1"]), Radiometry("sentinel-2")), size=64, step=64)
    assert len(list(windows.glob("*.png"))) == 2 * 6  # band 4 was not asked for
    assert run(["db", "build", str(windows), "-o", str(tmp_path / "t.lance"), "--patches", "50"]) == 0
    assert len(TextureDatabase.open(tmp_path / "t.lance")) == 50
    train(tiny(data={"photos": str(windows)}, stages={"warm_discriminator": 0, "adversarial": 0}), folder)
    best = folder / "gramgan_G_best.safetensors"
    settings = load_generator(best).card.settings
    assert (settings["bands"], settings["radiometry"]) == ("3,2,1", "sentinel-2")
    options = ["--model", str(best), "--backend", "torch", "--precision", "fp32", "--device", "cpu"]
    assert run(["upscale", str(scenes / "0.tif"), "-o", str(tmp_path / "out.tif"), *options]) == 0
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags()["GRAMGAN_BANDS"] == "3,2,1 4"
        assert file.tags()["GRAMGAN_RANGES"].startswith("1:1000,11000 ")
    capsys.readouterr()
    assert (
        run(["upscale", str(scenes / "0.tif"), "-o", str(tmp_path / "no.tif"), "--radiometry", "full", *options]) == 2
    )
    assert "was trained with sentinel-2" in capsys.readouterr().err
