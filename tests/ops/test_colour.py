"""Colour spaces and CIEDE2000 against the pairs that its authors published, and against scikit-image."""

import numpy as np
import pytest
import torch

from gramgan.ops.colour import ciede2000, lab_of_linear, linear_light

# Sharma, Wu, Dalal 2005, table 1: pairs that a wrong hue average, rotation or angle gets wrong.
PUBLISHED = [
    ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
    ((50.0000, -1.3802, -84.2814), (50.0000, 0.0000, -82.7485), 1.0000),
    ((50.0000, 0.0000, 0.0000), (50.0000, -1.0000, 2.0000), 2.3669),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0009), 7.1792),
    ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0011), 7.2195),
    ((50.0000, 2.5000, 0.0000), (50.0000, 0.0000, -2.5000), 4.3065),
    ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), PUBLISHED)
def test_published_pairs(first: tuple, second: tuple, expected: float) -> None:
    a, b = (torch.tensor(lab, dtype=torch.float64).view(1, 3, 1, 1) for lab in (first, second))
    assert ciede2000(a, b).item() == pytest.approx(expected, abs=1e-4)
    assert ciede2000(b, a).item() == pytest.approx(expected, abs=1e-4)


def test_agrees_with_scikit_image() -> None:
    colour = pytest.importorskip("skimage.color")
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 3, 32, 48, dtype=torch.float64).unbind(0)
    a[:, :, :4] = a[:, :1, :4]  # greys
    b[..., :4] = a[..., :4]
    ours = [lab_of_linear(linear_light(image)) for image in (a, b)]
    theirs = [colour.rgb2lab(image[0].permute(1, 2, 0).numpy()) for image in (a, b)]
    assert np.abs(ours[0][0].permute(1, 2, 0).numpy() - theirs[0]).max() < 1e-9
    assert np.abs(ciede2000(*ours)[0].numpy() - colour.deltaE_ciede2000(*theirs)).max() < 1e-9


def test_equal_colours_do_not_differ() -> None:
    lab = lab_of_linear(torch.rand(1, 3, 8, 8, dtype=torch.float64))
    assert ciede2000(lab, lab).max().item() == 0
