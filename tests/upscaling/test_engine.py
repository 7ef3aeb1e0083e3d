"""Any picture of any size, tiled as if it were whole, and never a wrong pixel in silence."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import gramgan
from gramgan.errors import UserError
from gramgan.images import Raster, read_rgb, write_image
from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBNet
from gramgan.ops.resize import bicubic_up
from gramgan.upscaling.backends import OutOfMemory
from gramgan.upscaling.backends.torch_backend import TorchBackend
from gramgan.upscaling.engine import COMMENT, Upscaler, upscale


class Nearest:
    """A backend that repeats every pixel 4×4 times; tiles with a side above `limit` do not fit into its memory."""

    def __init__(self, limit: int = 10_000) -> None:
        self.limit = limit
        self.shapes: list[tuple[int, ...]] = []

    def run(self, tiles: np.ndarray) -> np.ndarray:
        self.shapes.append(tiles.shape)
        if max(tiles.shape) > self.limit:
            raise OutOfMemory("simulated")
        return repeated(tiles)


def repeated(planes: np.ndarray) -> np.ndarray:
    return planes.repeat(4, axis=-2).repeat(4, axis=-1)


def picture(channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((channels, height, width), dtype=np.float32)


@pytest.mark.parametrize("channels", [1, 4])
def test_tiled_equals_whole(generator: LoadedGenerator, channels: int) -> None:
    image = picture(channels, 65, 90)
    whole = Upscaler(generator, "fp32", tile=256).upscale_array(image)
    tiled = Upscaler(generator, "fp32", tile=16).upscale_array(image)
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiled, whole, atol=0.1 / 255)


def test_too_small_an_overlap_shows(generator: LoadedGenerator) -> None:
    """The test above can fail: with less context the same comparison finds a difference."""
    image = picture(3, 65, 90)
    whole = Upscaler(generator, "fp32", tile=256).upscale_array(image)
    tiled = Upscaler(generator, "fp32", tile=16, overlap=2).upscale_array(image)
    assert np.abs(tiled - whole).max() > 1 / 255


def test_the_card_says_the_overlap(generator: LoadedGenerator) -> None:
    backend = Nearest()
    Upscaler(generator, tile=16, backend=backend).upscale_array(picture(3, 300, 20))
    assert max(shape[2] for shape in backend.shapes) in range(16 - 3 + 2 * 20, 16 + 2 * 20 + 1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (3, 2), (15, 200), (97, 64), (200, 131)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_where_it_belongs(generator: LoadedGenerator, channels: int, height: int, width: int) -> None:
    image = picture(channels, height, width)
    result = Upscaler(generator, tile=16, overlap=4, backend=Nearest()).upscale_array(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, repeated(image), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures_through_a_network(generator: LoadedGenerator, height: int, width: int) -> None:
    result = Upscaler(generator, "fp32").upscale_array(picture(3, height, width))
    assert result.shape == (3, 4 * height, 4 * width)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_tiny_pictures_are_shown_to_the_network_with_some_surroundings(generator: LoadedGenerator) -> None:
    backend = Nearest()
    Upscaler(generator, backend=backend).upscale_array(picture(3, 1, 50))
    assert backend.shapes == [(1, 3, 16, 50)]


def test_all_tiles_of_a_picture_have_one_shape(generator: LoadedGenerator) -> None:
    backend = Nearest()
    Upscaler(generator, tile=32, overlap=4, backend=backend).upscale_array(picture(3, 201, 333))
    assert len(backend.shapes) > 50
    assert len(set(backend.shapes)) == 1


def test_grey_is_the_mean_of_the_colours_and_stays_grey(generator: LoadedGenerator) -> None:
    grey = picture(1, 20, 30)
    upscaler = Upscaler(generator, "fp32")
    result = upscaler.upscale_array(grey)
    colour = upscaler.upscale_array(np.repeat(grey, 3, axis=0))
    assert result.shape == (1, 80, 120)
    np.testing.assert_allclose(result[0], colour.mean(axis=0), atol=1e-6)


def test_alpha_is_enlarged_without_fringes(generator: LoadedGenerator) -> None:
    colours, alpha = picture(3, 60, 60) * 0.2 + 0.7, np.zeros((1, 60, 60), np.float32)
    alpha[:, 20:45, 15:40] = 1
    upscaler = Upscaler(generator, tile=16, overlap=4, backend=Nearest())
    black, white = (np.concatenate([np.where(alpha > 0, colours, junk), alpha]) for junk in (0.0, 1.0))
    result = upscaler.upscale_array(black.astype(np.float32))
    expected = bicubic_up(torch.from_numpy(alpha)[None])[0].numpy()
    np.testing.assert_allclose(result[3:], expected, atol=1e-5)
    shown = np.broadcast_to(expected > 0, (3, 240, 240))
    assert result[:3][shown].min() > 0.69, "black from under the transparency bleeds into what is seen"
    np.testing.assert_allclose(
        result[:3][shown], upscaler.upscale_array(white.astype(np.float32))[:3][shown], atol=1e-5
    )


def test_progress_counts_tiles(generator: LoadedGenerator) -> None:
    seen: list[tuple[int, int]] = []
    upscaler = Upscaler(generator, tile=16, overlap=4, backend=Nearest())
    upscaler.upscale_array(picture(3, 40, 60), lambda done, total: seen.append((done, total)))
    total = seen[0][1]
    assert total > 4
    assert seen == [(done, total) for done in range(total + 1)]


class _Overflowing(RRDBNet):
    """Its features leave the range of fp16 (65504) in the middle and come back into it."""

    def __init__(self, network: RRDBNet) -> None:
        super().__init__(network.config)
        self.load_state_dict(network.state_dict())

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr * 3e4 * 3) / 9e4 if lr.dtype != torch.float16 else super().forward(lr * 3e4 * 3)


def test_half_precision_that_overflows_is_computed_again_in_fp32(
    network: RRDBNet, generator: LoadedGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    overflowing = LoadedGenerator(_Overflowing(network), generator.config, generator.card)
    image = picture(3, 20, 20)
    with caplog.at_level(logging.WARNING, "gramgan"):
        result = Upscaler(overflowing, "fp16", device="cpu").upscale_array(image)
    assert np.array_equal(result, Upscaler(overflowing, "fp32", device="cpu").upscale_array(image))
    assert "tiny: not finite in fp16" in caplog.text


def test_weights_that_are_never_finite_are_named(generator: LoadedGenerator) -> None:
    with torch.no_grad():
        generator.network.conv_body.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="tiny: these weights give values that are not finite"):
        Upscaler(generator, "bf16", device="cpu").upscale_array(picture(3, 20, 20))


def test_a_reduced_precision_stays_near_fp32_and_is_not_8_bits(generator: LoadedGenerator) -> None:
    with torch.no_grad():
        for parameter in generator.network.body.parameters():
            parameter.mul_(0.03)  # as gentle as trained weights
    image = picture(3, 40, 40)
    result = Upscaler(generator, "bf16", device="cpu").upscale_array(image)
    assert np.abs(result - Upscaler(generator, "fp32", device="cpu").upscale_array(image)).max() < 0.02
    assert len(np.unique(result)) > 5000


class _Large(RRDBNet):
    """Out of memory, in the way that is asked for, for tiles with a side above 60."""

    def __init__(self, network: RRDBNet, error: Exception) -> None:
        super().__init__(network.config)
        self.load_state_dict(network.state_dict())
        self.error = error

    def forward(self, lr: Tensor) -> Tensor:
        if max(lr.shape) > 60:
            raise self.error
        return super().forward(lr)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to …"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "linux", "windows", "python"],
)
def test_every_way_of_running_out_of_memory_is_known(network: RRDBNet, error: Exception) -> None:
    backend = TorchBackend(_Large(network, error), "tiny", "fp32", "cpu")
    assert backend.run(picture(3, 8, 60)[None]).shape == (1, 3, 32, 240)
    with pytest.raises(OutOfMemory):
        backend.run(picture(3, 8, 61)[None])


def test_out_of_memory_halves_the_tile(generator: LoadedGenerator, caplog: pytest.LogCaptureFixture) -> None:
    image = picture(3, 60, 80)
    network = _Large(generator.network, torch.OutOfMemoryError())
    limited = LoadedGenerator(network, generator.config, generator.card)
    with caplog.at_level(logging.WARNING, "gramgan"):
        result = Upscaler(limited, "fp32", tile=64, device="cpu").upscale_array(image)
    np.testing.assert_allclose(result, Upscaler(generator, "fp32", device="cpu").upscale_array(image), atol=0.1 / 255)
    assert "not enough memory" in caplog.text


def test_another_runtime_error_is_a_defect(generator: LoadedGenerator) -> None:
    broken = LoadedGenerator(_Large(generator.network, RuntimeError("shape")), generator.config, generator.card)
    with pytest.raises(RuntimeError, match="shape"):
        Upscaler(broken, "fp32", device="cpu").upscale_array(picture(3, 90, 90))


def test_the_smaller_tile_holds_for_what_follows(generator: LoadedGenerator) -> None:
    backend = Nearest(limit=40)
    upscaler = Upscaler(generator, tile=100, overlap=4, backend=backend)
    image = picture(3, 230, 310)
    np.testing.assert_allclose(upscaler.upscale_array(image), repeated(image), atol=1e-6)
    backend.shapes.clear()
    np.testing.assert_allclose(upscaler.upscale_array(image), repeated(image), atol=1e-6)
    assert max(max(shape) for shape in backend.shapes) <= 40


def test_memory_for_no_tile_at_all_is_an_error(generator: LoadedGenerator) -> None:
    upscaler = Upscaler(generator, tile=128, overlap=4, backend=Nearest(limit=10))
    with pytest.raises(UserError, match=r"not enough memory for a tile of .* tiny"):
        upscaler.upscale_array(picture(3, 200, 200))


def test_values_that_are_not_finite_are_refused(generator: LoadedGenerator) -> None:
    image = picture(3, 9, 9)
    image[1, 4, 4] = np.nan
    with pytest.raises(UserError, match=r"image: .* not finite"):
        Upscaler(generator, backend=Nearest()).upscale_array(image)


@pytest.mark.parametrize("shape", [(5, 4, 4), (4, 4), (3, 0, 4), (0, 4, 4)])
def test_other_shapes_are_refused(generator: LoadedGenerator, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a picture must be"):
        Upscaler(generator, backend=Nearest()).upscale_array(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 8}, "tile: 8 is too small"),
        ({"overlap": -1}, "overlap: -1 is negative"),
        ({"precision": "fp8"}, "precision 'fp8': unknown"),
        ({"device": "gpu"}, "device 'gpu': unknown"),
        ({"device": "cuda:99"}, "device 'cuda:99'"),
    ],
)
def test_settings_out_of_range_are_named(generator: LoadedGenerator, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Upscaler(generator, **{"precision": "fp32", **settings})


def test_16_bit_file_in_16_bit_file_out(generator: LoadedGenerator, tmp_path: Path) -> None:
    image = picture(3, 50, 70)
    write_image(tmp_path / "in.png", image, bits=16)
    Upscaler(generator, tile=16, overlap=4, backend=Nearest()).upscale_file(tmp_path / "in.png", tmp_path / "out.png")
    raster = Raster.open(tmp_path / "out.png")
    assert (raster.info.dtype, raster.info.width, raster.info.height) == ("uint16", 280, 200)
    np.testing.assert_allclose(raster.read(), repeated(image), atol=1.01 / 65535)
    assert Image.open(tmp_path / "out.png").info["Description"] == COMMENT


def test_profile_resolution_and_transparency_go_along(generator: LoadedGenerator, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgba = (picture(4, 12, 10).transpose(1, 2, 0) * 255).astype(np.uint8)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "in.png", icc_profile=profile, dpi=(300, 300))
    Upscaler(generator, backend=Nearest()).upscale_file(tmp_path / "in.png", tmp_path / "out.png")
    result = Image.open(tmp_path / "out.png")
    assert (result.mode, result.size) == ("RGBA", (40, 48))
    assert result.info["icc_profile"] == profile
    assert result.info["dpi"][0] == pytest.approx(300, abs=0.1)


def test_files_are_read_by_rows_of_tiles(
    generator: LoadedGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "in.png", picture(3, 300, 20))
    heights: list[int] = []
    original = Raster.read

    def read(self: Raster, window=None) -> np.ndarray:
        heights.append(window.height if window else self.info.height)
        return original(self, window)

    monkeypatch.setattr(Raster, "read", read)
    Upscaler(generator, tile=16, overlap=4, backend=Nearest()).upscale_file(tmp_path / "in.png", tmp_path / "out.png")
    assert len(heights) > 10
    assert max(heights) <= 16 + 2 * 4


def test_the_input_is_never_overwritten(generator: LoadedGenerator, tmp_path: Path) -> None:
    path, link = tmp_path / "in.png", tmp_path / "link.png"
    write_image(path, picture(3, 5, 5))
    link.hardlink_to(path)
    before = path.read_bytes()
    for target in (path, link):
        with pytest.raises(UserError, match="this is the input itself"):
            Upscaler(generator, backend=Nearest()).upscale_file(path, target)
    assert path.read_bytes() == before


def test_a_failure_half_way_leaves_what_was_there(generator: LoadedGenerator, tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture(3, 200, 20))
    (tmp_path / "out.png").write_bytes(b"before")
    calls = 0

    class Failing(Nearest):
        def run(self, tiles: np.ndarray) -> np.ndarray:
            nonlocal calls
            calls += 1
            if calls == 4:
                raise UserError("weights: broken")
            return super().run(tiles)

    with pytest.raises(UserError, match="weights: broken"):
        Upscaler(generator, tile=16, overlap=4, backend=Failing()).upscale_file(
            tmp_path / "in.png", tmp_path / "out.png"
        )
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1), (6, 9, 2), (6, 9, 3), (6, 9, 4)])
def test_arrays_come_back_as_they_went_in(weights: Path, shape: tuple[int, ...], dtype: type) -> None:
    values = np.random.default_rng(0).random(shape)
    white = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    result = upscale((values * white).astype(dtype), model=weights, precision="fp32")
    assert isinstance(result, np.ndarray)
    assert result.dtype == dtype
    assert result.shape == (24, 36, *shape[2:])


def test_an_array_and_a_file_give_the_same(weights: Path, tmp_path: Path) -> None:
    image = (picture(3, 20, 30).transpose(1, 2, 0) * 255).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "in.png")
    from_array = gramgan.upscale(image, model=weights, precision="fp32")
    from_file = gramgan.upscale(str(tmp_path / "in.png"), model=weights, precision="fp32")
    path = gramgan.upscale(tmp_path / "in.png", tmp_path / "out.png", model=weights, precision="fp32")
    other = gramgan.upscale(image, tmp_path / "other.png", model=weights, precision="fp32")
    assert isinstance(from_array, np.ndarray)
    assert isinstance(from_file, np.ndarray)
    assert np.array_equal(from_array, from_file)
    for written in (path, other):
        assert isinstance(written, Path)
        assert np.array_equal(np.asarray(Image.open(written)), from_array)


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (np.zeros((4, 4), np.int32), TypeError, "uint8, uint16 or float, not int32"),
        (np.zeros((4, 4), bool), TypeError, "not bool"),
        (np.zeros((3, 40, 40), np.uint8), ValueError, r"\[H, W, C\]"),
        (np.zeros((0, 4), np.uint8), ValueError, "an image array must be"),
        (np.full((4, 4, 3), 255.0), ValueError, r"in \[0, 1\]"),
        (np.full((4, 4, 3), np.nan), ValueError, "finite"),
    ],
)
def test_arrays_that_are_no_images(weights: Path, image: np.ndarray, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        upscale(image, model=weights, precision="fp32")


def test_float_values_outside_of_the_range_are_clipped_and_said(
    generator: LoadedGenerator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "in.tif", picture(3, 8, 8) * 1.5, bits=32)
    with caplog.at_level(logging.WARNING, "gramgan"):
        Upscaler(generator, backend=Nearest()).upscale_file(tmp_path / "in.tif", tmp_path / "out.tif")
    assert Raster.open(tmp_path / "out.tif").info.dtype == "float32"
    assert read_rgb(tmp_path / "out.tif").max() == 1
    assert "in.tif: values from" in caplog.text
