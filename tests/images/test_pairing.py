"""Files are paired by name, and whatever has no partner is named."""

from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.images.pairing import pair_key, pair_low, pair_with, truths


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def partners(pairs) -> dict[str, str | None]:
    return {pair.name: pair.other.name if pair.other else None for pair in pairs}


@pytest.mark.parametrize(
    ("stem", "key"),
    [
        ("img_001_SRF_4_HR", "img_001_srf_4"),
        ("img_001_SRF_4_LR", "img_001_srf_4"),
        ("0801x4", "0801"),
        ("babyx4", "baby"),
        ("0801", "0801"),
        ("butterfly_x4_SR", "butterfly"),
        ("baby-4x", "baby"),
        ("HR baby", "baby"),
        ("three", "three"),
        ("chrome", "chrome"),
        ("x4000", "x4000"),
        ("14x", "14x"),
        ("lrs", "lrs"),
    ],
)
def test_only_whole_tokens_are_taken_out(stem: str, key: str) -> None:
    assert pair_key(stem) == key


def test_hr_and_lr_in_one_folder(tmp_path: Path) -> None:
    folder = make(tmp_path, "a_HR.png", "a_LR.png", "b_HR.png", "b_LR.png")
    expected = {"a_HR.png": "a_LR.png", "b_HR.png": "b_LR.png"}
    assert partners(pair_low(folder, None)) == expected
    assert partners(pair_low(folder, folder)) == expected
    assert [path.name for path in truths(folder)] == ["a_HR.png", "b_HR.png"]


def test_two_folders_with_tokens_and_other_suffixes(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", "0801.png", "0802.png", "sub/x.tif")
    lr = make(tmp_path / "lr", "0801x4.png", "0802x4.jpg", "sub/x.png")
    assert partners(pair_low(hr, lr)) == {"0801.png": "0801x4.png", "0802.png": "0802x4.jpg", "sub/x.tif": "x.png"}


def test_without_lr_images_they_are_to_be_made(tmp_path: Path) -> None:
    assert partners(pair_low(make(tmp_path, "a.png", "b_HR.png"), None)) == {"a.png": None, "b_HR.png": None}


def test_equal_stems_come_before_tokens(tmp_path: Path) -> None:
    # By tokens alone `a` and `a_x4` would be the same name twice.
    hr = make(tmp_path / "hr", "a.png", "a_x4.png")
    lr = make(tmp_path / "lr", "a.png", "a_x4.png")
    assert partners(pair_low(hr, lr)) == {"a.png": "a.png", "a_x4.png": "a_x4.png"}


def test_results_are_paired_with_the_truths_of_a_mixed_folder(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", "a_HR.png", "a_LR.png")
    assert partners(pair_with(hr, make(tmp_path / "sr", "a_SR.png"), "result")) == {"a_HR.png": "a_SR.png"}
    assert partners(pair_with(hr, make(tmp_path / "sr2", "a_LR.png"), "result")) == {"a_HR.png": "a_LR.png"}


def test_unmatched_files_are_named(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", "a.png", "b.png")
    with pytest.raises(UserError, match=r"no LR image for b\.png"):
        pair_low(hr, make(tmp_path / "lr", "a.png"))
    with pytest.raises(UserError, match=r"no HR image for the LR images c\.png, d\.png"):
        pair_low(hr, make(tmp_path / "more", "a.png", "b.png", "c.png", "d.png"))
    with pytest.raises(UserError, match=r"no LR image for odd\.png"):
        pair_low(make(tmp_path / "mixed", "a_HR.png", "a_LR.png", "odd.png"), None)


def test_many_unmatched_files_stay_one_line(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", *(f"{i}.png" for i in range(30)))
    with pytest.raises(UserError, match="and 24 more") as caught:
        pair_low(hr, make(tmp_path / "lr", "0.png"))
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", "a.png")
    with pytest.raises(UserError, match=r"a_x4\.jpg, a_x4\.png have the same name"):
        pair_low(hr, make(tmp_path / "lr", "a_x4.png", "a_x4.jpg"))


def test_lr_folder_that_is_the_hr_folder_needs_lr_names(tmp_path: Path) -> None:
    folder = make(tmp_path, "a.png")
    with pytest.raises(UserError, match="no file name here says LR"):
        pair_low(folder, folder)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        pair_low(tmp_path / "nowhere", None)
