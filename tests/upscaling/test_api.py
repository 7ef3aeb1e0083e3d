"""From picture to picture: any scale, pages and frames, control, going on after a crash, and the public function."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import gramgan
from gramgan.errors import UserError
from gramgan.images import Raster, RasterWriter, Window, canvas, read_rgb, write_image
from gramgan.images.resize import resize_array
from gramgan.networks.build import LoadedGenerator
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.upscaling import api
from gramgan.upscaling.api import Upscaling, upscale
from gramgan.upscaling.backends.torch_backend import TorchBackend
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.settings import Settings
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors


class Bicubic:
    """A backend that enlarges bicubically; it counts the pixels it was given and may be stopped after some calls."""

    name, batch, side, bytes_per_pixel = "bicubic", 1, None, 1000

    def __init__(self, stop_after: int | None = None, error: BaseException | None = None) -> None:
        self.calls, self.stop_after, self.error = 0, stop_after, error or KeyboardInterrupt()

    def free_bytes(self) -> int:
        return 2**40

    def run(self, tiles: np.ndarray) -> np.ndarray:
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise self.error
        return bicubic_up(torch.from_numpy(tiles)).numpy()


def upscaling(backend: Any = None, sha256: Any = "0", **settings: Any) -> Upscaling:
    """With a network that needs no weights."""
    card = Card(name="bicubic", architecture={"network": "rrdb"}, licence="CC0-1.0", overlap=8)
    return Upscaling(Settings(**settings), OpenModel(backend or Bicubic(), card, "bicubic", sha256))


def smooth(channels: int = 3, height: int = 30, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    planes = [0.5 + 0.4 * np.sin(x / (5 + c)) * np.cos(y / (4 + c)) for c in range(channels)]
    return np.stack(planes).astype(np.float32)


def same_pixels(one: Path, other: Path) -> bool:
    return np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


@pytest.fixture
def prompt_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window gets into the journal at once."""
    monkeypatch.setattr("gramgan.images.canvas._SYNC_SECONDS", 0)
    monkeypatch.setattr("gramgan.images.canvas._SYNC_SHARE", 0)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 4, 5, 8, 16])
def test_scales(tmp_path: Path, factor: float) -> None:
    image = smooth()
    write_image(tmp_path / "in.png", image, bits=16)
    upscaling(tile=32, scale=factor).file(tmp_path / "in.png", tmp_path / "out.png")
    raster = Raster.open(tmp_path / "out.png")
    assert (raster.info.width, raster.info.height, raster.info.bits) == (round(40 * factor), round(30 * factor), 16)
    shrunk = raster.read() if factor == 1 else resize_array(raster.read(), 40, 30, False)
    assert np.abs(shrunk - image)[:, 2:-2, 2:-2].max() < 0.02
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


@pytest.mark.parametrize(
    ("asked", "size"),
    [("100x", (100, 75)), ("x90", (120, 90)), ("99x120", (99, 120))],
)
def test_sizes(tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: str, size: tuple[int, int]) -> None:
    write_image(tmp_path / "in.png", smooth())
    with caplog.at_level(logging.INFO, "gramgan"):
        upscaling(size=asked).file(tmp_path / "in.png", tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").size == size
    assert "in.png: 40x30, x4, shrunk to" in caplog.text
    assert ("changes its proportions by 38 %" in caplog.text) == (size == (99, 120))


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_shrinking_keeps_depth_and_channels(tmp_path: Path, channels: int, bits: Any) -> None:
    image = smooth(channels)
    write_image(tmp_path / "in.tif", image, bits=bits)
    upscaling(scale=2).file(tmp_path / "in.tif", tmp_path / "out.tif")
    result = tifffile.imread(tmp_path / "out.tif")
    assert result.dtype == {8: np.uint8, 16: np.uint16, 32: np.float32}[bits]
    assert result.shape == ((60, 80, channels) if channels > 1 else (60, 80))
    if bits > 8:
        assert len(np.unique(result)) > 2000, "it went through 8 bits"


def test_shrinking_leaves_no_fringes(tmp_path: Path) -> None:
    image = np.full((4, 40, 40), 0.8, np.float32)
    image[:3, :, :20] = 0
    image[3] = np.arange(40) >= 20
    write_image(tmp_path / "in.png", image)
    for factor in (2, 6, 8):
        upscaling(scale=factor).file(tmp_path / "in.png", tmp_path / "out.png")
        result = Raster.open(tmp_path / "out.png").read()
        seen = result[3] > 0.05
        assert 0.4 < seen.mean() < 0.6
        assert result[:3][:, seen].min() > 0.77


def test_alpha_is_drawn_by_the_network_within_what_the_input_says(tmp_path: Path) -> None:
    class Blurring(Bicubic):
        def run(self, tiles: np.ndarray) -> np.ndarray:
            return bicubic_up(torch.nn.functional.avg_pool2d(torch.from_numpy(tiles), 5, 1, 2) * 0.98 + 0.01).numpy()

    image = np.full((4, 40, 60), 0.5, np.float32)
    y, x = np.mgrid[:40, :60]
    image[3] = (y - 20) ** 2 + (x - 30) ** 2 < 15**2
    write_image(tmp_path / "in.png", image)
    upscaling(Blurring(), tile=16, consistency=False).file(tmp_path / "in.png", tmp_path / "out.png")
    upscaling(Blurring(), tile=256, consistency=False).file(tmp_path / "in.png", tmp_path / "whole.png")
    assert same_pixels(tmp_path / "out.png", tmp_path / "whole.png")
    alpha = Raster.open(tmp_path / "out.png").read()[3]
    inside = torch.nn.functional.max_pool2d(-torch.from_numpy(image[None, 3]), 3, 1, 1).numpy()[0] == -1
    outside = torch.nn.functional.max_pool2d(torch.from_numpy(image[None, 3]), 3, 1, 1).numpy()[0] == 0
    assert alpha[inside.repeat(4, 0).repeat(4, 1)].min() == 1, "what is opaque stays so"
    assert alpha[outside.repeat(4, 0).repeat(4, 1)].max() == 0
    edge = bicubic_up(torch.from_numpy(image[None, 3:]))[0, 0].numpy()
    assert np.abs(alpha - edge).max() > 0.2, "it is not bicubic"


def test_scales_are_said_in_the_comment(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth())
    for scale, words in (({"scale": 1.5}, "1.5x"), ({"size": "90x"}, "to 90x")):
        upscaling(**scale).file(tmp_path / "in.png", tmp_path / "out.png")
        description = Image.open(tmp_path / "out.png").info["Description"]
        assert description == f"Upscaled {words} with Gram-GAN; fine texture is synthesised, not measured."


def test_tiles_of_all_passes_are_counted_together(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth(height=60, width=60))
    seen: list[tuple[int, int]] = []
    upscaling(tile=32, scale=16).file(tmp_path / "in.png", tmp_path / "out.png", lambda *now: seen.append(now))
    assert len({total for _, total in seen}) == 1
    done = [one for one, _ in seen]
    assert done == sorted(done)
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]


def animated(path: Path, sizes: int = 3) -> None:
    frames = [
        Image.fromarray((smooth(3)[..., ::-1] * 80 * (k + 1)).astype(np.uint8).transpose(1, 2, 0)) for k in range(sizes)
    ]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=2)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_is_done_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    animated(tmp_path / "in.gif")
    target = tmp_path / f"out{suffix}"
    seen: list[tuple[int, int]] = []
    upscaling(scale=2).file(tmp_path / "in.gif", target, lambda *now: seen.append(now))
    source, result = Image.open(tmp_path / "in.gif"), Image.open(target)
    assert getattr(result, "n_frames", 1) == 3
    for frame in range(3):
        source.seek(frame)
        result.seek(frame)
        result.load()
        assert result.size == (80, 60)
        assert result.info["duration"] == 100 * (frame + 1)
        small = np.asarray(result.convert("RGB").resize((40, 30), Image.Resampling.BOX)).astype(float)
        assert np.abs(small - np.asarray(source.convert("RGB"))).mean() < 8
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.gif", target.name]


def test_of_an_animation_a_still_format_gets_the_first_frame(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    animated(tmp_path / "in.gif")
    with caplog.at_level(logging.INFO, "gramgan"):
        upscaling().file(tmp_path / "in.gif", tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").size == (160, 120)
    assert "3 images in it, and .png holds one: the first is done" in caplog.text


def test_the_pages_of_a_tiff_may_differ(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as tiff:
        tiff.write(np.full((20, 30, 3), 9, np.uint8), photometric="rgb")
        tiff.write(np.full((10, 12), 4000, np.uint16))
    upscaling(scale=1.5).file(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        pages = [page.asarray() for page in tiff.pages]
    assert [page.shape for page in pages] == [(30, 45, 3), (15, 18)]
    assert [page.dtype for page in pages] == [np.uint8, np.uint16]
    assert np.abs(pages[1].astype(int) - 4000).max() <= 1


def test_colours_are_converted_if_asked(tmp_path: Path) -> None:
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 8), (200, 100, 50)).save(tmp_path / "in.png", icc_profile=lab)
    upscaling().file(tmp_path / "in.png", tmp_path / "kept.png")
    upscaling(icc="srgb").file(tmp_path / "in.png", tmp_path / "srgb.png")
    assert Image.open(tmp_path / "kept.png").info["icc_profile"] == lab
    pixel = np.asarray(Image.open(tmp_path / "srgb.png"))[10, 10].astype(int)
    assert np.abs(pixel - (200, 100, 50)).max() <= 1


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    path, link = tmp_path / "in.png", tmp_path / "link.png"
    write_image(path, smooth())
    link.hardlink_to(path)
    (tmp_path / "soft.png").symlink_to(path)
    before = path.read_bytes()
    for target in (path, link, tmp_path / "soft.png"):
        with pytest.raises(UserError, match="this is the input itself"):
            upscaling().file(path, target)
    assert path.read_bytes() == before


@pytest.mark.parametrize("factor", [4, 2, 8, 6])
@pytest.mark.usefixtures("prompt_journal")
def test_a_stopped_job_goes_on_and_gives_the_same(tmp_path: Path, factor: float) -> None:
    write_image(tmp_path / "in.png", smooth(height=100, width=60))
    whole = Bicubic()
    upscaling(whole, tile=24, scale=factor).file(tmp_path / "in.png", tmp_path / "whole.png")
    stopped = Bicubic(stop_after=whole.calls - 3)
    with pytest.raises(KeyboardInterrupt):
        upscaling(stopped, tile=24, scale=factor).file(tmp_path / "in.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
    rest = Bicubic()
    upscaling(rest, tile=24, scale=factor).file(tmp_path / "in.png", tmp_path / "out.png")
    assert rest.calls < whole.calls
    assert same_pixels(tmp_path / "out.png", tmp_path / "whole.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "whole.png"]


@pytest.mark.usefixtures("prompt_journal")
def test_what_only_decides_the_encoding_makes_no_other_job(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth(height=200, width=60))
    whole, rest, other = Bicubic(), Bicubic(), Bicubic()
    target = tmp_path / "out.jpg"
    upscaling(whole, tile=24, scale=2).file(tmp_path / "in.png", target)
    for backend, settings in ((rest, {"quality": 10}), (other, {"texture_mask": True})):
        with pytest.raises(KeyboardInterrupt):
            upscaling(Bicubic(whole.calls - 2), tile=24, scale=2).file(tmp_path / "in.png", target)
        upscaling(backend, tile=24, scale=2, **settings).file(tmp_path / "in.png", target)
    assert rest.calls < whole.calls / 2, "with another quality the pixels are the same"
    assert other.calls == whole.calls, "with a mask they are not"


def test_jobs_with_equal_results_have_one_key() -> None:
    key = upscaling().key
    assert upscaling(tile=32, device="cpu", allow_huge=True).key == key
    for settings in ({"quality": 94}, {"scale": 2}, {"consistency": True}, {"cog": True}, {"sha256": "1"}):
        assert upscaling(**settings).key != key


def test_settings_may_be_given_together_or_one_by_one(weights: Path) -> None:
    image = smooth(height=6, width=9).transpose(1, 2, 0)
    settings = Settings(scale=2, model=weights, backend="torch", precision="fp32")
    together = upscale(image, None, settings)
    one_by_one = upscale(image, scale=2, model=weights, backend="torch", precision="fp32")
    larger = upscale(image, None, settings, scale=3)
    assert all(isinstance(one, np.ndarray) for one in (together, one_by_one, larger))
    assert np.asarray(together).shape == (12, 18, 3)
    assert np.array_equal(np.asarray(together), np.asarray(one_by_one))
    assert np.asarray(larger).shape == (18, 27, 3), "what is given by name goes first"
    with pytest.raises(UserError, match="scale: 99 is outside"):
        upscale(image, None, settings, scale=99)
    with pytest.raises(TypeError, match="tiles"):
        upscale(image, tiles=3)


@pytest.mark.usefixtures("prompt_journal")
def test_what_another_job_left_is_not_gone_on_with_and_goes(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth(height=100, width=60))

    with pytest.raises(KeyboardInterrupt):
        upscaling(Bicubic(20), tile=24, scale=8).file(tmp_path / "in.png", tmp_path / "out.png")
    assert len(list(tmp_path.glob(".out.png*"))) == 4
    whole, again = Bicubic(), Bicubic()
    upscaling(whole, tile=24, sha256="other").file(tmp_path / "in.png", tmp_path / "whole.png")
    upscaling(again, tile=24, sha256="other").file(tmp_path / "in.png", tmp_path / "out.png")
    assert whole.calls == again.calls
    assert same_pixels(tmp_path / "out.png", tmp_path / "whole.png")
    assert not list(tmp_path.glob(".*"))


def test_pages_that_a_stopped_job_has_finished_are_not_done_again(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.uint8(255 * smooth(1, 30 + 4 * page, 40)[0])) for page in range(3)]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    whole = Bicubic()
    upscaling(whole).file(tmp_path / "in.tif", tmp_path / "whole.tif")
    with pytest.raises(KeyboardInterrupt):
        upscaling(Bicubic(2)).file(tmp_path / "in.tif", tmp_path / "out.tif")
    assert not (tmp_path / "out.tif").exists()
    rest = Bicubic()
    upscaling(rest).file(tmp_path / "in.tif", tmp_path / "out.tif")
    assert (whole.calls, rest.calls) == (3, 1)
    with Image.open(tmp_path / "out.tif") as ours, Image.open(tmp_path / "whole.tif") as expected:
        for page in range(3):
            ours.seek(page)
            expected.seek(page)
            assert np.array_equal(np.asarray(ours), np.asarray(expected))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif", "whole.tif"]


def test_a_failed_job_leaves_nothing(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth(height=100, width=60))
    (tmp_path / "out.png").write_bytes(b"before")
    failing = Bicubic(12, UserError("weights: broken"))
    with pytest.raises(UserError, match="weights: broken"):
        upscaling(failing, tile=24, scale=6).file(tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
_KILLED = """
import sys, time
from pathlib import Path
import gramgan.images.canvas as canvas
canvas._SYNC_SECONDS = canvas._SYNC_SHARE = 0
from test_api import Bicubic, upscaling
class Slow(Bicubic):
    def run(self, tiles):
        time.sleep(0.05)
        return super().run(tiles)
upscaling(Slow(), tile=24, scale=2).file(Path("in.png"), Path("out.png"))
"""


def test_a_killed_job_goes_on(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth(height=200, width=100))
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(gramgan.__file__).parents[1]}", **ONE_THREAD},
    )
    journal = tmp_path / ".out.png.pass1.journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"window") > 5) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.png").exists()
    whole, rest = Bicubic(), Bicubic()
    upscaling(rest, tile=24, scale=2).file(tmp_path / "in.png", tmp_path / "out.png")
    upscaling(whole, tile=24, scale=2).file(tmp_path / "in.png", tmp_path / "whole.png")
    assert rest.calls < whole.calls
    assert same_pixels(tmp_path / "out.png", tmp_path / "whole.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "whole.png"]


def test_consistency_reaches_the_result_and_the_residual_is_reported(
    generator: LoadedGenerator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lr = smooth()
    write_image(tmp_path / "in.png", lr, bits=16)
    backend = TorchBackend(generator.network, "tiny", "fp32", "cpu")
    model = OpenModel(backend, generator.card, "tiny", "0")
    with caplog.at_level(logging.INFO, "gramgan"):
        Upscaling(Settings(consistency=True), model).file(tmp_path / "in.png", tmp_path / "out.png")
    shrunk = matlab_bicubic_down(torch.from_numpy(read_rgb(tmp_path / "out.png"))[None], quantise=False)[0].numpy()
    residual = 255 * np.sqrt(np.square(shrunk - lr).mean())
    assert f"the result differs from its input by {residual:.2f} grey levels" in caplog.text
    assert residual < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1), (6, 9, 2), (6, 9, 3), (6, 9, 4)])
def test_arrays_come_back_as_they_went_in(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], dtype: type) -> None:
    monkeypatch.setattr(api, "open_model", lambda *_, **__: upscaling().model)
    values = np.random.default_rng(0).random(shape)
    white = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    for scale in (4, 2):
        result = upscale((values * white).astype(dtype), scale=scale)
        assert isinstance(result, np.ndarray)
        assert result.dtype == dtype
        assert result.shape == (6 * scale, 9 * scale, *shape[2:])


@pytest.mark.parametrize("scale", [4, 1.5, 8])
def test_an_array_and_a_file_give_the_same(weights: Path, tmp_path: Path, scale: float) -> None:
    settings: dict[str, Any] = {"model": weights, "precision": "fp32", "backend": "torch", "scale": scale}
    image = (smooth().transpose(1, 2, 0) * 255).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "in.png")
    from_array = gramgan.upscale(image, **settings)
    from_file = gramgan.upscale(str(tmp_path / "in.png"), **settings)
    path = gramgan.upscale(tmp_path / "in.png", tmp_path / "out.png", **settings)
    other = gramgan.upscale(image, tmp_path / "other.png", **settings)
    assert isinstance(from_array, np.ndarray)
    assert isinstance(from_file, np.ndarray)
    assert np.array_equal(from_array, from_file)
    for written in (path, other):
        assert isinstance(written, Path)
        assert np.abs(np.asarray(Image.open(written)).astype(int) - from_array).max() <= (0 if scale == 4 else 1)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.int32), "uint8, uint16 or float, not int32"),
        (np.zeros((4, 4), bool), "not bool"),
        (np.zeros((3, 40, 40), np.uint8), r"\[H, W, C\]"),
        (np.zeros((0, 4), np.uint8), "an array must be"),
        (np.full((4, 4, 3), 255.0), r"in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), "finite"),
    ],
)
def test_arrays_that_are_no_images(image: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        upscale(image)


def test_strength_lies_between_the_two_generators(weights: Path, generator: LoadedGenerator, tmp_path: Path) -> None:
    psnr = tmp_path / "psnr.safetensors"
    state = {name: tensor * 1.01 for name, tensor in generator.network.state_dict().items()}
    write_safetensors(psnr, state, generator.card)
    named = tmp_path / "named.safetensors"
    card = generator.card.model_copy(update={"psnr_partner": "psnr.safetensors"})
    write_safetensors(named, generator.network.state_dict(), card)
    image = (smooth().transpose(1, 2, 0)).astype(np.float32)
    settings: dict[str, Any] = {"precision": "fp32", "backend": "torch", "device": "cpu"}

    none, half, full = (
        np.asarray(gramgan.upscale(image, model=weights, psnr_model=psnr, strength=strength, **settings))
        for strength in (0, 0.5, 1)
    )
    np.testing.assert_allclose(none, np.asarray(gramgan.upscale(image, model=psnr, **settings)), atol=1e-6)
    np.testing.assert_allclose(full, np.asarray(gramgan.upscale(image, model=weights, **settings)), atol=1e-6)
    assert 0 < np.abs(half - none).mean() < np.abs(full - none).mean()
    by_card = np.asarray(gramgan.upscale(image, model=named, strength=0.5, **settings))
    np.testing.assert_allclose(by_card, half, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(icc="rec2020"), "icc 'rec2020': unknown; use keep or srgb"),
        (Settings(quality=0), "quality: 0 is outside of 1 to 100"),
        (Settings(strength=1.5), "strength: 1.5 is outside of 0 to 1"),
        (Settings(strength=float("nan")), "strength: nan is outside"),
        (Settings(psnr_model="x"), "psnr_model x: has an effect only together with --strength"),
        (Settings(texture_mask=True, texture_threshold=0), "texture_threshold: 0 is not a number of grey levels"),
        (Settings(texture_threshold=2), "texture_threshold 2: has an effect only together with --texture-mask"),
        (Settings(scale=3, size="5x"), "both say how large"),
        (Settings(scale=65), "scale: 65 is outside of 1 to 64; use 1.5, 2"),
        (Settings(bands=("1,2",)), "bands '1,2': the network takes one band or three"),
    ],
)
def test_settings_out_of_range(settings: Settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Upscaling(settings)


def test_two_processes_do_not_write_one_intermediate(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", smooth())
    with RasterWriter(tmp_path / "out.png", 8, 8, resume_key="another") as writer:
        with pytest.raises(UserError, match="another process is writing this file"):
            upscaling(scale=2).file(tmp_path / "in.png", tmp_path / "out.png")
        writer.write(Window(0, 0, 8, 8), np.zeros((3, 8, 8), np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocate, sizes = canvas._allocate, []

    def full(handle: int, size: int) -> None:
        sizes.append(size)
        if len(sizes) == 2:  # the one between the passes
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(handle, size)

    write_image(tmp_path / "in.png", smooth())
    monkeypatch.setattr(canvas, "_allocate", full)
    with pytest.raises(UserError, match=r"out\.png: the disk is full"):
        upscaling(scale=2).file(tmp_path / "in.png", tmp_path / "out.png")
    assert sizes == [3 * 80 * 60, 2 * 3 * 160 * 120]
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
