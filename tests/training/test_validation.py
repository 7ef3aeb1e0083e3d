"""Validation: which images are taken, and how they are scored."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gramgan.data.items import items_of
from gramgan.degradation import build_degradation, seed_of
from gramgan.errors import UserError
from gramgan.images import read_rgb, write_image
from gramgan.metrics import gram_distance, psnr_y
from gramgan.ops.resize import back_project, bicubic_up, matlab_bicubic_down
from gramgan.training.validation import Validator


class Bicubic(nn.Module):
    def forward(self, lr: Tensor) -> Tensor:
        return bicubic_up(lr)


def validator(
    paths: list[Path], images: int = 8, crop: int = 64, degradation: str = "bicubic", *, consistent: bool = False
) -> Validator:
    return Validator(
        items_of(paths),
        images=images,
        crop=crop,
        degradation=build_degradation(degradation),
        consistent=consistent,
        device=torch.device("cpu"),
        autocast=contextlib.nullcontext,
    )


def test_scores_are_means_over_the_centres(photos: Path) -> None:
    paths = sorted(photos.iterdir())[:2]
    result = validator(paths)(Bicubic())
    hr = torch.stack([torch.from_numpy(read_rgb(path)[:, 16:80, 8:72]) for path in paths])
    write = (bicubic_up(matlab_bicubic_down(hr)) * 255).round() / 255
    assert result.scores["psnr_y"] == pytest.approx(float(psnr_y(write, hr).mean()), abs=1e-6)
    assert result.scores["gram_distance"] == pytest.approx(float(gram_distance(write, hr).mean()), rel=1e-5)
    assert {name: image.shape for name, image in result.images.items()} == {
        "photo0": (3, 64, 64),
        "photo1": (3, 64, 64),
    }
    assert validator(paths).bicubic().scores == result.scores


class Grey(nn.Module):
    def forward(self, lr: Tensor) -> Tensor:
        return torch.full((*lr.shape[:2], 4 * lr.shape[2], 4 * lr.shape[3]), 0.5)


def test_results_are_back_projected_where_they_will_be_in_use(photos: Path) -> None:
    paths = sorted(photos.iterdir())[:2]
    plain, consistent = validator(paths), validator(paths, consistent=True)
    hr = torch.from_numpy(read_rgb(paths[0])[:, 16:80, 8:72])[None]
    lr = matlab_bicubic_down(hr)
    sr = torch.from_numpy(consistent(Grey()).images[paths[0].stem])[None]
    torch.testing.assert_close(sr, back_project(lr, torch.full_like(hr, 0.5)))
    assert consistent(Grey()).scores["psnr_y"] > plain(Grey()).scores["psnr_y"] + 5
    assert consistent.bicubic().scores == plain.bicubic().scores
    assert consistent.protocol == f"{plain.protocol}, back-projected"


def test_strips_stand_between_bicubic_and_truth(photos: Path) -> None:
    found = validator(sorted(photos.iterdir())[:2])
    validation = found(Bicubic())
    for name, strip in found.strips(validation).items():
        bicubic, own, truth = np.split(strip, 3, axis=2)
        np.testing.assert_array_equal(own, validation.images[name])
        np.testing.assert_array_equal(bicubic, own)
        np.testing.assert_array_equal(truth, found.truth()[name])


def test_unreadable_and_small_images_are_left_out(
    photos: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    good = sorted(photos.iterdir())[0]
    broken, small = tmp_path / "broken.png", tmp_path / "small.png"
    broken.write_bytes(good.read_bytes()[:200])
    write_image(small, np.zeros((3, 16, 64), np.float32))
    found = validator([broken, small, good])
    assert list(found.truth()) == [good.stem]
    assert "broken.png" in messages.text
    assert "small.png: smaller than" in messages.text
    with pytest.raises(UserError, match=r"data.validation: none of 2 images"):
        validator([broken, small])


def test_images_of_one_name_in_two_folders_both_count(photos: Path, tmp_path: Path) -> None:
    first, second = sorted(photos.iterdir())[:2]
    twin = tmp_path / first.name
    twin.write_bytes(second.read_bytes())
    found = validator([first, twin])
    assert len(found.truth()) == 2
    assert "on 2 validation images" in found.protocol


def test_no_more_images_than_asked_for(photos: Path) -> None:
    assert len(validator(sorted(photos.iterdir()), images=2).truth()) == 2


def test_what_is_random_follows_from_the_images_name(photos: Path) -> None:
    paths = sorted(photos.iterdir())[:2]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = validator(paths, degradation="realphoto")
        torch.manual_seed(2)
        second = validator(paths[1:], degradation="realphoto")
    assert first.protocol == "sr-y-crop4 on 2 validation images, LR by realphoto"
    shown, again = first.bicubic().images["photo1"], second.bicubic().images["photo1"]
    assert np.array_equal(shown, again)
    assert np.array_equal(shown, first(Bicubic()).images["photo1"])  # in every validation
    hr = torch.from_numpy(read_rgb(paths[1])[None, :, 16:80, 8:72])
    assert np.array_equal(shown, bicubic_up(build_degradation("realphoto")(hr, [seed_of("photo1")]))[0].numpy())
    assert not np.array_equal(shown, validator(paths[1:]).bicubic().images["photo1"])


def test_images_are_spread_over_all_that_is_held_out(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    source = sorted(photos.iterdir())[0].read_bytes()
    paths = [tmp_path / "some" / f"{number}.png" for number in range(9)]
    for path in paths:
        path.write_bytes(source)
    assert list(validator(paths, images=3).truth()) == ["0", "4", "8"]
    paths[4].write_bytes(b"nothing")  # another one takes its place
    assert list(validator(paths, images=3).truth()) == ["0", "8", "1"]
