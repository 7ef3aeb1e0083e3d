"""LR consistency: infinite for whatever shrinks to the input, and the PSNR of what it shrinks to otherwise."""

import math

import pytest
import torch

from gramgan.metrics import lr_psnr, psnr
from gramgan.ops.resize import matlab_bicubic_down


def test_the_truth_is_consistent() -> None:
    hr = torch.rand(2, 3, 32, 48).mul(255).round().div(255)
    assert lr_psnr(hr, matlab_bicubic_down(hr)).tolist() == [math.inf, math.inf]


def test_a_shift_in_brightness_is_not() -> None:
    hr = torch.full((1, 3, 32, 32), 100 / 255)
    sr = hr + 10 / 255
    assert lr_psnr(sr, matlab_bicubic_down(hr)).item() == pytest.approx(20 * math.log10(255 / 10), abs=1e-4)


def test_is_the_psnr_of_the_shrunken_result() -> None:
    torch.manual_seed(0)
    sr, lr = torch.rand(2, 3, 32, 40), torch.rand(2, 3, 8, 10)
    assert lr_psnr(sr, lr).tolist() == pytest.approx(psnr(matlab_bicubic_down(sr), lr).tolist())


@pytest.mark.parametrize("shape", [(9, 12), (8, 13), (40, 40)])
def test_sizes_that_do_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="whole number of times"):
        lr_psnr(torch.rand(1, 3, 32, 48), torch.rand(1, 3, *shape))
