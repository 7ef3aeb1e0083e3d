"""Texture where the input has some, and results that are their input when they are shrunk."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.errors import UserError
from gramgan.images import read_rgb
from gramgan.networks.build import LoadedGenerator
from gramgan.ops import bicubic
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.upscaling.engine import Upscaler
from gramgan.upscaling.measured import EVERYTHING
from gramgan.upscaling.refine import Refine, back_project_measured, detail_mask


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    plane = 0.5 + 0.3 * np.sin(x / 20) * np.cos(y / 15)
    return np.repeat(plane[None], 3, axis=0).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 24, 36), (1, 8, 8), (1, 4, 52), (2, 1, 1)])
def test_bicubic_is_that_of_torch(shape: tuple[int, int, int]) -> None:
    small = noise(*shape)
    large = bicubic.enlarge(small)
    expected = bicubic_up(torch.from_numpy(small)[None])[0].numpy()
    np.testing.assert_allclose(np.clip(large, 0, 1), expected, atol=1e-6)
    shrunk = matlab_bicubic_down(torch.from_numpy(large)[None], quantise=False)[0].numpy()
    np.testing.assert_allclose(bicubic.shrink(large), shrunk, atol=1e-6)
    with pytest.raises(ValueError, match="cannot be divided by 4"):
        bicubic.shrink(large[:, :-1])


def test_the_mask_is_where_there_is_fine_detail() -> None:
    lr = smooth(60, 120)
    lr[:, :, 60:] += 0.1 * (noise(60, 60) - 0.5)
    mask = detail_mask(lr, 1.0)
    assert mask.shape == (60, 120)
    assert mask[:, :50].max() == 0, "a smooth gradient is no texture"
    assert mask[:, 70:].min() == 1
    between = mask[30, 50:70]
    assert ((between > 0) & (between < 1)).any(), "it fades in"
    assert (np.diff(between) >= -1e-6).all()


def test_an_edge_out_of_focus_is_no_texture_and_one_in_focus_is() -> None:
    x = np.arange(80, dtype=np.float32)
    for width, expected in ((8.0, 0.0), (0.6, 1.0)):
        edge = 0.2 + 0.6 / (1 + np.exp(-(x - 40) / width))
        lr = np.broadcast_to(edge, (3, 40, 80)).astype(np.float32)
        assert detail_mask(lr, 1.0)[20, 40] == expected


def test_a_higher_threshold_leaves_noise_out() -> None:
    lr = smooth(40, 40) + 0.03 * (noise(40, 40) - 0.5)
    assert detail_mask(lr, 0.5).min() == 1
    assert detail_mask(lr, 5.0).max() == 0


def test_texture_goes_where_the_input_has_some() -> None:
    lr = smooth(60, 120)
    lr[:, :, 60:] += 0.1 * (noise(60, 60) - 0.5)
    sr = np.clip(bicubic.enlarge(lr) + 0.2 * (noise(3, 240, 480, seed=1) - 0.5), 0, 1).astype(np.float32)
    result = Refine(texture_threshold=1.0)(lr, sr)
    np.testing.assert_allclose(result[:, :, :190], np.clip(bicubic.enlarge(lr), 0, 1)[:, :, :190], atol=1e-6)
    np.testing.assert_allclose(result[:, :, 300:], sr[:, :, 300:], atol=1e-6)


def test_back_projection_gives_the_input_back() -> None:
    lr = smooth(40, 50) + 0.2 * (noise(3, 40, 50) - 0.5)
    sr = np.clip(bicubic.enlarge(lr) * 0.9 + 0.03 + 0.1 * (noise(3, 160, 200, seed=1) - 0.5), 0, 1)
    result, before, after = back_project_measured(lr, sr.astype(np.float32))
    left = lr - bicubic.shrink(result)
    assert np.sqrt(np.square(left).mean()) * 255 < 1
    assert before == pytest.approx(np.square(lr - bicubic.shrink(sr)).sum(), rel=1e-4)
    assert after == pytest.approx(np.square(left).sum(), rel=1e-3)
    assert after < before / 100
    assert result.min() >= 0
    assert result.max() <= 1
    high = sr - bicubic.enlarge(bicubic.shrink(sr))
    kept = result - bicubic.enlarge(bicubic.shrink(result))
    assert np.corrcoef(high.ravel(), kept.ravel())[0, 1] > 0.9, "fine texture stays"


def test_back_projection_on_a_photograph(photos_folder: Path) -> None:
    hr = read_rgb(photos_folder / "garden.jpg")[:, 400:784, 900:1412]
    lr = bicubic.shrink(hr).clip(0, 1)
    _, before, after = back_project_measured(lr, np.clip(bicubic.enlarge(lr), 0, 1))
    levels = [255 * np.sqrt(one / lr.size) for one in (before, after)]
    assert levels[0] > 1
    assert levels[1] < levels[0] / 5
    assert levels[1] < 0.3


def test_the_residual_is_that_of_all_tiles_since_it_was_asked_for() -> None:
    refine = Refine(measured=EVERYTHING)
    assert refine.take_residual() is None
    lr, sr = smooth(20, 20), np.full((3, 80, 80), 0.5, np.float32)
    first = back_project_measured(lr, sr)
    refine(lr, sr)
    refine(lr, sr)
    residual = refine.take_residual()
    assert residual is not None
    assert residual.before == pytest.approx(255 * np.sqrt(first[1] / lr.size))
    assert residual.after == pytest.approx(255 * np.sqrt(first[2] / lr.size))
    assert refine.take_residual() is None
    mask_alone = Refine(texture_threshold=1.0)
    mask_alone(lr, sr)
    assert mask_alone.take_residual() is None


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("threshold", [None, 10.0])
def test_tiled_equals_whole(generator: LoadedGenerator, threshold: float | None, consistent: bool) -> None:
    from gramgan.upscaling.backends.torch_backend import TorchBackend

    image = np.concatenate([smooth(90, 60), noise(3, 90, 60)], axis=2)
    backend = TorchBackend(generator.network, "tiny", "fp32", "cpu")

    def result(tile: int) -> np.ndarray:
        refine = Refine(texture_threshold=threshold, measured=EVERYTHING if consistent else None)
        return Upscaler(backend, name="tiny", overlap=generator.card.overlap, tile=tile).upscale_array(image, refine)

    np.testing.assert_allclose(result(16), result(256), atol=1 / 255)


def test_back_projection_needs_no_more_context_than_it_gets() -> None:
    lr, sr = noise(3, 60, 60), noise(3, 240, 240)
    whole = back_project_measured(lr, sr)[0]
    missed = {}
    for context in (2, Refine(measured=EVERYTHING).overlap(0)):
        start, stop = 20 - context, 40 + context
        part = back_project_measured(lr[:, start:stop, start:stop], sr[:, 4 * start : 4 * stop, 4 * start : 4 * stop])[
            0
        ]
        inner = part[:, 4 * context : -4 * context, 4 * context : -4 * context]
        missed[context] = 255 * np.abs(inner - whole[:, 80:160, 80:160]).max()
    assert missed.pop(2) > 5
    assert 0 < max(missed.values()) < 0.25


@pytest.mark.parametrize("threshold", [0.0, -1.0, 256.0, float("nan")])
def test_thresholds_that_are_none(threshold: float) -> None:
    with pytest.raises(UserError, match=r"texture_threshold: .* is not a number of grey levels"):
        Refine(texture_threshold=threshold)
