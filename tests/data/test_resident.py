"""Crops of images in memory."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.data.items import ImagePlace, Item, items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.source import Demand
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


def resident(paths: Sequence[Path], batch: int, crop: int = 8, **demand: object) -> ResidentPhotos:
    return ResidentPhotos(items_of(paths), Demand(crop, batch, **demand))  # type: ignore[arg-type]


def test_crops_are_cut_from_everywhere(photo: Path) -> None:
    batch = resident([photo], 600, augment=False).next().images
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
    whole = (torch.from_numpy(ramp(8, 8)) * 255).round().int()
    expected = {
        tuple(torch.rot90(x, turn, (1, 2)).flatten().tolist()) for x in (whole, whole.flip(2)) for turn in range(4)
    }
    images = resident([square], 200).next().images
    drawn = {tuple(crop.flatten().tolist()) for crop in (images * 255).round().int()}
    assert len(expected) == 8
    assert drawn == expected


def test_every_photograph_has_the_same_chance_whatever_its_size(tmp_path: Path) -> None:
    for name, side, value in (("small", 8, 0.0), ("large", 200, 1.0)):
        write_image(tmp_path / f"{name}.png", np.full((3, side, side), value, np.float32))
    assert float(resident(sorted(tmp_path.iterdir()), 400).next().images.mean()) == 0.5  # once in every epoch


def test_the_seed_and_the_position_alone_decide(photo: Path) -> None:
    photos = resident([photo], 4, seed=3)
    first = photos.next().images
    state = photos.state()
    second = photos.next().images
    assert not torch.equal(first, second)
    torch.manual_seed(99)
    again = resident([photo], 4, seed=3)
    again.restore(state)
    assert torch.equal(again.next().images, second)
    assert torch.equal(resident([photo], 4, seed=3).next().images, first)
    assert not torch.equal(resident([photo], 4, seed=4).next().images, first)


def test_other_photographs_than_in_the_checkpoint_are_said(
    photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = resident([photo], 4).state()
    write_image(tmp_path / "other.png", ramp(20, 30))
    more = resident([photo, tmp_path / "other.png"], 4)
    resident([photo], 4).restore(state)
    assert caplog.messages == []
    more.restore(state | {"position": 8})
    assert more.position == 8
    assert "the 2 images to train on are not those that the checkpoint knows (1)" in caplog.text


def test_small_and_broken_photographs_are_left_out_and_named(
    photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small, broken = tmp_path / "small.png", tmp_path / "broken.jpg"
    write_image(small, ramp(7, 30))
    jpeg = tmp_path / "whole.jpg"
    write_image(jpeg, np.random.default_rng(0).random((3, 64, 64)).astype(np.float32))
    broken.write_bytes(jpeg.read_bytes()[:1500])
    steps: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        photos = ResidentPhotos(
            items_of([photo, small, broken]), Demand(8, 2), progress=lambda done, total: steps.append((done, total))
        )
    assert len(photos) == 1
    assert list(photos.skipped) == ["small.png", "broken.jpg"]
    assert list(photos.look().troubles) == ["small.png", "broken.jpg"]
    assert photos.look().troubles == {}
    assert steps == [(1, 3), (2, 3), (3, 3)]
    [record] = [one for one in caplog.records if one.name.startswith("gramgan")]  # libvips warns too
    text = record.getMessage()
    assert text.startswith(
        "2 of 3 photographs are left out: small.png (30x7 is smaller than a crop of 8); broken.jpg ("
    )


def test_nothing_left_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(7):
        write_image(tmp_path / f"small{number}.png", ramp(7, 7))
    with pytest.raises(UserError, match="none of 7 images can be trained on") as error:
        resident(sorted(tmp_path.iterdir()), 1)
    text = str(error.value)
    assert "small0.png (7x7 is smaller" in text
    assert "and 2 more" in text
    assert "\n" not in text
    assert caplog.records == []


def test_processes_share_a_batch_and_name_all_of_it(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        write_image(path, np.full((3, 12, 12), number / 10, np.float32))
    photos = resident(paths, 6, seed=1)
    whole, after = photos.next(), photos.next()
    for rank in range(3):
        source = resident(paths, 6, seed=1, share=Share(rank, 3))
        part = source.next()
        assert torch.equal(part.images, whole.images[2 * rank : 2 * rank + 2])
        assert part.names == whole.names
        assert part.seeds == whole.seeds[2 * rank : 2 * rank + 2]
        assert torch.equal(source.next().images, after.images[2 * rank : 2 * rank + 2])
        assert source.state() == photos.state()
    assert len({*whole.seeds, *after.seeds}) == 12
    assert len(set(whole.names)) > 1
    for image, name in zip(whole.images, whole.names, strict=True):
        assert round(float(image.mean()) * 10) == int(name.removesuffix(".png"))


def test_a_batch_that_cannot_be_shared(photo: Path) -> None:
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared by 3"):
        resident([photo], 4, share=Share(0, 3))


def test_pairs_are_cut_and_turned_alike(tmp_path: Path) -> None:
    low = ramp(11, 9)
    write_image(tmp_path / "low.png", low)
    write_image(tmp_path / "high.png", low.repeat(4, 1).repeat(4, 2))
    pair = Item("high.png", ImagePlace(tmp_path / "high.png"), ImagePlace(tmp_path / "low.png"))
    crops = ResidentPhotos([pair], Demand(16, 50)).next()
    assert crops.low is not None
    assert crops.low.shape == (50, 3, 4, 4)
    assert torch.equal(crops.images, crops.low.repeat_interleave(4, 2).repeat_interleave(4, 3))
    assert len({tuple(crop.flatten().tolist()) for crop in crops.low}) > 30


def test_pairs_of_another_scale_are_left_out(tmp_path: Path) -> None:
    write_image(tmp_path / "low.png", ramp(10, 10))
    write_image(tmp_path / "high.png", ramp(40, 41))
    pair = Item("high.png", ImagePlace(tmp_path / "high.png"), ImagePlace(tmp_path / "low.png"))
    with pytest.raises(UserError, match=r"low.png: 10x10 is not exactly a quarter of high\.png, 41x40"):
        ResidentPhotos([pair], Demand(16, 2))
