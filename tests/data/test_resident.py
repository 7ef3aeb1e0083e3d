"""Crops of photographs in memory."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.data.resident import ResidentPhotos
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.share import Share


def ramp(height: int, width: int) -> np.ndarray:
    """Every pixel different: red says the row, green the column."""
    rows, columns = np.mgrid[:height, :width] / 255
    return np.stack([rows, columns, np.zeros_like(rows)]).astype(np.float32)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "ramp.png"
    write_image(path, ramp(20, 30))
    return path


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_crops_are_cut_from_everywhere(photo: Path) -> None:
    photos = ResidentPhotos([photo], crop=8, augment=False)
    batch = photos.sample(600, random()).images
    assert batch.shape == (600, 3, 8, 8)
    assert batch.dtype == torch.float32
    corners = (batch[:, :2, 0, 0] * 255).round().int()
    assert corners.amin(dim=0).tolist() == [0, 0]
    assert corners.amax(dim=0).tolist() == [12, 22]  # the last crop ends with the photograph
    top, left = corners[0].tolist()
    whole = torch.from_numpy(ramp(20, 30))
    torch.testing.assert_close(batch[0], whole[:, top : top + 8, left : left + 8], atol=1e-6, rtol=0)


def test_all_eight_symmetries_are_drawn(tmp_path: Path) -> None:
    square = tmp_path / "square.png"
    write_image(square, ramp(8, 8))
    photos = ResidentPhotos([square], crop=8)
    whole = (torch.from_numpy(ramp(8, 8)) * 255).round().int()
    expected = {
        tuple(torch.rot90(x, turn, (1, 2)).flatten().tolist()) for x in (whole, whole.flip(2)) for turn in range(4)
    }
    drawn = {tuple(crop.flatten().tolist()) for crop in (photos.sample(200, random()).images * 255).round().int()}
    assert len(expected) == 8
    assert drawn == expected


def test_every_photograph_has_the_same_chance_whatever_its_size(tmp_path: Path) -> None:
    for name, side, value in (("small", 8, 0.0), ("large", 200, 1.0)):
        write_image(tmp_path / f"{name}.png", np.full((3, side, side), value, np.float32))
    photos = ResidentPhotos(sorted(tmp_path.iterdir()), crop=8)
    assert float(photos.sample(400, random()).images.mean()) == pytest.approx(0.5, abs=0.1)


def test_the_generators_state_alone_decides(photo: Path) -> None:
    photos = ResidentPhotos([photo], crop=8)
    generator = random(3)
    state = generator.get_state()
    first, other = photos.sample(4, generator).images, photos.sample(4, generator).images
    torch.manual_seed(99)
    generator.set_state(state)
    assert torch.equal(photos.sample(4, generator).images, first)
    assert not torch.equal(first, other)


def test_small_and_broken_photographs_are_left_out_and_named(
    photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("gramgan")  # which the command line directs to standard error
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    small, broken = tmp_path / "small.png", tmp_path / "broken.jpg"
    write_image(small, ramp(7, 30))
    jpeg = tmp_path / "whole.jpg"
    write_image(jpeg, np.random.default_rng(0).random((3, 64, 64)).astype(np.float32))
    broken.write_bytes(jpeg.read_bytes()[:1500])
    steps: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        photos = ResidentPhotos(
            [photo, small, broken], crop=8, progress=lambda done, total: steps.append((done, total))
        )
    assert len(photos) == 1
    assert list(photos.skipped) == [small, broken]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    [record] = caplog.records
    text = record.getMessage()
    assert text.startswith(
        "2 of 3 photographs are left out: small.png (30x7 is smaller than a crop of 8); broken.jpg ("
    )


def test_nothing_left_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(7):
        write_image(tmp_path / f"small{number}.png", ramp(7, 7))
    with pytest.raises(UserError, match="none of 7 images can be trained on") as error:
        ResidentPhotos(sorted(tmp_path.iterdir()), crop=8)
    text = str(error.value)
    assert "small0.png (7x7 is smaller" in text
    assert "and 2 more" in text
    assert "\n" not in text
    assert caplog.records == []


def test_processes_share_a_batch_and_name_all_of_it(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        write_image(path, np.full((3, 12, 12), number / 10, np.float32))
    photos = ResidentPhotos(paths, crop=8)
    whole = photos.sample(6, random(1))
    for rank in range(3):
        generator = random(1)
        part = photos.sample(6, generator, Share(rank, 3))
        assert torch.equal(part.images, whole.images[2 * rank : 2 * rank + 2])
        assert part.names == whole.names
    assert torch.equal(generator.get_state(), (after := random(1), photos.sample(6, after))[0].get_state())
    assert len(set(whole.names)) > 1
    for image, name in zip(whole.images, whole.names, strict=True):
        assert round(float(image.mean()) * 10) == int(name.removesuffix(".png"))
