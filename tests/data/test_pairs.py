"""Pairs by name, with sizes that fit."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.data.pairs import check_pairs, pair_items
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.images.pairing import pair_with


def write(folder: Path, name: str, height: int, width: int) -> None:
    write_image(folder / name, np.zeros((3, height, width), np.float32))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pairs whose sizes fit."""
    high, low = tmp_path / "HR", tmp_path / "LR"
    for number in range(2):
        write(high, f"a{number}.png", 64, 48 + 4 * number)
        write(low, f"a{number}x4.png", 16, 12 + number)
    return high, low


def test_pairs_that_fit(folders: tuple[Path, Path]) -> None:
    high, _ = folders
    items = pair_items(pair_with(*folders, "LR"), {high / "a1.png": "CC0-1.0"})
    assert [(item.name, item.low.path.name if item.low else None, item.licence) for item in items] == [
        ("a0.png", "a0x4.png", "unknown"),
        ("a1.png", "a1x4.png", "CC0-1.0"),
    ]
    steps: list[tuple[int, int]] = []
    check_pairs(items, 4, lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]


def test_sizes_must_be_exactly_a_quarter(folders: tuple[Path, Path]) -> None:
    high, low = folders
    for number in range(2, 7):
        write(high, f"a{number}.png", 64, 48)
        write(low, f"a{number}x4.png", 16, 13)
    with pytest.raises(
        UserError, match=r"a2x4\.png: 13x16 is not exactly a quarter of a2\.png, 48x64; .*and 2 more"
    ) as e:
        check_pairs(pair_items(pair_with(*folders, "LR")), 4)
    assert "\n" not in str(e.value)


def test_an_image_that_cannot_be_opened(folders: tuple[Path, Path]) -> None:
    (folders[1] / "a1x4.png").write_text("text")
    with pytest.raises(UserError, match=r"a1x4\.png: not an image"):
        check_pairs(pair_items(pair_with(*folders, "LR")), 4)
