"""The texture distance: against a plain loop, what it must see, and what it must forgive."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gramgan.images import read_rgb
from gramgan.metrics import TextureDistance
from gramgan.metrics.texture_distance import _filters, noise_level, textured_windows
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down


def grain(seed: int, size: int = 128, contrast: float = 0.1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + contrast * torch.randn(1, 1, size, size, generator=generator)).clamp(0, 1).expand(1, 3, -1, -1)


def distance(sr: Tensor, hr: Tensor) -> float:
    return float(TextureDistance().whole(sr, hr))


def plain_distance(sr: Tensor, hr: Tensor) -> float:
    """One picture of 32x32 pixels, which is one window: loops over bands, filters and places."""
    kernels = _filters().numpy()[:, 0].astype(float)
    bands = []
    levels = [(0.299 * x[0, 0] + 0.587 * x[0, 1] + 0.114 * x[0, 2]).numpy().astype(float) for x in (sr, hr)]
    for scale in range(3):
        answers = []
        for number, level in enumerate(levels):
            taps = np.array([1, 4, 6, 4, 1]) / 16
            padded = np.pad(level, 2, mode="reflect")
            low = np.array(
                [
                    [(np.outer(taps, taps) * padded[y : y + 5, x : x + 5]).sum() for x in range(level.shape[1])]
                    for y in range(level.shape[0])
                ]
            )
            band = np.pad(level - low, 2, mode="reflect")
            rows = range(0, level.shape[0], 2 if scale == 0 else 1)
            answers.append(
                [
                    sorted((kernel * band[y : y + 5, x : x + 5]).sum() for y in rows for x in range(level.shape[1]))
                    for kernel in kernels
                ]
            )
            levels[number] = low[::2, ::2]
        a, b = map(np.array, answers)
        bands.append(np.abs(a - b).mean() / (np.sqrt((b**2).mean()) + 1 / 255))
    return float(np.mean(bands))


def test_against_a_plain_loop() -> None:
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 32, 32)
    sr = (0.6 * hr + 0.2 * torch.rand_like(hr)).clamp(0, 1)
    assert distance(sr, hr) == pytest.approx(plain_distance(sr, hr), rel=1e-4)


def test_another_sample_of_the_same_grain_is_within_the_noise() -> None:
    a, b = grain(0), grain(1)
    assert distance(a, a) == 0
    assert distance(a, b) < 1.3 * float(noise_level(b))
    # Pixel by pixel the two are as far apart as two pictures of this contrast can be, and grey is nearer.
    assert (a - b).square().mean() > 1.9 * (b - 0.5).square().mean()
    assert distance(torch.full_like(b, 0.5), b) > 10 * distance(a, b)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_missing_and_exaggerated_contrast_costs(factor: float) -> None:
    """Of Gaussian answers √(2/π) times the change; less where contrast nears a grey level, which is hard to see."""
    for contrast, share in ((0.1, 0.75), (0.02, 0.5)):
        truth = grain(0, contrast=contrast)
        other = 0.5 + factor * (truth - 0.5)
        assert share < distance(other, truth) / (abs(factor - 1) * math.sqrt(2 / math.pi)) < 1


def test_the_grain_of_another_material_costs() -> None:
    """The same contrast in each band, arranged in stripes."""
    truth = grain(0)
    stripes = truth[..., :1].expand_as(truth)
    assert distance(stripes, truth) > 3 * float(noise_level(truth))


def test_textured_regions_leave_out_smooth_ones_and_lone_edges() -> None:
    picture = torch.full((1, 3, 64, 192), 0.5)
    picture[..., :64] = grain(0, 64, 0.05)
    picture[..., 64:, 160:] = 0.9  # an edge in the third window; nothing in the second
    weights = textured_windows(picture)[0, 0]
    assert weights[0] > 0.99
    assert weights[1:].max() < 0.01
    result = picture.clone()
    result[..., :64] = 0.5 + 0.5 * (picture[..., :64] - 0.5)
    texture = TextureDistance()
    assert float(texture.textured(result, picture)) > 2 * float(texture.whole(result, picture))
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert float(texture.textured(flat + 0.1, flat)) == pytest.approx(0, abs=1e-4)


def test_any_size_from_32_and_no_other() -> None:
    for size in ((32, 32), (33, 70), (64, 100), (100, 161)):
        hr = torch.rand(2, 3, *size)
        value = TextureDistance().whole(hr.flip(3), hr)
        assert value.shape == (2,)
        assert torch.isfinite(value).all()
    with pytest.raises(ValueError, match="32 pixels"):
        distance(torch.rand(1, 3, 31, 64), torch.rand(1, 3, 31, 64))
    with pytest.raises(ValueError, match="one shape"):
        distance(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 64))


def test_batch_is_image_by_image() -> None:
    hr = torch.cat([grain(0), grain(1)])
    sr = torch.cat([grain(2), 0.5 + 0.5 * (grain(1) - 0.5)])
    value = TextureDistance().whole(sr, hr)
    assert value.tolist() == pytest.approx([distance(sr[i : i + 1], hr[i : i + 1]) for i in range(2)], rel=1e-5)


def test_photographs_blurred_and_painted_over(photos_folder: Path) -> None:
    """Every photograph: bicubic enlargement and a median filter, which paints grain over, are far from the truth."""
    found = []
    for path in sorted(photos_folder.glob("*.jpg"))[::6]:
        photo = torch.from_numpy(read_rgb(path))[None]
        top, left = photo.shape[-2] // 2 - 128, photo.shape[-1] // 2 - 128
        hr = photo[..., top : top + 256, left : left + 256].contiguous()
        around = torch.nn.functional.pad(hr, (2, 2, 2, 2), mode="reflect")
        painted = around.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4).median(dim=-1).values
        blurred = bicubic_up(matlab_bicubic_down(hr)).clamp(0, 1)
        texture = TextureDistance()
        found.append([float(texture.textured(each, hr)) for each in (hr, painted, blurred)])
    values = torch.tensor(found)
    assert (values[:, 0] == 0).all()
    assert (values[:, 1] > 0.05).all()
    assert (values[:, 2] > 0.1).all()
