"""A folder of small photographs."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.images import write_image


def noise(seed: int, height: int, width: int) -> np.ndarray:
    """A grain that differs everywhere: float32 `[3, H, W]` in [0, 1]."""
    return np.random.default_rng(seed).random((3, height, width)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six photographs, JPEG and PNG, of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        suffix = "png" if number % 2 else "jpg"
        write_image(folder / f"photo{number}.{suffix}", noise(number, 70 + 9 * number, 90))
    return folder
