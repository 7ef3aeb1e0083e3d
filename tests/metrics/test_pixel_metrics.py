"""PSNR, SSIM and Gram distance against scikit-image, plain loops and known values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gramgan.metrics import gram_distance, psnr, psnr_y, ssim, ssim_y
from gramgan.ops.luma import luma_bt601


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    hr = torch.nn.functional.interpolate(torch.rand(2, 3, 9, 11), scale_factor=4, mode="bicubic").clamp(0, 1)
    sr = (hr + 0.05 * torch.randn_like(hr)).clamp(0, 1)
    return sr, hr


def inside(image: Tensor, crop: int) -> np.ndarray:
    return luma_bt601(image[None].double())[0, 0, crop:-crop, crop:-crop].numpy()


def test_psnr_of_a_known_difference() -> None:
    hr = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    assert psnr(hr + 1 / 255, hr).item() == pytest.approx(20 * math.log10(255), abs=1e-9)
    # A grey step of 1 moves studio-range luma by 219/255.
    assert psnr_y(hr + 1 / 255, hr, 0).item() == pytest.approx(20 * math.log10(255 * 255 / 219), abs=1e-6)


def test_psnr_of_identical_images_is_infinite() -> None:
    hr = torch.rand(1, 3, 16, 16)
    assert math.isinf(psnr_y(hr, hr).item())


def test_psnr_leaves_out_exactly_the_border() -> None:
    hr = torch.rand(1, 3, 20, 24)
    sr = hr.clone()
    sr[..., :4, :] = 0
    sr[..., :, -4:] = 0
    assert math.isinf(psnr_y(sr, hr, 4).item())
    assert psnr_y(sr, hr, 3).item() < 40


def test_psnr_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    sr, hr = pair
    for row, value in enumerate(psnr_y(sr, hr, 4)):
        expected = metrics.peak_signal_noise_ratio(inside(hr[row], 4), inside(sr[row], 4), data_range=1)
        assert value.item() == pytest.approx(expected, abs=1e-9)


def test_ssim_agrees_with_scikit_image(pair: tuple[Tensor, Tensor]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    sr, hr = pair
    values = ssim_y(sr, hr, 4)
    assert values.dtype == torch.float64
    for row, value in enumerate(values):
        expected = metrics.structural_similarity(
            inside(hr[row], 4),
            inside(sr[row], 4),
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert value.item() == pytest.approx(expected, abs=1e-7)


def test_ssim_of_identical_images_is_one() -> None:
    hr = torch.rand(1, 3, 24, 24)
    assert ssim_y(hr, hr).item() == pytest.approx(1, abs=1e-12)


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    a, b = torch.full((1, 3, 20, 20), 0.2), torch.full((1, 3, 20, 20), 0.8)
    x, y = (16 + 219 * 0.2) / 255, (16 + 219 * 0.8) / 255
    assert ssim_y(a, b).item() == pytest.approx((2 * x * y + 1e-4) / (x * x + y * y + 1e-4), abs=1e-6)


@pytest.mark.parametrize("k", [3, 4])
def test_gram_distance_against_a_loop(pair: tuple[Tensor, Tensor], k: int) -> None:
    sr, hr = (image.double().numpy() for image in pair)
    for row, value in enumerate(gram_distance(*pair, k=k)):
        distances = []
        for y in range(0, hr.shape[2] - k + 1, k):
            for x in range(0, hr.shape[3] - k + 1, k):
                a, b = (image[row, :, y : y + k, x : x + k].reshape(3, -1) for image in (sr, hr))
                distances.append(np.linalg.norm(a @ a.T / k**2 - b @ b.T / k**2))
        assert value.item() == pytest.approx(float(np.mean(distances)), rel=1e-7)


def test_gram_distance_of_black_and_white_is_three() -> None:
    # All nine entries of the Gram matrix differ by 1.
    assert gram_distance(torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)).item() == pytest.approx(3)


@pytest.mark.parametrize("metric", [psnr, psnr_y, ssim_y, gram_distance])
def test_shapes_must_agree(metric) -> None:
    with pytest.raises(ValueError, match="of one shape"):
        metric(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 28))


@pytest.mark.parametrize(("metric", "size"), [(psnr_y, 8), (ssim_y, 18), (gram_distance, 3)])
def test_too_small_images_are_refused(metric, size: int) -> None:
    image = torch.rand(1, 3, size, 40)
    with pytest.raises(ValueError, match="too small"):
        metric(image, image)
    image = torch.rand(1, 3, size + 1, 40)
    metric(image, image)


@pytest.mark.parametrize("metric", [psnr_y, ssim_y, gram_distance])
def test_gray_tensors_are_refused(metric) -> None:
    with pytest.raises(ValueError, match="RGB"):
        metric(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("metric", [psnr_y, ssim_y, gram_distance])
def test_a_batch_gives_each_images_score(metric, pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    together = metric(sr, hr)
    assert together.shape == (2,)
    for row in range(2):
        assert metric(sr[row : row + 1], hr[row : row + 1]).item() == pytest.approx(together[row].item(), abs=1e-9)


@pytest.mark.parametrize("crop", [0, 4])
def test_rgb_scores_agree_with_scikit_image(pair: tuple[Tensor, Tensor], crop: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    inner = slice(crop, -crop or None)
    for row in range(2):
        sr, hr = (image[row, :, inner, inner].double().permute(1, 2, 0).numpy() for image in pair)
        expected = metrics.structural_similarity(
            hr, sr, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2
        )
        assert ssim(*pair, crop)[row].item() == pytest.approx(expected, abs=1e-7)
        expected = metrics.peak_signal_noise_ratio(hr, sr, data_range=1)
        assert psnr(*pair, crop)[row].item() == pytest.approx(expected, abs=1e-9)
