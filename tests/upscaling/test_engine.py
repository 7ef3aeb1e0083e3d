"""Any picture of any size, tiled as if it were whole, and never a wrong pixel in silence."""

import errno
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gramgan.errors import UserError
from gramgan.images import Raster, RasterWriter, Window, read_rgb, write_image
from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBNet
from gramgan.ops.bicubic import SCALE
from gramgan.upscaling.backends import Backend, OutOfMemory
from gramgan.upscaling.backends.torch_backend import TorchBackend
from gramgan.upscaling.engine import TILES, Upscaler
from gramgan.upscaling.measured import EVERYTHING
from gramgan.upscaling.refine import Refine, back_project_measured
from gramgan.upscaling.tiles import final_window, plan_tiles


class Nearest:
    """A backend that repeats every pixel 4×4 times; batches with more pixels a tile than `limit`² do not fit."""

    name = "nearest"

    def __init__(
        self, limit: int = 10_000, *, batch: int = 1, side: int | None = None, free: int = 2**40, cost: int = 1000
    ) -> None:
        self.limit, self.batch, self.side, self.free, self.bytes_per_pixel = limit, batch, side, free, cost
        self.shapes: list[tuple[int, ...]] = []

    def free_bytes(self) -> int:
        return self.free

    def run(self, tiles: np.ndarray) -> np.ndarray:
        self.shapes.append(tiles.shape)
        if max(tiles.shape[2:]) * len(tiles) > self.limit:
            raise OutOfMemory("simulated")
        assert self.side is None or max(tiles.shape[2:]) <= self.side
        return repeated(tiles)


def upscaler_of(backend: Backend, tile: int | None = None, overlap: int = 20) -> Upscaler:
    return Upscaler(backend, name="tiny", overlap=overlap, tile=tile)


@pytest.fixture
def prompt_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window gets into the journal at once."""
    monkeypatch.setattr("gramgan.images.canvas._SYNC_SECONDS", 0)
    monkeypatch.setattr("gramgan.images.canvas._SYNC_SHARE", 0)


def writer_for(raster: Raster, target: Path, resume_key: str | None = None) -> RasterWriter:
    info = raster.info
    return RasterWriter(
        target,
        SCALE * info.width,
        SCALE * info.height,
        like=info,
        colour_channels=info.colour_channels,
        has_alpha=info.has_alpha,
        bits=info.bits,
        resume_key=resume_key,
    )


def upscale_file(upscaler: Upscaler, source: Path, target: Path, resume_key: str | None = None) -> None:
    raster = Raster.open(source)
    with writer_for(raster, target, resume_key) as writer:
        upscaler.upscale_raster(raster, writer)


def repeated(planes: np.ndarray) -> np.ndarray:
    return planes.repeat(4, axis=-2).repeat(4, axis=-1)


def picture(channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).random((channels, height, width), dtype=np.float32)


@pytest.mark.parametrize("channels", [1, 4])
def test_tiled_equals_whole(generator: LoadedGenerator, channels: int) -> None:
    image = picture(channels, 65, 90)
    whole = Upscaler.for_generator(generator, "fp32", "cpu", tile=256).upscale_array(image)
    tiled = Upscaler.for_generator(generator, "fp32", "cpu", tile=16).upscale_array(image)
    assert whole.std() > 0.05
    np.testing.assert_allclose(tiled, whole, atol=0.1 / 255)


def test_too_small_an_overlap_shows(generator: LoadedGenerator) -> None:
    """The test above can fail: with less context the same comparison finds a difference."""
    image = picture(3, 65, 90)
    whole = Upscaler.for_generator(generator, "fp32", "cpu", tile=256).upscale_array(image)
    tiled = Upscaler.for_generator(generator, "fp32", "cpu", tile=16, overlap=2).upscale_array(image)
    assert np.abs(tiled - whole).max() > 1 / 255


def test_the_card_says_the_overlap(generator: LoadedGenerator) -> None:
    assert Upscaler.for_generator(generator, "fp32", "cpu").overlap == 20
    assert Upscaler.for_generator(generator, "fp32", "cpu", overlap=3).overlap == 3


def test_results_are_consistent_where_the_refinement_says_so(generator: LoadedGenerator) -> None:
    image = picture(3, 40, 30)
    upscaler = Upscaler.for_generator(generator, "fp32", "cpu")
    plain = upscaler.upscale_array(image)
    result = upscaler.upscale_array(image, Refine(measured=EVERYTHING))
    np.testing.assert_allclose(result, back_project_measured(image, plain)[0], atol=1e-5)
    assert np.abs(result - plain).max() > 0.1
    assert np.array_equal(upscaler.upscale_array(image), plain), "it belongs to the picture, not to the engine"


def test_what_a_refinement_looks_at_is_added_to_the_overlap() -> None:
    seen = []
    for refine in (None, Refine(measured=EVERYTHING)):
        backend = Nearest()
        upscaler_of(backend, 16, 4).upscale_array(picture(3, 300, 20), refine)
        seen.append(max(shape[2] for shape in backend.shapes))
    assert seen[1] - seen[0] == 2 * (Refine(measured=EVERYTHING).overlap(4) - 4)


def test_tiles_are_as_large_as_asked_for() -> None:
    backend = Nearest()
    upscaler_of(backend, tile=16).upscale_array(picture(3, 300, 20))
    assert max(shape[2] for shape in backend.shapes) in range(16 - 3 + 2 * 20, 16 + 2 * 20 + 1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (50, 1), (3, 2), (15, 200), (97, 64), (200, 131)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_where_it_belongs(generator: LoadedGenerator, channels: int, height: int, width: int) -> None:
    image = picture(channels, height, width)
    result = upscaler_of(Nearest(), tile=16, overlap=4).upscale_array(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, repeated(image), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures_through_a_network(generator: LoadedGenerator, height: int, width: int) -> None:
    result = Upscaler.for_generator(generator, "fp32", "cpu").upscale_array(picture(3, height, width))
    assert result.shape == (3, 4 * height, 4 * width)
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1


def test_tiny_pictures_are_shown_to_the_network_with_some_surroundings(generator: LoadedGenerator) -> None:
    backend = Nearest()
    upscaler_of(backend).upscale_array(picture(3, 1, 50))
    assert backend.shapes == [(1, 3, 16, 50)]


def test_all_tiles_of_a_picture_have_one_shape(generator: LoadedGenerator) -> None:
    backend = Nearest()
    upscaler_of(backend, tile=32, overlap=4).upscale_array(picture(3, 201, 333))
    assert len(backend.shapes) > 50
    assert len(set(backend.shapes)) == 1


def test_grey_is_the_mean_of_the_colours_and_stays_grey(generator: LoadedGenerator) -> None:
    grey = picture(1, 20, 30)
    upscaler = Upscaler.for_generator(generator, "fp32", "cpu")
    result = upscaler.upscale_array(grey)
    colour = upscaler.upscale_array(np.repeat(grey, 3, axis=0))
    assert result.shape == (1, 80, 120)
    np.testing.assert_allclose(result[0], colour.mean(axis=0), atol=1e-6)


def test_alpha_is_enlarged_without_fringes(generator: LoadedGenerator) -> None:
    colours, alpha = picture(3, 60, 60) * 0.2 + 0.7, np.zeros((1, 60, 60), np.float32)
    alpha[:, 20:45, 15:40] = 1
    upscaler = upscaler_of(Nearest(), tile=16, overlap=4)
    black, white = (np.concatenate([np.where(alpha > 0, colours, junk), alpha]) for junk in (0.0, 1.0))
    result = upscaler.upscale_array(black.astype(np.float32))
    expected = repeated(alpha)  # as the network draws it
    np.testing.assert_allclose(result[3:], expected, atol=1e-5)
    shown = np.broadcast_to(expected > 0, (3, 240, 240))
    assert result[:3][shown].min() > 0.69, "black from under the transparency bleeds into what is seen"
    np.testing.assert_allclose(
        result[:3][shown], upscaler.upscale_array(white.astype(np.float32))[:3][shown], atol=1e-5
    )


def test_progress_counts_tiles(generator: LoadedGenerator) -> None:
    seen: list[tuple[int, int]] = []
    upscaler = upscaler_of(Nearest(), tile=16, overlap=4)
    upscaler.upscale_array(picture(3, 40, 60), None, lambda done, total: seen.append((done, total)))
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
        result = Upscaler.for_generator(overflowing, "fp16", "cpu").upscale_array(image)
    assert np.array_equal(result, Upscaler.for_generator(overflowing, "fp32", "cpu").upscale_array(image))
    assert "tiny: not finite in fp16" in caplog.text


def test_weights_that_are_never_finite_are_named(generator: LoadedGenerator) -> None:
    assert isinstance(generator.network, RRDBNet)
    with torch.no_grad():
        generator.network.conv_body.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="tiny: these weights give values that are not finite"):
        Upscaler.for_generator(generator, "bf16", "cpu").upscale_array(picture(3, 20, 20))


def test_a_reduced_precision_stays_near_fp32_and_is_not_8_bits(generator: LoadedGenerator) -> None:
    assert isinstance(generator.network, RRDBNet)
    with torch.no_grad():
        for parameter in generator.network.body.parameters():
            parameter.mul_(0.03)  # as gentle as trained weights
    image = picture(3, 40, 40)
    result = Upscaler.for_generator(generator, "bf16", "cpu").upscale_array(image)
    assert np.abs(result - Upscaler.for_generator(generator, "fp32", "cpu").upscale_array(image)).max() < 0.02
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
    assert isinstance(generator.network, RRDBNet)
    image = picture(3, 60, 80)
    network = _Large(generator.network, torch.OutOfMemoryError())
    limited = LoadedGenerator(network, generator.config, generator.card)
    with caplog.at_level(logging.WARNING, "gramgan"):
        result = Upscaler.for_generator(limited, "fp32", "cpu", tile=64).upscale_array(image)
    np.testing.assert_allclose(
        result, Upscaler.for_generator(generator, "fp32", "cpu").upscale_array(image), atol=0.1 / 255
    )
    assert "not enough memory" in caplog.text


def test_another_runtime_error_is_a_defect(generator: LoadedGenerator) -> None:
    assert isinstance(generator.network, RRDBNet)
    broken = LoadedGenerator(_Large(generator.network, RuntimeError("shape")), generator.config, generator.card)
    with pytest.raises(RuntimeError, match="shape"):
        Upscaler.for_generator(broken, "fp32", "cpu").upscale_array(picture(3, 90, 90))


def test_the_smaller_tile_holds_for_what_follows(generator: LoadedGenerator) -> None:
    backend = Nearest(limit=40)
    upscaler = upscaler_of(backend, tile=100, overlap=4)
    image = picture(3, 230, 310)
    np.testing.assert_allclose(upscaler.upscale_array(image), repeated(image), atol=1e-6)
    backend.shapes.clear()
    np.testing.assert_allclose(upscaler.upscale_array(image), repeated(image), atol=1e-6)
    assert max(max(shape) for shape in backend.shapes) <= 40


def test_memory_for_no_tile_at_all_is_an_error(generator: LoadedGenerator) -> None:
    upscaler = upscaler_of(Nearest(limit=10), tile=128, overlap=4)
    with pytest.raises(UserError, match=r"not enough memory for a tile of .* tiny"):
        upscaler.upscale_array(picture(3, 200, 200))


def test_values_that_are_not_finite_are_refused(generator: LoadedGenerator) -> None:
    image = picture(3, 9, 9)
    image[1, 4, 4] = np.nan
    with pytest.raises(UserError, match=r"image: .* not finite"):
        upscaler_of(Nearest()).upscale_array(image)


@pytest.mark.parametrize("shape", [(5, 4, 4), (4, 4), (3, 0, 4), (0, 4, 4)])
def test_other_shapes_are_refused(generator: LoadedGenerator, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image: is float32 .*; give floats"):
        upscaler_of(Nearest()).upscale_array(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 8}, "tile: 8 is too small"),
        ({"overlap": -1}, "overlap: -1 is negative"),
        (
            {"backend": Nearest(side=64), "overlap": 30},
            "overlap: 30 is too much for the tiles of nearest, which have 64",
        ),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        upscaler_of(**{"backend": Nearest(), **settings})


def test_16_bit_file_in_16_bit_file_out(generator: LoadedGenerator, tmp_path: Path) -> None:
    image = picture(3, 50, 70)
    write_image(tmp_path / "in.png", image, bits=16)
    upscale_file(upscaler_of(Nearest(), tile=16, overlap=4), tmp_path / "in.png", tmp_path / "out.png")
    raster = Raster.open(tmp_path / "out.png")
    assert (raster.info.dtype, raster.info.width, raster.info.height) == ("uint16", 280, 200)
    np.testing.assert_allclose(raster.read(), repeated(image), atol=1.01 / 65535)


def test_profile_resolution_and_transparency_go_along(generator: LoadedGenerator, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rgba = (picture(4, 12, 10).transpose(1, 2, 0) * 255).astype(np.uint8)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "in.png", icc_profile=profile, dpi=(300, 300))
    upscale_file(upscaler_of(Nearest()), tmp_path / "in.png", tmp_path / "out.png")
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
    upscale_file(upscaler_of(Nearest(), tile=16, overlap=4), tmp_path / "in.png", tmp_path / "out.png")
    assert len(heights) > 10
    assert max(heights) <= 16 + 2 * 4


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
        upscale_file(upscaler_of(Failing(), tile=16, overlap=4), tmp_path / "in.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_float_values_a_rounding_outside_of_the_range_are_clipped_and_said(
    generator: LoadedGenerator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = picture(3, 8, 8)
    write_image(tmp_path / "in.tif", image * (1.0005 / image.max()), bits=32)
    with caplog.at_level(logging.WARNING, "gramgan"):
        upscale_file(upscaler_of(Nearest()), tmp_path / "in.tif", tmp_path / "out.tif")
    assert Raster.open(tmp_path / "out.tif").info.dtype == "float32"
    assert read_rgb(tmp_path / "out.tif").max() == 1
    assert "in.tif: values from" in caplog.text


def test_a_batch_holds_several_tiles_and_changes_nothing() -> None:
    image = picture(3, 201, 333)
    alone, together = Nearest(), Nearest(batch=4)
    expected = upscaler_of(alone, 32, 4).upscale_array(image)
    assert np.array_equal(upscaler_of(together, 32, 4).upscale_array(image), expected)
    assert [shape[0] for shape in together.shapes[:-1]] == [4] * (len(together.shapes) - 1)
    assert sum(shape[0] for shape in together.shapes) == len(alone.shapes)


def test_out_of_memory_makes_batches_smaller_before_tiles(caplog: pytest.LogCaptureFixture) -> None:
    image = picture(3, 201, 333)
    backend = Nearest(limit=90, batch=8)
    upscaler = upscaler_of(backend, 32, 4)
    with caplog.at_level(logging.INFO, "gramgan"):
        np.testing.assert_allclose(upscaler.upscale_array(image), repeated(image), atol=1e-6)
    assert "going on with 2" in caplog.text
    assert "tiles of" not in caplog.text
    assert [shape[0] for shape in backend.shapes[:5]] == [8, 4, 2, 2, 2]
    assert {shape[2] for shape in backend.shapes} == {backend.shapes[0][2]}


@pytest.mark.parametrize(
    ("free", "batch", "tile"),
    [
        (2**40, 1, 512),
        (2 * 532 * 20 * 1000, 1, 512),
        (2 * 532 * 20 * 1000 - 1, 1, 256),
        (2**40, 4, 512),
        (4 * 2 * 532 * 20 * 1000 - 1, 4, 256),
        (0, 1, 16),
    ],
)
def test_the_tile_is_chosen_from_the_free_memory(free: int, batch: int, tile: int) -> None:
    backend = Nearest(free=free, batch=batch, cost=1000)
    upscaler_of(backend, overlap=10).upscale_array(np.zeros((3, 1500, 20), np.float32))
    assert tile in TILES
    assert tile / 2 < backend.shapes[0][2] - 2 * 10 <= tile


def test_a_small_picture_needs_no_small_tiles_when_memory_is_short() -> None:
    backend = Nearest(free=2 * 400 * 70 * 1000, cost=1000)
    upscaler_of(backend).upscale_array(picture(3, 400, 70))
    assert backend.shapes == [(1, 3, 400, 70)]


@pytest.mark.parametrize("tile", [None, 100, 30])
def test_tiles_stay_within_the_side_of_the_backend(tile: int | None) -> None:
    image = picture(3, 201, 333)
    backend = Nearest(side=72)
    np.testing.assert_allclose(upscaler_of(backend, tile).upscale_array(image), repeated(image), atol=1e-6)
    assert max(max(shape[2:]) for shape in backend.shapes) > 60


def test_refine_sees_whole_tiles_and_its_result_is_used() -> None:
    image = picture(3, 65, 90)
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    class Inverting(Refine):
        def __call__(self, lr: np.ndarray, sr: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
            seen.append((lr.shape, sr.shape))
            assert np.array_equal(sr, repeated(lr))
            return 1 - sr

    backend = Nearest()
    result = upscaler_of(backend, 16, 4).upscale_array(image, Inverting())
    np.testing.assert_allclose(result, 1 - repeated(image), atol=1e-6)
    assert seen == [(shape[1:], (3, 4 * shape[2], 4 * shape[3])) for shape in backend.shapes]
    grey = upscaler_of(Nearest(), 16, 4).upscale_array(image[:1], Inverting())
    np.testing.assert_allclose(grey, 1 - repeated(image[:1]), atol=1e-6)


def test_refine_sees_whole_tiles_when_memory_is_short() -> None:
    image = picture(3, 65, 90)
    shapes: list[tuple[int, ...]] = []

    class Noting(Refine):
        def __call__(self, lr: np.ndarray, sr: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
            shapes.append(lr.shape)
            return sr

    backend = Nearest(limit=40)
    result = upscaler_of(backend, 64, 4).upscale_array(image, Noting())
    np.testing.assert_allclose(result, repeated(image), atol=1e-6)
    assert shapes[0][1] > 60
    assert len(backend.shapes) > 2 * len(shapes)


def test_values_that_are_not_finite_never_get_into_a_result() -> None:
    class Broken(Nearest):
        def run(self, tiles: np.ndarray) -> np.ndarray:
            result = super().run(tiles)
            result[-1, 0, 5, 5] = np.nan
            return result

    with pytest.raises(UserError, match=r"tiny: nearest gives values that are not finite"):
        upscaler_of(Broken()).upscale_array(picture(3, 20, 20))


class Interrupted(Nearest):
    """Ctrl-C, or another exception, after some calls."""

    def __init__(self, calls: int, error: BaseException) -> None:
        super().__init__()
        self.calls, self.error = calls, error

    def run(self, tiles: np.ndarray) -> np.ndarray:
        if len(self.shapes) == self.calls:
            raise self.error
        return super().run(tiles)


class Smooth(Nearest):
    """A backend whose results depend on four pixels around, so that blending of neighbours matters."""

    def run(self, tiles: np.ndarray) -> np.ndarray:
        kernel = torch.full((3, 1, 9, 9), 1 / 81)
        mean = torch.nn.functional.conv2d(torch.from_numpy(tiles), kernel, padding=4, groups=3)
        return super().run(mean.numpy())


class InterruptedSmooth(Interrupted, Smooth):
    pass


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("calls", [1, 7, 20, 33])
def test_a_job_that_is_interrupted_goes_on_where_it_was(
    tmp_path: Path, prompt_journal: None, channels: int, calls: int
) -> None:
    write_image(tmp_path / "in.png", picture(channels, 97, 131))
    upscale_file(upscaler_of(Smooth(), 32, 2), tmp_path / "in.png", tmp_path / "whole.png")
    each = 2 if channels == 4 else 1  # the network draws the alpha channel too
    first = InterruptedSmooth(calls * each, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        upscale_file(upscaler_of(first, 24, 2), tmp_path / "in.png", tmp_path / "out.png", "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".out.png.journal",
        ".out.png.part",
        "in.png",
        "whole.png",
    ]

    second, all_of_it = Smooth(), Smooth()
    upscale_file(upscaler_of(all_of_it, 24, 2), tmp_path / "in.png", tmp_path / "whole.png")
    upscale_file(upscaler_of(second, 24, 2), tmp_path / "in.png", tmp_path / "out.png", "key")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png", "whole.png"]
    columns = len(plan_tiles(97, 131, 24, 2).columns)
    assert len(all_of_it.shapes) > 33 * each
    assert len(second.shapes) <= len(all_of_it.shapes) + (columns + 1 - calls) * each


def test_what_is_missing_may_lie_anywhere(tmp_path: Path) -> None:
    """Windows are finished in reading order, but nothing depends on that."""
    image = picture(3, 97, 131)
    write_image(tmp_path / "in.tif", image, bits=32)
    upscale_file(upscaler_of(Smooth(), 24, 2), tmp_path / "in.tif", tmp_path / "whole.tif")
    expected = read_rgb(tmp_path / "whole.tif")
    raster = Raster.open(tmp_path / "in.tif")
    plan = plan_tiles(97, 131, 24, 2)
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        backend = Smooth()
        with writer_for(raster, tmp_path / "out.tif") as writer:
            writer.follow({"tile": 24, "overlap": 2})
            for cell in np.ndindex(len(plan.rows), len(plan.columns)):
                if rng.random() < share:
                    window = final_window(plan, cell, SCALE)
                    rows, columns = slice(window.y, window.y + window.height), slice(window.x, window.x + window.width)
                    writer.write(window, expected[:, rows, columns])
            upscaler_of(backend, 24, 2).upscale_raster(raster, writer)
        assert np.array_equal(read_rgb(tmp_path / "out.tif"), expected)
        assert share < 0.9 or len(backend.shapes) < len(plan)


def test_a_job_goes_on_with_the_tiles_that_it_began_with(
    tmp_path: Path, prompt_journal: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Less memory is free than when it began: the plan stays, and the tiles are computed in parts."""
    write_image(tmp_path / "in.png", picture(3, 300, 40))
    first = Interrupted(2, KeyboardInterrupt())
    first.free = 2 * 80 * 40 * 1000
    with pytest.raises(KeyboardInterrupt):
        upscale_file(upscaler_of(first, overlap=8), tmp_path / "in.png", tmp_path / "out.png", "key")
    with caplog.at_level(logging.WARNING, "gramgan"):
        second = Nearest(free=2 * 48 * 40 * 1000)
        upscale_file(upscaler_of(second, overlap=8), tmp_path / "in.png", tmp_path / "out.png", "key")
    assert max(shape[2] for shape in first.shapes) > 60
    assert max(shape[2] for shape in second.shapes) <= 48
    np.testing.assert_array_equal(
        Raster.open(tmp_path / "out.png").read_samples(), repeated(Raster.open(tmp_path / "in.png").read_samples())
    )


def test_another_tile_begins_anew(tmp_path: Path, prompt_journal: None) -> None:
    write_image(tmp_path / "in.png", picture(3, 97, 131))
    with pytest.raises(KeyboardInterrupt):
        upscale_file(
            upscaler_of(Interrupted(20, KeyboardInterrupt()), 24, 2), tmp_path / "in.png", tmp_path / "out.png", "key"
        )
    upscale_file(upscaler_of(Nearest(), 40, 2), tmp_path / "in.png", tmp_path / "out.png", "key")
    np.testing.assert_array_equal(
        Raster.open(tmp_path / "out.png").read_samples(), repeated(Raster.open(tmp_path / "in.png").read_samples())
    )


@pytest.mark.parametrize("error", [UserError("weights: broken"), RuntimeError("a defect")])
def test_a_failed_job_leaves_nothing_to_go_on_with(tmp_path: Path, error: Exception) -> None:
    write_image(tmp_path / "in.png", picture(3, 97, 131))
    with pytest.raises(type(error), match=str(error)):
        upscale_file(upscaler_of(Interrupted(9, error), 24, 2), tmp_path / "in.png", tmp_path / "out.png", "key")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


_KILLED = """
import sys, time
from pathlib import Path
import numpy as np
sys.path.insert(0, {folder!r})
from test_engine import Smooth, upscale_file, upscaler_of
from gramgan.images import canvas
canvas._SYNC_SECONDS = canvas._SYNC_SHARE = 0

class Slow(Smooth):
    def run(self, tiles):
        if len(self.shapes) >= {calls}:
            print("ready", flush=True)
            time.sleep(60)
        return super().run(tiles)

upscale_file(upscaler_of(Slow(), 24, 2), Path("in.tif"), Path("out.tif"), "key")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_job_that_is_killed_goes_on_and_cleans_up(tmp_path: Path) -> None:
    write_image(tmp_path / "in.tif", picture(3, 97, 131), bits=16)
    script = _KILLED.format(folder=str(Path(__file__).parent), calls=18)
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert {".out.tif.journal", ".out.tif.part"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "out.tif").exists()

    backend = Smooth()
    upscale_file(upscaler_of(backend, 24, 2), tmp_path / "in.tif", tmp_path / "out.tif", "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif", "out.tif"]
    assert 35 - 18 < len(backend.shapes) <= 35 - 18 + 7 + 4
    upscale_file(upscaler_of(Smooth(), 24, 2), tmp_path / "in.tif", tmp_path / "whole.tif")
    np.testing.assert_array_equal(
        Raster.open(tmp_path / "out.tif").read_samples(), Raster.open(tmp_path / "whole.tif").read_samples()
    )


def test_decoding_and_writing_go_on_while_the_network_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next row is read, and the last tile is written, in threads of their own."""
    write_image(tmp_path / "in.png", picture(3, 300, 20))
    threads: dict[str, set[str]] = {"read": set(), "run": set(), "write": set()}

    def noting(kind: type, name: str, key: str) -> None:
        original = getattr(kind, name)

        def noted(*arguments: object) -> object:
            threads[key].add(threading.current_thread().name)
            return original(*arguments)

        monkeypatch.setattr(kind, name, noted)

    noting(Raster, "read", "read")
    noting(Nearest, "run", "run")
    noting(RasterWriter, "write", "write")
    upscale_file(upscaler_of(Nearest(), 16, 4), tmp_path / "in.png", tmp_path / "out.png")
    assert all(len(names) == 1 for names in threads.values())
    assert len(set.union(*threads.values())) == 3


def test_no_more_than_a_few_tiles_wait_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "in.png", picture(3, 300, 20))
    computed = written = most = 0

    class Counting(Nearest):
        def run(self, tiles: np.ndarray) -> np.ndarray:
            nonlocal computed, most
            computed += 1
            most = max(most, computed - written)
            return super().run(tiles)

    original = RasterWriter.write

    def slow(self: RasterWriter, window: Window, array: np.ndarray) -> None:
        nonlocal written
        time.sleep(0.01)
        original(self, window, array)
        written += 1

    monkeypatch.setattr(RasterWriter, "write", slow)
    upscale_file(upscaler_of(Counting(), 16, 4), tmp_path / "in.png", tmp_path / "out.png")
    assert computed > 15
    assert most <= 5


def test_a_writer_that_fails_ends_the_job_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "in.png", picture(3, 600, 20))
    backend = Nearest()

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gramgan.images.canvas.Canvas._put", full)
    with pytest.raises(UserError, match="disk is full"):
        upscale_file(upscaler_of(backend, 16, 4), tmp_path / "in.png", tmp_path / "out.png", "key")
    assert len(backend.shapes) < 8
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gramgan")]


def test_a_writer_of_another_size_is_a_defect(tmp_path: Path) -> None:
    write_image(tmp_path / "in.png", picture(3, 10, 20))
    with (
        pytest.raises(ValueError, match="81x40 is not 4 times 20x10"),
        RasterWriter(tmp_path / "out.png", 81, 40) as writer,
    ):
        upscaler_of(Nearest()).upscale_raster(Raster.open(tmp_path / "in.png"), writer)
