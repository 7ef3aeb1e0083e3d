"""The square that is shown: where the truth has most texture."""

import numpy as np

from gramgan.evaluation.crops import most_textured


def test_most_textured_window_is_found() -> None:
    image = np.full((3, 96, 128), 0.5, np.float32)
    image[:, 40:72, 64:96] += np.random.default_rng(0).normal(0, 0.1, (3, 32, 32)).astype(np.float32)
    top, left = most_textured(image, 32)
    assert abs(top - 40) <= 4
    assert abs(left - 64) <= 4
    assert top % 4 == left % 4 == 0
