"""Fingerprints: alike for copies, unlike for other pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from gramgan.images import Raster, write_image
from gramgan.images.fingerprint import LOOKALIKE_DISTANCE, Lookalikes, Thumbnail, fingerprint, thumbnail, turned
from gramgan.images.strips import luma, strips


def picture(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / 255


def mark(image: Image.Image) -> str:
    return fingerprint(thumbnail(array(image)))


def differ(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 64), (100, 331), (640, 480)])
def test_cells_are_means_of_what_lies_in_them(width: int, height: int) -> None:
    values = np.random.default_rng(0).random((height, width)).astype(np.float32)
    rows, columns = (np.arange(65) * length // 64 for length in (height, width))
    expected = [
        [values[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].mean() for j in range(64)] for i in range(64)
    ]
    for step in (height, 50, 7):
        cells = Thumbnail(width, height)
        for top in range(0, height, step):
            cells.add(top, values[top : top + step])
        found = cells.values()
        assert found is not None
        assert np.abs(found - expected).max() < 1e-6


def test_strips_of_a_file_make_the_thumbnail_of_the_whole(tmp_path: Path) -> None:
    pixels = array(picture(0, 300, 700))
    write_image(tmp_path / "a.png", pixels)
    cells = Thumbnail(300, 700)
    tops = []
    for top, strip in strips(Raster.open(tmp_path / "a.png")):
        tops.append(top)
        cells.add(top, luma(strip))
    assert tops == [0, 256, 512]
    assert fingerprint(cells.values()) == fingerprint(thumbnail(pixels))


def test_copies_are_alike_and_others_are_not() -> None:
    marks = [mark(picture(seed)) for seed in range(30)]
    assert min(differ(a, b) for i, a in enumerate(marks) for b in marks[:i]) > 2 * LOOKALIKE_DISTANCE
    for seed, original in enumerate(marks[:5]):
        image = picture(seed)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=20)
        copies = [
            Image.open(file),
            image.resize((101, 77), Image.Resampling.LANCZOS),
            image.convert("L"),
            ImageEnhance.Brightness(image).enhance(0.8),
            ImageEnhance.Contrast(image).enhance(1.2),
        ]
        assert max(differ(original, mark(copy)) for copy in copies) <= LOOKALIKE_DISTANCE


def test_turned_and_mirrored_copies_are_found() -> None:
    image = picture(3)
    known = Lookalikes()
    known.add("other", turned(thumbnail(array(picture(4)))))
    known.add("truth", turned(thumbnail(array(image))))
    for method in Image.Transpose:
        found = known.nearest(mark(image.transpose(method)))
        assert found is not None
        assert found[0] == "truth"


def test_pictures_without_anything_to_see_are_like_nothing() -> None:
    assert fingerprint(thumbnail(np.full((3, 100, 100), 0.5, np.float32))) == ""
    assert thumbnail(np.zeros((3, 63, 500), np.float32)) is None
    assert fingerprint(None) == ""
    assert turned(None) == []
    known = Lookalikes()
    known.add("flat", [""])
    assert known.nearest("") is None
    assert known.nearest(mark(picture(0))) is None


def test_the_nearest_of_many() -> None:
    known = Lookalikes()
    for seed in range(300):  # more than the first table holds
        known.add(str(seed), [mark(picture(seed, 80, 80))])
    for seed in (0, 255, 256, 299):
        assert known.nearest(mark(picture(seed, 80, 80))) == (str(seed), 0)
