import numpy as np
import pytest
from known_pictures import Picture, as_jpeg

from gramgan.condition.jpeg_pixels import jpeg_in


def found(picture: Picture, top: int = 0, left: int = 0):
    return jpeg_in([(picture.astype(np.float32), top, left)])


QUALITIES = [30, 45, 60, 75, 85, 90, 95]


def check_quality_and_grid(picture: Picture, quality: int, subsampling: int, rng: np.random.Generator) -> None:
    cut = (int(rng.integers(8)), int(rng.integers(8)))
    one = found(as_jpeg(picture, quality, subsampling=subsampling, cut=cut))
    assert one is not None
    assert abs(one.quality - quality) <= 5
    assert one.offset == (-cut[0] % 8, -cut[1] % 8)


@pytest.mark.parametrize("quality", QUALITIES)
def test_quality_and_grid_from_pixels_alone(photographs: list[Picture], quality: int) -> None:
    rng = np.random.default_rng(quality)
    for number, picture in enumerate(photographs[QUALITIES.index(quality) % 2 :: 2]):
        check_quality_and_grid(picture, quality, (0, 2)[number % 2], rng)


@pytest.mark.slow
@pytest.mark.parametrize("quality", QUALITIES)
def test_every_quality_of_every_photograph(photographs: list[Picture], quality: int) -> None:
    rng = np.random.default_rng(quality)
    for picture in photographs:
        for subsampling in (0, 2):
            check_quality_and_grid(picture, quality, subsampling, rng)
