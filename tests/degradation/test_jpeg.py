"""JPEG against Pillow's, which is libjpeg."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.ops.jpeg_tables import quantisation_tables


def photograph(height: int, width: int) -> np.ndarray:
    """uint8 `[H, W, 3]`: part of a portrait."""
    return np.asarray(data.astronaut())[60 : 60 + height, 120 : 120 + width]


def pillow(picture: np.ndarray, quality: int, subsampling: str = "4:2:0") -> tuple[np.ndarray, list[list[int]]]:
    """Through Pillow's JPEG; the tables too."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling=subsampling)
    read = Image.open(file)
    return np.asarray(read.convert("RGB")), list(read.quantization.values())  # pyright: ignore[reportAttributeAccessIssue]


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255


def levels(image: torch.Tensor) -> np.ndarray:
    return (image * 255).round().numpy().astype(int).transpose(1, 2, 0)


@pytest.mark.parametrize("quality", [1, 10, 30, 49, 50, 75, 90, 95, 100])
def test_tables_are_those_of_libjpeg(quality: int) -> None:
    expected = pillow(photograph(16, 16), quality)[1]
    for ours, theirs in zip(quantisation_tables(quality), expected, strict=True):
        assert ours.flatten().tolist() == list(theirs)


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize(("height", "width"), [(160, 192), (133, 175), (1, 1), (9, 17)])  # whole blocks, and others
def test_pictures_are_those_of_libjpeg_bit_for_bit(quality: int, height: int, width: int) -> None:
    noise = np.random.default_rng(quality).integers(0, 256, (height, width, 3), np.uint8)
    for picture in (photograph(height, width), noise):
        [ours] = jpeg([tensor(picture)], [Coding(quality)])
        np.testing.assert_array_equal(levels(ours), pillow(picture, quality)[0])


def test_many_sizes_and_qualities_at_once_are_those_of_each_alone() -> None:
    images = [tensor(photograph(*size)) for size in ((40, 48), (17, 9), (1, 1), (64, 64))]
    codings = [Coding(30), Coding(95, (3, 12)), Coding(50, (15, 15)), None]
    together = jpeg(images, codings)
    for image, coding, result in zip(images, codings, together, strict=True):
        assert torch.equal(result, jpeg([image], [coding])[0])
        assert result.shape == image.shape
    assert torch.equal(together[3], images[3])
    assert not torch.equal(together[0], images[0])


def test_blocks_may_begin_before_the_image() -> None:
    picture = photograph(70, 90)
    larger = np.pad(picture, ((5, 0), (11, 0), (0, 0)), "symmetric")
    expected = jpeg([tensor(larger)], [Coding(40)])[0][:, 5:, 11:]
    assert torch.equal(jpeg([tensor(picture)], [Coding(40, (5, 11))])[0], expected)


def test_what_is_flat_stays() -> None:
    grey = torch.full((3, 20, 20), 128 / 255)
    assert torch.equal(jpeg([grey], [Coding(10)])[0], grey)


def test_values_outside_are_clamped() -> None:
    wild = tensor(photograph(32, 32)) * 3 - 1
    assert torch.equal(jpeg([wild], [Coding(80)])[0], jpeg([wild.clamp(0, 1)], [Coding(80)])[0])


@pytest.mark.parametrize("quality", [0, 101])
def test_impossible_quality(quality: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 100, got {quality}"):
        jpeg([torch.zeros(3, 8, 8)], [Coding(quality)])


@pytest.mark.parametrize("quality", [10, 50, 90])
@pytest.mark.parametrize(("height", "width"), [(160, 192), (133, 175)])
def test_full_chroma_is_that_of_libjpeg_too(quality: int, height: int, width: int) -> None:
    picture = photograph(height, width)
    (ours,) = jpeg([tensor(picture)], [Coding(quality, subsampled=False)])
    assert np.array_equal(levels(ours), pillow(picture, quality, "4:4:4")[0])
