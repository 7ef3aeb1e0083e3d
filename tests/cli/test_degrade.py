"""`gramgan degrade`, as a user runs it."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.evaluation.crops import most_textured
from gramgan.images import read_rgb, read_rgb8, write_image


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Smooth, but for one corner."""
    image = np.full((3, 120, 150), 0.5, np.float32)
    image[:, 70:, 90:] = np.random.default_rng(0).random((3, 50, 60))
    write_image(tmp_path / "picture.png", image)
    return tmp_path / "picture.png"


def test_a_sheet_shows_the_crop_and_every_sample(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["degrade", str(picture), "--crop", "48", "--samples", "3", "--seed", "7", "--profile"]
    for profile in ("realphoto", "satellite"):
        sheets = [tmp_path / f"{profile}{number}.png" for number in range(2)]
        for sheet in sheets:
            assert run([*arguments, profile, "-o", str(sheet)]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == f"written: {sheets[0]}"
        assert [line.split(":")[0] for line in said[1:4]] == ["seed 7", "seed 8", "seed 9"]
        first, second = (read_rgb8(sheet) for sheet in sheets)
        assert np.array_equal(first, second)
        assert first.shape[2] > 4 * 96
        # The crop with the texture, every pixel doubled, is somewhere in the first panel.
        top, left = most_textured(read_rgb(picture), 48)
        truth = read_rgb8(picture)[:, top : top + 48, left : left + 48].repeat(2, 1).repeat(2, 2)
        columns = first[:, :, 16 : 16 + 96]
        rows = [y for y in range(columns.shape[1] - 96) if np.array_equal(columns[:, y : y + 96], truth)]
        assert len(rows) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crop", "200"], "picture.png: an image of 150x120 is smaller than the crop of 200; give a larger one"),
        (["--crop", "50"], "--crop 50: is not a multiple of 4; give 48"),
        (
            ["--profile", "foto"],
            "degradation foto: there is no such profile; choose one of bicubic, photo, realphoto, sat",
        ),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["degrade", str(picture), "-o", str(tmp_path / "sheet.png"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "sheet.png").exists()


def test_a_file_that_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.png").write_text("no image")
    assert run(["degrade", str(tmp_path / "text.png"), "-o", str(tmp_path / "sheet.png")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'text.png'}: ")
