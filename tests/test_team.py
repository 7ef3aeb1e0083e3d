import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gramgan.team import HELD, Alone, Team, Threads, in_order, may_begin


class Square:
    """The square of a number; even ones take longer."""

    def __init__(self) -> None:
        self.opened = 0

    def open(self) -> Callable[[int], int]:
        self.opened += 1
        return self.square

    def square(self, task: int) -> int:
        time.sleep(0.01 * (task % 2 == 0))
        return task * task

    def lost(self, task: int, why: str) -> int:
        raise AssertionError(why)


@pytest.mark.parametrize("team", [Alone(), Threads(1), Threads(4)])
def test_results_come_in_the_order_of_the_tasks(team: Team) -> None:
    work = Square()
    assert list(in_order(team, work, range(50))) == [number * number for number in range(50)]
    assert work.opened == 1
    assert sorted(team.arriving(work, range(50))) == [(number, number * number) for number in range(50)]
    assert list(in_order(team, work, [])) == []


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(Threads(2), Square(), tasks())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 3 + 4 * 2 + HELD * 2


def test_a_slow_task_holds_the_others_back_at_a_bounded_distance() -> None:
    gate, done = threading.Event(), []

    class Gated(Square):
        def square(self, task: int) -> int:
            if task == 0:
                gate.wait()
            done.append(task)
            return task

    threading.Timer(0.3, gate.set).start()
    for number, _ in Threads(2).arriving(Gated(), range(100), ahead=8):
        if number == 0:
            break
    assert max(done[: done.index(0)]) < 8
    assert may_begin(0, [], 4, None) == 4
    assert may_begin(6, [3, 5], 4, 4) == 1
    assert may_begin(7, [3, 5], 4, 4) == 0
    assert may_begin(9, [], 4, 3) == 3
    assert may_begin(9, [], -1, 3) == 0


def test_what_a_task_raises_ends_the_job() -> None:
    class Failing(Square):
        def square(self, task: int) -> int:
            raise KeyError(task)

    for team in (Alone(), Threads(2)):
        with pytest.raises(KeyError):
            list(in_order(team, Failing(), range(3)))
