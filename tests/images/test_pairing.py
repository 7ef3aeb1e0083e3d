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
        ("Canon_001_LR4", "canon_001"),
        ("Nikon_050_HR", "nikon_050"),
        ("panasonic_101_x1", "panasonic_101"),
        ("0801x4m", "0801"),
        ("0801x4w2", "0801"),
        ("baby_LRBI_x4", "baby"),
        ("baby_HR_x4", "baby"),
        ("a_GT", "a"),
        ("a_lq", "a"),
        ("Matrix1", "matrix1"),
        ("gtr", "gtr"),
        ("x4max", "x4max"),
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


SETS = {
    "DIV2K bicubic": ("{}", "{}x4"),
    "DIV2K mild": ("{}", "{}x4m"),
    "DIV2K difficult": ("{}", "{}x4d"),
    "DIV2K wild": ("{}", "{}x4w1"),
    "RealSR": ("Canon_{}_HR", "Canon_{}_LR4"),
    "DRealSR": ("sony_{}_x1", "sony_{}_x4"),
    "Urban100, Set5 of SelfExSR": ("img_{}_SRF_4_HR", "img_{}_SRF_4_LR"),
    "RCAN": ("{}_HR_x4", "{}_LRBI_x4"),
    "BasicSR": ("{}_GT", "{}_LQ"),
    "HQ and LQ": ("{}-hq", "{}-lq"),
    "LR without HR": ("{}", "{}_LR"),
}
"""Names of HR and LR images, by set."""


@pytest.mark.parametrize("together", [True, False], ids=["one folder", "two folders"])
@pytest.mark.parametrize("name", SETS)
def test_pairs_of_the_fields_sets(name: str, together: bool, tmp_path: Path) -> None:
    high, low = (tuple(f"{form.format(number)}.png" for number in ("001", "002")) for form in SETS[name])
    hr = make(tmp_path / "hr", *high)
    lr = make(hr if together else tmp_path / "lr", *low)
    assert partners(pair_low(hr, None if together else lr)) == dict(zip(high, low, strict=True))
    assert [path.name for path in truths(hr)] == list(high)
    results = make(tmp_path / "results", *high)
    assert partners(pair_with(hr, results, "result")) == dict(zip(high, high, strict=True))


@pytest.mark.parametrize("scale", [2, 3, 8])
@pytest.mark.parametrize("name", [name for name in SETS if name != "RCAN"])
def test_pairs_of_the_fields_sets_at_other_scales(name: str, scale: int, tmp_path: Path) -> None:
    high, low = (form.replace("4", str(scale)).format("001") + ".png" for form in SETS[name])
    hr, lr = make(tmp_path / "hr", high), make(tmp_path / "lr", low)
    assert partners(pair_low(hr, lr, scale=scale)) == {high: low}
    assert partners(pair_low(make(tmp_path / "both", high, low), None, scale=scale)) == {high: low}


def test_of_several_scales_in_one_folder_the_right_one_is_taken(tmp_path: Path) -> None:
    names = ["Canon_001_HR.png", "Canon_001_LR2.png", "Canon_001_LR3.png", "Canon_001_LR4.png"]
    folder = make(tmp_path, *names)
    for place, scale in enumerate((2, 3, 4), 1):
        assert partners(pair_low(folder, None, scale=scale)) == {names[0]: names[place]}


def test_the_scale_in_one_of_two_names_only(tmp_path: Path) -> None:
    hr, lr = make(tmp_path / "hr", "img_001.png"), make(tmp_path / "lr", "img_001_SRF_4_LR.png")
    assert partners(pair_low(hr, lr)) == {"img_001.png": "img_001_SRF_4_LR.png"}


def test_lr_images_of_other_factors_are_left_out(tmp_path: Path) -> None:
    names = [f"Canon_001_{what}.png" for what in ("HR", "LR2", "LR3", "LR4")]
    assert partners(pair_low(make(tmp_path / "one", *names), None)) == {names[0]: names[3]}
    hr, lr = make(tmp_path / "hr", names[0]), make(tmp_path / "lr", *names[1:])
    assert partners(pair_low(hr, lr)) == {names[0]: names[3]}


@pytest.mark.parametrize("names", [("a.png", "a_x4_SR.png"), ("a.png", "b_x4.png"), ("a_x4.png", "b_x4.png")])
def test_truths_that_only_look_like_lr_images_stay_truths(names: tuple[str, ...], tmp_path: Path) -> None:
    assert [path.name for path in truths(make(tmp_path, *names))] == list(names)


def test_a_template_for_other_names(tmp_path: Path) -> None:
    hr = make(tmp_path / "hr", "a.png", "deep/b.png")
    lr = make(tmp_path / "lr", "small-a-25.jpg", "deep/small-b-25.png")
    assert partners(pair_low(hr, lr, "small-{stem}-25")) == {"a.png": "small-a-25.jpg", "deep/b.png": "small-b-25.png"}
    both = make(tmp_path / "both", "a.png", "a+.png", "b.png", "b+.png")
    assert partners(pair_low(both, None, "{stem}+")) == {"a.png": "a+.png", "b.png": "b+.png"}
    with pytest.raises(UserError, match=r"no LR image for b\.png"):
        pair_low(make(tmp_path / "gap", "a.png", "a+.png", "b.png"), None, "{stem}+")
    for template in ("x4", "{stem}", "{stem", "{name}x4", "{stem:>9}x4", ""):
        with pytest.raises(UserError, match="--lr-name"):
            pair_low(hr, lr, template)
