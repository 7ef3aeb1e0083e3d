"""The napari plugin: its manifest as npe2 reads it, its function as the generated widget calls it."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import gramgan


@pytest.fixture
def plugin(plugins: Path, loaded: Callable[[Path, str], ModuleType]) -> ModuleType:
    return loaded(plugins / "napari" / "napari_gramgan", "napari_gramgan")


def layer(data: np.ndarray, rgb: bool = False) -> SimpleNamespace:
    """An image layer as napari gives it to a widget's function: what of it is used."""
    axes = data.ndim - rgb
    return SimpleNamespace(data=data, rgb=rgb, name="cells", scale=np.full(axes, 0.5), translate=np.full(axes, 10.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # npe2's own, of pydantic
def test_the_manifest_is_valid_and_names_what_exists(plugins: Path, plugin: ModuleType) -> None:
    npe2 = pytest.importorskip("npe2", reason="npe2 is not installed")
    project = tomllib.loads((plugins / "napari" / "pyproject.toml").read_text("utf-8"))["project"]
    place = project["entry-points"]["napari.manifest"]["napari-gramgan"]
    manifest = npe2.PluginManifest.from_file(plugins / "napari" / place.replace(":", "/"))
    assert manifest.name == project["name"]
    manifest.validate_imports()
    (widget,) = manifest.contributions.widgets
    assert widget.autogenerate
    assert {command.id for command in manifest.contributions.commands} == {widget.command}


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        (np.arange(20 * 16, dtype=np.uint8).reshape(20, 16), False),
        (np.random.default_rng(0).integers(0, 65536, (2, 16, 18), np.uint16), False),
        (np.random.default_rng(0).random((12, 14, 3), np.float32), True),
        (np.random.default_rng(0).normal(-800, 300, (14, 12)).astype(np.float32), False),
        (np.random.default_rng(0).integers(-1000, 3000, (1, 2, 12, 12), np.int32), False),
        (np.full((12, 12), 7.0), False),
    ],
    ids=["8 bits", "stack of 16 bits", "RGB", "floats", "signed, two axes", "one value"],
)
def test_a_layer_becomes_a_larger_one_in_the_same_place(
    data: np.ndarray, rgb: bool, plugin: ModuleType, weights: Path
) -> None:
    before = layer(data, rgb)
    result, about, kind = plugin.upscale(before, model=str(weights), factor=2.0)
    rows = data.ndim - 2 - rgb
    shape = list(data.shape)
    shape[rows : rows + 2] = [2 * side for side in shape[rows : rows + 2]]
    assert (kind, result.dtype, list(result.shape), about["rgb"]) == ("image", data.dtype, shape, rgb)
    assert data.min() <= result.min()
    assert result.max() <= data.max()
    # The corner of the first pixel and the far corner of the last lie where they lay.
    for axis in (rows, rows + 1):
        for end, begin in ((0, -0.5), (1, 0.5)):
            old = before.translate[axis] + before.scale[axis] * (end * (data.shape[axis] - 1) + begin)
            new = about["translate"][axis] + about["scale"][axis] * (end * (shape[axis] - 1) + begin)
            assert new == pytest.approx(old)


def test_it_is_the_result_of_the_library(plugin: ModuleType, weights: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    result, _, _ = plugin.upscale(layer(data, rgb=True), model=str(weights))
    wanted = gramgan.upscale(data, model=weights)
    assert isinstance(wanted, np.ndarray)
    assert np.abs(result.astype(int) - wanted.astype(int)).max() <= 1
