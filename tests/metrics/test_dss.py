"""DSS against a plain loop with SciPy's DCT, values of the package piq, and what it should and should not mind."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import correlate
from torch import Tensor

from gramgan.images import read_rgb
from gramgan.metrics import dss
from gramgan.ops.resize import bicubic_up


def waves(gamma: float = 1.0) -> Tensor:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    image = torch.stack([0.5 + 0.4 * torch.sin(y / 3 + c) * torch.cos(x / (4 + c)) for c in range(3)])
    return image[None] ** gamma


def loop(sr: np.ndarray, hr: np.ndarray) -> float:
    """The paper's steps for two RGB images `[3, H, W]`."""
    luma = [255 * np.tensordot((0.299, 0.587, 0.114), image.astype(np.float64), 1) for image in (sr, hr)]
    rows, columns = (side // 8 for side in luma[0].shape)
    blocks = [image[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3) for image in luma]
    x, y = (np.asarray(dctn(each, axes=(2, 3), norm="ortho")) for each in blocks)
    bell = np.exp(-(np.arange(-1, 2) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    lowest = max(1, round(0.05 * rows * columns))
    total = weights = 0.0
    for m in range(8):
        for n in range(8):
            weight = math.exp(-((m + 0.5) ** 2 + (n + 0.5) ** 2) / (2 * 1.55**2))
            if weight < 0.01:
                continue
            a, b, c = x[:, :, m, n], y[:, :, m, n], 1000 if m == n == 0 else 300

            def mean(values: np.ndarray) -> np.ndarray:
                return correlate(values, window, mode="constant")

            variance_a = np.maximum(mean(a * a) - mean(a) ** 2, 0)
            variance_b = np.maximum(mean(b * b) - mean(b) ** 2, 0)
            both = np.sqrt(variance_a * variance_b)
            score = np.sort(((2 * both + c) / (variance_a + variance_b + c)).ravel())[:lowest].mean()
            if m == n == 0:
                right = (mean(a * b) - mean(a) * mean(b) + c) / (both + c)
                score *= np.sort(right.ravel())[:lowest].mean()
            total, weights = total + weight * score, weights + weight
    return total / weights


@pytest.mark.parametrize("size", [(64, 80), (37, 45), (24, 24)])
def test_against_a_loop(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, *size, generator=generator)
    sr = (hr + 0.3 * torch.randn(hr.shape, generator=generator)).clamp(0, 1)
    expected = [loop(a.numpy(), b.numpy()) for a, b in zip(sr, hr, strict=True)]
    assert dss(sr, hr).tolist() == pytest.approx(expected, abs=1e-9)


def test_value_of_piq() -> None:
    # piq 0.8.0, piq.dss(0.9 * waves(1.3), waves()), in float32.
    assert dss(0.9 * waves(1.3), waves()).item() == pytest.approx(0.9872188568115234, abs=5e-6)


def test_value_of_piq_on_set5(benchmarks_folder: Path) -> None:
    path = benchmarks_folder / "Set5" / "img_001_SRF_4_HR.png"
    hr, lr = (torch.from_numpy(read_rgb(p))[None] for p in (path, path.with_name(path.name.replace("HR", "LR"))))
    sr = bicubic_up(lr).mul(255).round().div(255)
    assert dss(sr, hr).item() == pytest.approx(0.8148850798606873, abs=5e-6)


def test_identical_images_score_one() -> None:
    hr = torch.rand(1, 3, 40, 40)
    assert dss(hr, hr).item() == pytest.approx(1, abs=1e-12)


def test_inverted_texture_is_the_same_texture_and_none_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = 0.1 * torch.randn(1, 1, 128, 128, generator=generator)
    texture -= torch.nn.functional.avg_pool2d(texture, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    hr, inverted = ((0.5 + sign * texture).expand(1, 3, -1, -1) for sign in (1, -1))
    assert dss(inverted, hr).item() == pytest.approx(1, abs=1e-6)
    assert dss(torch.full_like(hr, 0.5), hr).item() < 0.7


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="too small"):
        dss(torch.rand(1, 3, 7, 40), torch.rand(1, 3, 7, 40))
    with pytest.raises(ValueError, match="RGB"):
        dss(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32))
    with pytest.raises(ValueError, match="of one shape"):
        dss(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 40))
