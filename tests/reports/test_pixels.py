from collections.abc import Callable

import numpy as np
import pytest
import pyvips

from gramgan.reports.pixels import fit, paint, repeat_pixels, text_ink, to_jpeg, to_png, to_rgb8, to_webp


def test_float_planes_become_8_bit_pixels() -> None:
    image = np.zeros((3, 2, 5), np.float32)
    image[0, 1, 4] = 1.0
    image[1, 0, 0] = 0.5
    image[2, 0, 0] = 7.0
    picture = to_rgb8(image)
    assert picture.shape == (2, 5, 3)
    assert picture[1, 4].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_is_repeated(shape: tuple[int, ...]) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(shape)
    picture = to_rgb8(grey)
    assert picture.shape == (4, 6, 3)
    assert (picture == grey.reshape(4, 6, 1)).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.int64),
        np.zeros((3, 0, 4), np.float32),
        np.full((3, 4, 4), np.nan, np.float32),
    ],
    ids=["float-hwc", "byte-chw", "alpha", "integers", "empty", "nan"],
)
def test_anything_else_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="picture"):
        to_rgb8(image)


@pytest.mark.parametrize("written", [to_png, to_webp])
def test_png_and_webp_are_lossless(written: Callable[[np.ndarray], bytes]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    read = pyvips.Image.new_from_buffer(written(picture), "").numpy()
    assert (read == picture).all()


def test_enlarging_repeats_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    large = repeat_pixels(picture, 3)
    assert large.shape == (9, 12, 3)
    assert (large[1::3, 2::3] == picture).all()
    assert (large[::3, ::3] == picture).all()


def test_text_is_drawn_and_wrapped() -> None:
    line = text_ink("PSNR-Y 29.87 dB & <more>", 14)
    wrapped = text_ink("PSNR-Y 29.87 dB & <more>", 14, width=80)
    assert line.max() == 255 and line.dtype == np.uint8
    assert wrapped.shape[1] <= 80 < line.shape[1]
    assert wrapped.shape[0] > line.shape[0]
    assert text_ink("a_file_name_without_any_place_to_break.png", 14, width=80).shape[1] <= 80


def test_bold_text_has_more_ink() -> None:
    assert text_ink("Gram-GAN", 15, bold=True).sum() > text_ink("Gram-GAN", 15).sum()


def test_texts_share_their_baseline() -> None:
    # Rows begin at the top of the line, so that the ink of a low letter begins further down in its picture.
    assert text_ink("(", 15).any(axis=1).argmax() < text_ink("x", 15).any(axis=1).argmax()
    assert text_ink("A", 15).shape[0] == text_ink("x", 15).shape[0]


def test_empty_text_takes_no_room() -> None:
    assert text_ink(" ", 14).size == 0


def test_paint_blends_by_coverage() -> None:
    canvas = np.full((4, 4, 3), 200, np.uint8)
    ink = np.array([[0, 255], [128, 0]], np.uint8)
    paint(canvas, ink, 2, 1, (0, 100, 200))
    assert canvas[1, 3].tolist() == [0, 100, 200]
    assert canvas[2, 2].tolist() == [100, 150, 200]
    assert (canvas[0] == 200).all() and canvas[1, 2].tolist() == [200, 200, 200]


def test_jpeg_is_near_to_the_picture() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :, 1] = np.arange(60) * 4
    decoded = np.asarray(pyvips.Image.new_from_buffer(to_jpeg(picture), "").numpy())
    assert decoded.shape == picture.shape
    assert np.abs(decoded.astype(int) - picture).mean() < 4


@pytest.mark.parametrize(("size", "expected"), [((200, 100), (80, 40)), ((100, 200), (40, 80)), ((30, 20), (30, 20))])
def test_fit(size: tuple[int, int], expected: tuple[int, int]) -> None:
    small = fit(np.full((*size, 3), 77, np.uint8), 80)
    assert small.shape == (*expected, 3)
    assert (small == 77).all()
