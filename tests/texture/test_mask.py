"""The texture mask against a plain loop over windows."""

import numpy as np
import torch

from gramgan.texture.mask import local_deviation, texture_mask


def deviation_by_loop(image: np.ndarray, window: int) -> np.ndarray:
    luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    margin = window // 2
    padded = np.pad(luma, margin, mode="reflect")
    result = np.zeros_like(luma)
    for y in range(luma.shape[0]):
        for x in range(luma.shape[1]):
            result[y, x] = padded[y : y + window, x : x + window].std()
    return result


def test_deviation_and_mask_equal_a_loop() -> None:
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 1, 40)[None, :, None] ** 4
    image = np.clip(0.7 + 0.05 * ramp * rng.standard_normal((3, 40, 30)), 0, 1)
    expected = deviation_by_loop(image, 11)
    tensor = torch.from_numpy(image).float().unsqueeze(0)
    np.testing.assert_allclose(local_deviation(tensor)[0, 0].numpy(), expected, atol=2e-5)
    for threshold in (0.005, 0.025):
        clear = np.abs(expected - threshold) > 2e-5  # within rounding of the threshold either answer is right
        mask = texture_mask(tensor, threshold)[0, 0].numpy()
        assert set(np.unique(mask)) == {0.0, 1.0}
        np.testing.assert_array_equal(mask[clear], (expected >= threshold)[clear])
        assert clear.mean() > 0.98


def test_flat_bright_image_has_no_texture() -> None:
    assert texture_mask(torch.full((2, 3, 32, 32), 0.9)).sum() == 0
