import numpy as np
import pytest
from known_pictures import Picture, as_jpeg

from gramgan.condition.jpeg_pixels import jpeg_in


def found(picture: Picture, top: int = 0, left: int = 0):
    return jpeg_in([(picture.astype(np.float32), top, left)])


@pytest.mark.parametrize("quality", [30, 45, 60, 75, 85, 90, 95])
def test_quality_and_grid_from_pixels_alone(photographs: list[Picture], quality: int) -> None:
    rng = np.random.default_rng(quality)
    for picture in photographs:
        cut = (int(rng.integers(8)), int(rng.integers(8)))
        for subsampling in (0, 2):
            one = found(as_jpeg(picture, quality, subsampling=subsampling, cut=cut))
            assert one is not None
            assert abs(one.quality - quality) <= 5
            assert one.offset == (-cut[0] % 8, -cut[1] % 8)
