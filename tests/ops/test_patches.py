"""Patches and box means against plain slicing."""

import pytest
import torch

from gramgan.ops.luma import luma_bt601, luma_full
from gramgan.ops.patches import box_mean, cut_patches, patch_grid


@pytest.mark.parametrize(("k", "stride"), [(4, 4), (4, 2), (3, 5)])
def test_patches_are_slices_row_by_row(k: int, stride: int) -> None:
    images = torch.rand(2, 3, 14, 11)
    patches = cut_patches(images, k, stride)
    rows, columns = patch_grid(14, 11, k, stride)
    assert patches.shape == (2, rows * columns, 3, k * k)
    for n in range(rows * columns):
        top, left = n // columns * stride, n % columns * stride
        torch.testing.assert_close(patches[:, n], images[..., top : top + k, left : left + k].flatten(2))


def test_box_mean_reflects() -> None:
    images = torch.rand(1, 1, 9, 8, dtype=torch.float64)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    expected = torch.stack([padded[..., y : y + 5, x : x + 5].mean() for y in range(9) for x in range(8)]).view(
        1, 1, 9, 8
    )
    torch.testing.assert_close(box_mean(images, 5), expected)
    for window in (4, 19):
        with pytest.raises(ValueError, match="needs to be odd"):
            box_mean(images, window)


def test_luma_of_known_colours() -> None:
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]).T.reshape(1, 3, 1, 3)
    expected = torch.tensor([16.0, 235, 81.481]) / 255  # MATLAB: rgb2ycbcr
    torch.testing.assert_close(luma_bt601(colours)[0, 0, 0], expected)
    torch.testing.assert_close(luma_full(colours)[0, 0, 0], torch.tensor([0.0, 1, 0.299]))
    with pytest.raises(ValueError, match="RGB"):
        luma_full(torch.rand(1, 1, 4, 4))
