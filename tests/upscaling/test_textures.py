"""A texture database when upscaling: what it changes, where it changes nothing, and what it says of that."""

import csv
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import data

from gramgan.condition import of_file
from gramgan.errors import UserError
from gramgan.images import read_rgb
from gramgan.metrics.psnr import psnr_y
from gramgan.ops.resize import bicubic_up
from gramgan.texture.database import Source, TextureDatabase
from gramgan.upscaling.api import PictureHistory, Upscaling, upscale
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.settings import Settings
from gramgan.upscaling.texture_memory import TextureMemory, luma_plane
from gramgan.upscaling.textures import Use, squares
from gramgan.weights.card import Card


class Soft:
    """A generator that blurs."""

    name, batch, side, bytes_per_pixel = "soft", 1, None, 1000

    def free_bytes(self) -> int:
        return 2**40

    def run(self, tiles: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(bicubic_up(torch.from_numpy(tiles)).numpy(), (0, 0, 1.5, 1.5)))


def upscaling(scale: int = 4, **settings: Any) -> Upscaling:
    card = Card(name="soft", architecture={"network": "rrdb", "scale": scale}, licence="CC0-1.0", overlap=8)
    return Upscaling(Settings(**settings), OpenModel(Soft(), card, "soft", "0"))


def weave(seed: int, side: int = 256, pitch: float = 18) -> np.ndarray:
    """Cloth, `[side, side, 3]` uint8: two directions of thread whose phase wanders."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    wander = ndimage.gaussian_filter(random.normal(0, 60, (2, side, side)), (0, 16, 16))
    warp, weft = (np.sin(2 * np.pi * (at + drift) / pitch) for at, drift in zip((x, y), wander, strict=True))
    grain = random.normal(0, 0.1, (side, side))
    plane = 128 + 55 * np.where((x // pitch + y // pitch) % 2 == 0, warp, weft) + 55 * grain
    return np.repeat(plane.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def shrunk(picture: np.ndarray, path: Path) -> Path:
    image = Image.fromarray(picture)
    image.resize((image.width // 4, image.height // 4), Image.Resampling.LANCZOS).save(path, quality=70)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of cloth, a photograph of other cloth of that kind as its truth and LR, and one of other material."""
    folder = tmp_path_factory.mktemp("textures")
    Image.fromarray(weave(1, 208)).save(folder / "cloth.png")
    TextureDatabase.build(
        folder / "cloth.lance", [Source(folder / "cloth.png", "CC0-1.0", "fabric")], patches=60, k=80, warp_share=0
    )
    Image.fromarray(weave(2, 208)).save(folder / "truth.png")
    shrunk(weave(2, 208), folder / "low.jpg")
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(128, 400, (208, 208, 3)), (6, 6, 0))
    shrunk(smooth.clip(0, 255).astype(np.uint8), folder / "other.jpg")
    return folder


def test_a_database_of_the_material_brings_its_texture_back_and_another_material_stays_as_it_is(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def better(picture: str) -> float:
        with caplog.at_level(logging.INFO, "gramgan"):
            upscaling(textures=folder / "cloth.lance", texture_map=True).file(folder / picture, tmp_path / "with.png")
        upscaling().file(folder / picture, tmp_path / "without.png")
        truth = torch.from_numpy(read_rgb(folder / "truth.png"))[None]
        results = [torch.from_numpy(read_rgb(tmp_path / f"{name}.png"))[None] for name in ("with", "without")]
        return float(psnr_y(results[0], truth) - psnr_y(results[1], truth))

    assert better("low.jpg") > 0.5
    assert "low.jpg: textures fit" in caplog.text and "cloth.png (CC0-1.0) 100%" in caplog.text
    with (tmp_path / "with.png.textures.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert row["photograph"].startswith("cloth.png#") and row["licence"] == "CC0-1.0" and float(row["share"]) == 1
    texture_map = Image.open(tmp_path / "with.png.textures.png")
    assert texture_map.size == (13, 13)
    assert np.asarray(texture_map).max(axis=2).mean() > 40, "dark where nothing fits"

    caplog.clear()
    assert better("other.jpg") == 0
    assert "textures fit 0% of the picture: none" in caplog.text
    assert np.asarray(Image.open(tmp_path / "with.png.textures.png")).max() == 0


def test_a_clean_picture_is_left_alone(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(weave(3, 64)).resize((48, 48), Image.Resampling.LANCZOS).save(tmp_path / "clean.png")
    with caplog.at_level(logging.INFO, "gramgan"):
        result = upscaling(textures=folder / "cloth.lance").array(read_rgb(tmp_path / "clean.png"), "clean.png")
    np.testing.assert_array_equal(result, upscaling().array(read_rgb(tmp_path / "clean.png"), "clean.png"))
    assert f"clean.png: a clean picture; nothing of {folder / 'cloth.lance'} is used" in caplog.text


def test_tiled_equals_whole_and_what_was_fitted_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    textures = folder / "cloth.lance"
    low = shrunk(weave(2, 720)[:64], tmp_path / "low.jpg")
    upscaling(textures=textures).file(low, tmp_path / "whole.png")
    with monkeypatch.context() as patched:
        patched.setattr(TextureMemory, "fit", lambda *_: pytest.fail("fitted again"))
        tiles: list[int] = []
        small = upscaling(textures=textures, tile=16, overlap=0)
        small.file(low, tmp_path / "tiled.png", lambda done, total: tiles.append(total))
        assert tiles[-1] > 4
    upscaling().file(low, tmp_path / "plain.png")
    whole, tiled, plain = (255 * read_rgb(tmp_path / f"{name}.png") for name in ("whole", "tiled", "plain"))
    assert np.abs(whole - plain).mean() > 1, "the database changed nothing"
    assert np.abs(whole - tiled).max() <= 1, "more than rounding"


def test_a_new_version_of_the_table_is_another_job(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(weave(5)).save(tmp_path / "a.png")
    table = tmp_path / "a.lance"
    first = TextureDatabase.build(table, [Source(tmp_path / "a.png")], patches=9, k=64)
    keys_before = upscaling(textures=table).key, upscaling(textures=table, texture_map=True).key
    Image.fromarray(weave(6)).save(tmp_path / "b.png")
    first.add([Source(tmp_path / "b.png")], patches=9)
    assert len({*keys_before, upscaling(textures=table).key, upscaling().key}) == 4


def test_squares_are_the_photographs_own_pixels(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    database = TextureDatabase.build(tmp_path / "a.lance", [Source(tmp_path / "a.png", "mine")], patches=500, k=24)
    found = squares(database)
    assert {square.licence for square in found} == {"mine"}
    windows = np.lib.stride_tricks.sliding_window_view(picture, (2, 2, 3))[:, :, 0]
    for square in found:
        side = square.pixels.shape[1]
        assert square.pixels.shape == (3, side, side) and side >= 64
        corner = square.pixels[:, :2, :2].transpose(1, 2, 0)
        [(top, left)] = np.argwhere((windows == corner).all(axis=(2, 3, 4)))
        np.testing.assert_array_equal(square.pixels.transpose(1, 2, 0), picture[top : top + side, left : left + side])


@pytest.mark.parametrize("height", [40, 257])
def test_the_use_is_the_same_in_strips(height: int, folder: Path) -> None:
    memory = _memory(folder)
    picture = np.repeat(weave(4, 300, 4.5)[:height, :48, :1].transpose(2, 0, 1) / np.float32(255), 3, axis=0)
    use = Use(memory, picture)
    assert use.share == pytest.approx(memory.fitting(luma_plane(picture), 4)[0].mean(), abs=1e-4)
    [(_, licence, part)] = use.shares()
    assert (licence, part) == ("CC0-1.0", 1)


def _memory(folder: Path) -> TextureMemory:
    opened = upscaling(textures=folder / "cloth.lance")
    refine = opened.enlarger(PictureHistory(of_file(folder / "low.jpg")), "low.jpg").refine
    assert refine is not None and refine.memory is not None
    return refine.memory


def test_what_cannot_be_done_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.lance: there is no such texture database; build one"):
        upscaling(textures=tmp_path / "no.lance").file(folder / "low.jpg", tmp_path / "a.png")
    (tmp_path / "folder.lance").mkdir()
    with pytest.raises(UserError, match=r"folder\.lance: not a Lance table; build one"):
        upscaling(textures=tmp_path / "folder.lance").file(folder / "low.jpg", tmp_path / "a.png")
    small = TextureDatabase.build(tmp_path / "4.lance", [Source(folder / "cloth.png")], patches=50)
    with pytest.raises(UserError, match=r"4\.lance: its 50 patches of 4x4 pixels cover no square of 64 .* --k 64"):
        upscaling(textures=small.path).file(folder / "low.jpg", tmp_path / "a.png")
    without = small.snapshot(tmp_path / "without.safetensors", patches=False)
    with pytest.raises(UserError, match=r"without\.safetensors: .*patches"):
        upscaling(textures=without.path).file(folder / "low.jpg", tmp_path / "a.png")
    with pytest.raises(UserError, match=r"textures: for weights that enlarge 4 times, and soft enlarges 2 times"):
        upscaling(scale=2, textures=folder / "cloth.lance").file(folder / "low.jpg", tmp_path / "a.png")
    with pytest.raises(UserError, match=r"texture_map: has an effect only together with --textures; give both"):
        Settings(texture_map=True).check()
    with pytest.raises(UserError, match=r"cog: is for scientific files, and textures for photographs"):
        Settings(textures="a.lance", cog=True).check()
    with pytest.raises(UserError, match=r"texture_map: lies beside a result"):
        upscale(np.zeros((8, 8), np.uint8), textures="a.lance", texture_map=True)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_bricks_come_back_at_little_cost(tmp_path: Path) -> None:
    bricks = np.repeat(data.brick()[..., None], 3, axis=2)
    Image.fromarray(bricks[:, :256]).save(tmp_path / "left.png")
    TextureDatabase.build(tmp_path / "left.lance", [Source(tmp_path / "left.png")], patches=1000, k=64)
    truth = bricks[128:384, 256:]
    low = shrunk(truth, tmp_path / "low.jpg")
    hr = torch.from_numpy(np.ascontiguousarray(truth.transpose(2, 0, 1))).float()[None] / 255
    scores, seconds = [], []
    for textures in (None, tmp_path / "left.lance", None, tmp_path / "left.lance"):
        settings = Settings(
            model="gramgan-x4-photo", backend="torch", device="cpu", precision="fp32", textures=textures
        )
        opened = Upscaling(settings)
        begin = time.process_time()
        opened.file(low, tmp_path / "result.png")
        seconds.append(time.process_time() - begin)
        scores.append(float(psnr_y(torch.from_numpy(read_rgb(tmp_path / "result.png"))[None], hr)))
    assert scores[1] == scores[3] > scores[0] + 1
    assert seconds[3] < 2.5 * seconds[2], "what was fitted is kept"
