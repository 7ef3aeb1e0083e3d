"""Related photographs stay together, and a photograph never changes sides."""

import logging
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from gramgan.collect import collect_folder, split
from gramgan.collect.holdout import choose_sides, group_of
from gramgan.errors import UserError
from gramgan.images import write_image


@pytest.mark.parametrize(
    ("file", "group"),
    [
        ("motorcycle_left.png", "motorcycle"),
        ("motorcycle_right.png", "motorcycle"),
        ("trip/view-L.jpg", "trip/view"),
        ("trip/view R.tif", "trip/view"),
        ("trip/view.tif", "trip/view"),
        ("left.png", "left"),
        ("bright.png", "bright"),
        ("ball.png", "ball"),
    ],
)
def test_group_of(file: str, group: str) -> None:
    assert group_of(PurePosixPath(file)) == group


@pytest.mark.parametrize(("count", "held_out"), [(0, 0), (1, 0), (2, 1), (5, 1), (8, 2), (30, 6), (100, 20)])
def test_share(count: int, held_out: int) -> None:
    sides = choose_sides([f"photo {index}" for index in range(count)], {})
    assert list(sides.values()).count("holdout") == held_out
    assert len(sides) == count


def test_order_plays_no_part_and_pins_hold() -> None:
    names = [f"photo {index}" for index in range(40)]
    sides = choose_sides(names, {})
    assert choose_sides(reversed(names), {}) == sides
    more = choose_sides([*names, *(f"new {index}" for index in range(10))], sides)
    assert sides.items() <= more.items()
    assert list(more.values()).count("holdout") == 10
    assert set(choose_sides(names[:4], dict.fromkeys(names[:4], "holdout")).values()) == {"holdout"}


def test_split_of_a_plain_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(10):
        for half in ("left", "right"):
            write_image(tmp_path / f"{index}_{half}.png", rng.random((3, 8, 8)))
    train, holdout = split(tmp_path)
    assert (len(train), len(holdout)) == (16, 4)
    assert {path.name[0] for path in train}.isdisjoint(path.name[0] for path in holdout)
    assert split(tmp_path) == (train, holdout)


def test_split_follows_the_manifest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    for index in range(10):
        write_image(tmp_path / "in" / f"{index}.png", rng.random((3, 16, 16)))
    result = collect_folder(tmp_path / "in", tmp_path / "out", min_size=16)
    write_image(tmp_path / "out" / "unlisted.png", rng.random((3, 16, 16)))
    train, holdout = split(tmp_path / "out")
    assert {path.name: "train" for path in train} | {path.name: "holdout" for path in holdout} == {
        entry.file: entry.split for entry in result.entries
    }
    train[0].unlink()
    with caplog.at_level(logging.WARNING, logger="gramgan"):
        assert split(tmp_path / "out") == (train[1:], holdout)
    assert "1 listed photographs are gone" in caplog.text
    for path in [*train[1:], *holdout]:
        path.unlink()
    with pytest.raises(UserError, match="none of the photographs it lists is there"):
        split(tmp_path / "out")
