"""Taking turns at a host."""

import itertools
import threading
import time

import pytest

from gramgan.fetch import retry_after
from gramgan.pace import Pace, StoppedError


def test_requests_to_one_host_keep_their_distance() -> None:
    pace = Pace(0.05, by_host={"slow": 0.1})
    begun: dict[str, list[float]] = {"quick": [], "slow": []}

    def work(host: str) -> None:
        for _ in range(3):
            with pace.turn(host):
                begun[host].append(time.monotonic())

    threads = [threading.Thread(target=work, args=(host,)) for host in ("quick", "slow", "quick")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for host, apart in (("quick", 0.05), ("slow", 0.1)):
        times = sorted(begun[host])
        assert all(b - a > apart * 0.9 for a, b in itertools.pairwise(times))
    assert min(begun["slow"]) - min(begun["quick"]) < 0.05  # hosts do not wait for one another


def test_few_at_once() -> None:
    pace = Pace(at_once=2)
    inside, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with pace.turn("host"):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_a_host_that_asks_for_a_break_gets_it() -> None:
    pace = Pace()
    pace.hold("host", 0.15)
    begin = time.monotonic()
    with pace.turn("other"):
        assert time.monotonic() - begin < 0.1
    with pace.turn("host"):
        assert time.monotonic() - begin > 0.14


def test_stop_ends_waiting() -> None:
    pace = Pace()
    pace.hold("host", 60)
    threading.Timer(0.05, pace.stop).start()
    begin = time.monotonic()
    with pytest.raises(StoppedError), pace.turn("host"):
        pass
    assert time.monotonic() - begin < 5
    with pytest.raises(StoppedError):
        pace.wait(0)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-5", None),
    ],
)
def test_retry_after(said: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": said}, now=1445412480.0) == seconds


def test_no_retry_after() -> None:
    assert retry_after({}) is None
