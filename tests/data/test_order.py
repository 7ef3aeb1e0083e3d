"""The course through the images."""

from collections import Counter

import numpy as np
import pytest

from gramgan.data.order import Draw, Order


def test_every_epoch_takes_every_image_once_in_an_order_of_its_own() -> None:
    order = Order(50, seed=1)
    items = [order.draw(number).item for number in range(150)]
    for epoch in range(3):
        assert sorted(items[50 * epoch : 50 * epoch + 50]) == list(range(50))
    assert len({tuple(items[start : start + 50]) for start in (0, 50, 100)}) == 3


def test_draws_depend_on_the_number_alone() -> None:
    forward = [Order(7, seed=5).draw(number) for number in range(40)]
    order = Order(7, seed=5)
    backward = [order.draw(number) for number in reversed(range(40))]
    assert forward == backward[::-1]
    assert forward != [Order(7, seed=6).draw(number) for number in range(40)]
    assert Order(7, seed=5).draw(10**12) == Order(7, seed=5).draw(10**12)


def test_draws_stay_what_they_are() -> None:
    """A checkpoint of an earlier version goes on with the same crops."""
    first = Order(1000, seed=0).draw(123456)
    assert first == Draw(item=366, top=8063152048861562375, left=13971777219192453528, turn=5)


def test_a_replacement_is_drawn_from_all_images() -> None:
    order = Order(5, seed=0)
    again = [order.draw(3, attempt).item for attempt in range(1, 400)]
    assert set(again) == set(range(5))
    assert min(Counter(again).values()) > 50
    assert order.draw(4) == Order(5, seed=0).draw(4)


def test_corners_reach_every_place_alike() -> None:
    order = Order(1, seed=2)
    corners = Counter(order.draw(number).corner(10, 11, 8) for number in range(6000))
    assert set(corners) == {(y, x) for y in range(3) for x in range(4)}
    assert min(corners.values()) == pytest.approx(500, abs=100)
    assert max(corners.values()) == pytest.approx(500, abs=100)
    largest = Draw(0, 2**64 - 1, 2**64 - 1, 0)
    assert largest.corner(10, 11, 8) == (2, 3)
    assert Draw(0, 0, 0, 0).corner(8, 8, 8) == largest.corner(8, 8, 8) == (0, 0)


def test_the_turns_are_the_eight_symmetries() -> None:
    crop = np.arange(27).reshape(3, 3, 3)
    turned = {Draw(0, 0, 0, turn).turned(crop).tobytes() for turn in range(8)}
    assert len(turned) == 8
    assert {Order(1, 0).draw(number).turn for number in range(100)} == set(range(8))
    np.testing.assert_array_equal(Draw(0, 0, 0, 5).turned(crop), np.rot90(crop, 1, (1, 2))[:, :, ::-1])


def test_seeds_of_lr_images_depend_on_the_number_alone_and_stay_what_they_are() -> None:
    order = Order(7, seed=0)
    seeds = [order.seed(number) for number in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sum(seed < 2**62 for seed in seeds) == pytest.approx(500, abs=80)
    assert seeds[::-1] == [Order(9, seed=0).seed(number) for number in reversed(range(1000))]
    assert seeds != [Order(7, seed=1).seed(number) for number in range(1000)]
    assert order.seed(123456) == 8654403915464622879
