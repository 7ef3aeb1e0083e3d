"""Haar's bands: the transform written out, and what they do not see."""

import pytest
import torch

from gramgan.ops.luma import luma_full
from gramgan.ops.wavelets import haar_details


def test_bands_are_those_of_the_orthonormal_transform() -> None:
    images = torch.rand(2, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor([1.0, 1.0]).double() / 2**0.5, torch.tensor([1.0, -1.0]).double() / 2**0.5
    bands = haar_details(images)
    luma = luma_full(images)[:, 0]
    for y in range(5):
        for x in range(7):
            block = luma[:, y : y + 2, x : x + 2]
            wanted = [
                torch.einsum("byx,y,x->b", block, down, across)
                for down, across in ((low, high), (high, low), (high, high))
            ]
            torch.testing.assert_close(bands[:, :, y, x], torch.stack(wanted, 1))


def test_they_see_no_brightness_and_reach_from_minus_1_to_1() -> None:
    images = torch.rand(1, 3, 16, 16) * 0.5
    torch.testing.assert_close(haar_details(images + 0.4), haar_details(images), atol=1e-6, rtol=0)
    assert haar_details(torch.full((1, 3, 8, 8), 0.7)).abs().max() == 0
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    assert float(haar_details(edge).abs().max()) == pytest.approx(1)


def test_their_gradient_is_right() -> None:
    images = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(haar_details, (images,))
