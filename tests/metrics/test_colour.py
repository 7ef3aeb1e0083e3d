"""Colour drift: blind to texture, and a plain mean over blocks otherwise."""

import pytest
import torch
from torch import Tensor

from gramgan.metrics import colour_drift
from gramgan.ops.colour import ciede2000, lab_of_linear, linear_light


def checkerboard(dark: float, light: float, side: int = 32) -> Tensor:
    rows = torch.arange(side)
    board = (rows[:, None] + rows[None, :]) % 2
    return torch.where(board == 1, light, dark).double().expand(1, 3, side, side)


def test_a_tint_is_the_difference_of_the_colours() -> None:
    hr = torch.full((1, 3, 32, 48), 0.5, dtype=torch.float64)
    sr = hr.clone()
    sr[:, 0] += 0.05
    one, other = (lab_of_linear(linear_light(image[..., :1, :1])) for image in (sr, hr))
    assert colour_drift(sr, hr).item() == pytest.approx(ciede2000(one, other).item(), abs=1e-9)
    assert 2 < colour_drift(sr, hr).item() < 10


def test_texture_of_the_same_mean_light_is_no_drift() -> None:
    board = checkerboard(0.2, 0.8)
    light = linear_light(board).mean()
    flat = torch.full_like(board, 1.055 * light.item() ** (1 / 2.4) - 0.055)
    assert colour_drift(flat, board).item() < 1e-9
    # A mean of the values themselves is another colour: what a blur in sRGB gets wrong.
    assert colour_drift(torch.full_like(board, 0.5), board).item() > 3


def test_blocks_at_the_border_count_like_the_others() -> None:
    hr = torch.full((1, 3, 16, 36), 0.5, dtype=torch.float64)
    sr = hr.clone()
    sr[..., 32:] = 0.6  # the last block is of 16x4 pixels
    whole = colour_drift(torch.full_like(hr, 0.6), hr).item()
    assert colour_drift(sr, hr).item() == pytest.approx(whole / 3)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="RGB"):
        colour_drift(torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16))
    with pytest.raises(ValueError, match="of one shape"):
        colour_drift(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 20))
