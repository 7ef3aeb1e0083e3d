"""Work in other threads: in order, bounded, and every exception comes out."""

import threading
import time

import pytest

from gramgan.upscaling.pipeline import Behind, ahead


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gramgan")]


def test_ahead_is_map() -> None:
    with ahead(lambda item: item * item, range(20)) as results:
        assert list(results) == [item * item for item in range(20)]
    with ahead(lambda item: item, []) as results:
        assert list(results) == []
    assert pool_threads() == []


def test_ahead_is_no_farther_ahead_than_asked() -> None:
    begun: list[int] = []
    with ahead(begun.append, range(20), depth=2) as results:
        next(results)
        time.sleep(0.05)
        assert begun == [0, 1, 2]
        next(results)
        time.sleep(0.05)
        assert begun == [0, 1, 2, 3]
    assert pool_threads() == []


def test_an_error_ahead_comes_out_in_its_place() -> None:
    def function(item: int) -> int:
        return 1 // (3 - item)

    seen = []
    with pytest.raises(ZeroDivisionError), ahead(function, range(9)) as results:
        seen.extend(results)
    with ahead(function, range(9)) as results:
        assert [next(results) for _ in range(3)] == [0, 0, 1]
    assert pool_threads() == []


def test_behind_keeps_the_order_and_waits_at_the_end() -> None:
    done: list[int] = []
    with Behind(depth=3) as behind:
        for number in range(20):
            behind.submit(lambda number=number: (time.sleep(0.001), done.append(number)))
    assert done == list(range(20))
    assert pool_threads() == []


@pytest.mark.parametrize("depth", [0, 2])
def test_behind_holds_back_who_is_too_fast(depth: int) -> None:
    submitted = done = most = 0

    def slow() -> None:
        nonlocal done, most
        time.sleep(0.005)
        most = max(most, submitted - done)
        done += 1

    with Behind(depth) as behind:
        for _ in range(10):
            behind.submit(slow)
            submitted += 1
    assert done == 10
    assert depth < most <= depth + 2


def test_nothing_is_done_behind_an_error() -> None:
    done: list[int] = []

    def function(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError
        done.append(number)

    with pytest.raises(ZeroDivisionError), Behind(depth=9) as behind:
        for number in range(9):
            behind.submit(lambda number=number: function(number))
    assert done == [0, 1]
    assert pool_threads() == []


def test_an_error_behind_stops_who_goes_on_submitting() -> None:
    submitted = 0

    def function() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Behind() as behind:
        for _ in range(100):
            behind.submit(function)
            submitted += 1
    assert submitted < 5


def test_what_was_submitted_before_an_interruption_is_done() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt), Behind(depth=5) as behind:
        for number in range(4):
            behind.submit(lambda number=number: (time.sleep(0.01), done.append(number)))
        raise KeyboardInterrupt
    assert done == [0, 1, 2, 3]
    assert pool_threads() == []
