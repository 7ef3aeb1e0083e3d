"""Blur and blockiness against plain loops and known pictures."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gramgan.images.strips import luma
from gramgan.prepare.measures import Measures


def measured(brightness: np.ndarray, rows: int = 10_000) -> Measures:
    measures = Measures()
    for top in range(0, len(brightness), rows):
        measures.add(brightness[top : top + rows])
    return measures


def texture(side: int = 256) -> Image.Image:
    """Noise whose spectrum falls with the frequency, as that of photographs does."""
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal((side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    picture = np.fft.irfft2(noise / np.maximum(frequency, 2 / side), (side, side))
    picture = 0.5 + picture / picture.std() * 0.15
    return Image.fromarray((255 * np.clip(picture, 0, 1)).astype(np.uint8)).convert("RGB")


def bright(image: Image.Image) -> np.ndarray:
    return luma(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return Image.open(file).convert("RGB")


def plain_blur(f: np.ndarray) -> float:
    """Crete et al., equations 1 to 7, pixel by pixel, without the borders that a filter of 9 pixels cannot reach."""
    blurs = []
    for g in (f, f.T):
        there = lost = 0.0
        for y in range(4, g.shape[0] - 5):
            for x in range(g.shape[1]):
                step = abs(float(g[y + 1, x]) - float(g[y, x]))
                b = abs(float(g[y - 3 : y + 6, x].mean()) - float(g[y - 4 : y + 5, x].mean()))
                there += step
                lost += max(0.0, step - b)
        blurs.append((there - lost) / there)
    return max(blurs)


def test_blur_is_that_of_a_plain_loop() -> None:
    small = np.random.default_rng(1).random((24, 31)).astype(np.float32)
    assert measured(small).blur == pytest.approx(plain_blur(small), abs=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 10, 64, 100])
def test_strips_do_not_matter(rows: int) -> None:
    image = bright(jpeg(texture(160), 20))
    whole, parts = measured(image), measured(image, rows)
    if rows < 10:  # pairs of rows at the very top are passed over
        assert parts.blur == pytest.approx(whole.blur, rel=0.02)
        assert parts.blockiness == pytest.approx(whole.blockiness, rel=0.2)
    else:
        assert parts.blur == pytest.approx(whole.blur, rel=1e-5)
        assert parts.blockiness == pytest.approx(whole.blockiness, rel=1e-5)


def test_blur_grows_with_blurring() -> None:
    blurs = [measured(bright(texture().filter(ImageFilter.GaussianBlur(radius)))).blur for radius in (0, 1, 2, 4)]
    assert all(a is not None and b is not None and a + 0.05 < b for a, b in itertools.pairwise(blurs))


def test_blocks_are_seen_wherever_the_grid_begins() -> None:
    image = texture()
    none = measured(bright(image)).blockiness
    coarse = measured(bright(jpeg(image, 5))).blockiness
    shifted = measured(bright(jpeg(image, 5).crop((3, 5, 256, 256)))).blockiness
    assert none is not None and coarse is not None and shifted is not None
    assert none < 1.2
    assert coarse > 2 * none
    assert shifted == pytest.approx(coarse, rel=0.1)


def test_nothing_to_see() -> None:
    flat = measured(np.full((64, 64), 0.5, np.float32))
    assert (flat.blur, flat.blockiness) == (None, 1.0)
    tiny = measured(np.zeros((2, 3), np.float32))
    assert (tiny.blur, tiny.blockiness) == (None, None)
