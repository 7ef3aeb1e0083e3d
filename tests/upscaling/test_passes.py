"""From what is asked for to passes and sizes."""

import pytest

from gramgan.errors import UserError
from gramgan.ops.bicubic import SCALE
from gramgan.upscaling.passes import MAX_FACTOR, Pass, Scale
from gramgan.upscaling.settings import Settings


@pytest.mark.parametrize(
    ("scale", "passes", "size", "native"),
    [
        (Scale(factor=4), [(160, 120)], (640, 480), True),
        (Scale(factor=1), [(160, 120)], (160, 120), False),
        (Scale(factor=1.5), [(160, 120)], (240, 180), False),
        (Scale(factor=2), [(160, 120)], (320, 240), False),
        (Scale(factor=3), [(160, 120)], (480, 360), False),
        (Scale(factor=8), [(160, 120), (320, 240)], (1280, 960), True),
        (Scale(factor=5), [(160, 120), (200, 150)], (800, 600), True),
        (Scale(factor=16), [(160, 120), (640, 480)], (2560, 1920), True),
        (Scale(factor=64), [(160, 120), (640, 480), (2560, 1920)], (10240, 7680), True),
        (Scale(width=1921), [(160, 120), (481, 361)], (1921, 1441), False),
        (Scale(height=480), [(160, 120)], (640, 480), True),
        (Scale(width=700, height=500), [(160, 120), (175, 125)], (700, 500), True),
        (Scale(width=640, height=160), [(160, 120)], (640, 160), False),
    ],
)
def test_the_way_to_a_size(scale: Scale, passes: list[tuple[int, int]], size: tuple[int, int], native: bool) -> None:
    plan = scale.plan(160, 120, "photo.png")
    assert [(each.width, each.height) for each in plan.passes] == passes
    assert (plan.width, plan.height) == size
    assert plan.native == native


@pytest.mark.parametrize("shape", [(1, 1), (1, 1000), (7, 3), (4001, 2999)])
@pytest.mark.parametrize("factor", [1, 1.01, 1.5, 2.7, 3.999, 4.001, 8, 15.9, 16, 33.3, 64])
def test_every_stage_can_be_made_from_the_one_before(shape: tuple[int, int], factor: float) -> None:
    plan = Scale(factor=factor).plan(*shape, "photo.png")
    assert plan.passes[0] == Pass(*shape)
    sizes = [*plan.passes[1:], Pass(plan.width, plan.height)]
    for before, after in zip(plan.passes, sizes, strict=True):
        assert after.width <= SCALE * before.width
        assert after.height <= SCALE * before.height
        assert after.width >= before.width
        assert after.height >= before.height


def test_no_more_pixels_than_needed_go_through_the_network() -> None:
    plan = Scale(factor=8).plan(1000, 1000, "photo.png")
    assert sum(each.width * each.height for each in plan.passes) == 5_000_000


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (2, "160x120, x4, shrunk to 320x240 (Lanczos)"),
        (8, "160x120, x4, shrunk to 320x240, x4 (Lanczos)"),
        (16, "160x120, x4, x4"),
    ],
)
def test_in_words(factor: float, words: str) -> None:
    assert Scale(factor=factor).plan(160, 120, "photo.png").describe() == words


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [
        (None, None, Scale()),
        (1.5, None, Scale(factor=1.5)),
        (None, "1920x1080", Scale(width=1920, height=1080)),
        (None, "1920x", Scale(width=1920)),
        (None, "x1080", Scale(height=1080)),
        (None, " 1920×1080 ", Scale(width=1920, height=1080)),
    ],
)
def test_what_can_be_asked_for(scale: float | None, size: str | None, expected: Scale) -> None:
    assert Settings(scale=scale, size=size).check() == expected


@pytest.mark.parametrize(
    ("scale", "size", "message"),
    [
        (2, "100x", "scale 2 and size 100x: both say how large"),
        (0.5, None, "scale: 0.5 is outside of 1 to 64"),
        (65, None, "scale: 65 is outside"),
        (float("nan"), None, "scale: nan is outside"),
        (float("inf"), None, "scale: inf is outside"),
        (-4, None, "scale: -4 is outside"),
        (None, "x", "size 'x': not a size in pixels"),
        (None, "0x100", "size '0x100'"),
        (None, "1920", "size '1920'"),
        (None, "-5x7", "size '-5x7'"),
        (None, "1e3x7", "size '1e3x7'"),
    ],
)
def test_what_cannot_be_asked_for(scale: float | None, size: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(scale=scale, size=size).check()


def test_sizes_below_the_input_and_far_above_it_are_refused() -> None:
    with pytest.raises(UserError, match=r"photo\.png: 160x120 is larger than the 100x75 asked for"):
        Scale(width=100).plan(160, 120, "photo.png")
    with pytest.raises(UserError, match=r"photo\.png: 100000x75000 is 625 times its size"):
        Scale(width=100_000).plan(160, 120, "photo.png")
    assert Scale(factor=MAX_FACTOR).plan(3, 1, "photo.png").width == 192
