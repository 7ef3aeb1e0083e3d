import numpy as np
import pytest
from known_pictures import Picture, with_noise

from gramgan.condition import measure


@pytest.mark.parametrize("sigma", [2, 3, 5, 8, 12, 16, 20])
def test_gaussian_noise_is_measured_within_one_grey_level(photographs: list[Picture], sigma: int) -> None:
    for number, picture in enumerate(photographs):
        condition = measure(with_noise(picture, sigma, seed=number) / np.float32(255))
        assert condition.noise is not None
        assert condition.noise.level == pytest.approx(sigma, abs=1)
        # Where a channel is dark, strong noise is cut off at black, and less of it is really there.
        assert condition.noise.sigma == pytest.approx([sigma] * 3, abs=1 if sigma <= 12 else 2)
        assert not condition.clean


def test_without_noise_they_are_clean(photographs: list[Picture]) -> None:
    for picture in photographs:
        assert measure(picture / np.float32(255)).clean
