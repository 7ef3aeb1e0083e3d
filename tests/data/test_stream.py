"""Crops decoded in the background: the same ones in the same order, whatever becomes of files and workers."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.data import crew
from gramgan.data.items import ImagePlace, Item, items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.source import Crops, CropSource, Demand
from gramgan.data.stream import StreamedImages
from gramgan.errors import UserError
from gramgan.images import find_images, write_image
from gramgan.share import Share

DEMAND = Demand(crop=32, batch=4, seed=7)


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).random((3, height, width)).astype(np.float32)


def batches(source: CropSource, count: int) -> list[Crops]:
    return [source.next() for _ in range(count)]


def equal(one: list[Crops], other: list[Crops]) -> bool:
    return all(torch.equal(a.images, b.images) and a.names == b.names for a, b in zip(one, other, strict=True))


def test_the_crops_are_those_of_a_resident_source(folder: Path) -> None:
    items = items_of(find_images(folder))
    expected = batches(ResidentPhotos(items, DEMAND), 7)
    assert expected[0].images.dtype == torch.float32
    for workers in (1, 3):
        with StreamedImages(items, DEMAND, workers=workers) as source:
            assert equal(batches(source, 7), expected)
            look = source.look()
            assert look.waited > 0
            assert (look.replaced, look.troubles) == (0, {})


def test_going_on_from_a_checkpoint(folder: Path) -> None:
    items = items_of(find_images(folder))
    with StreamedImages(items, DEMAND, workers=2) as source:
        first = batches(source, 2)
        state = source.state()
        rest = batches(source, 3)
        source.restore(state)  # back, with the same workers at work
        assert equal(batches(source, 3), rest)
    with StreamedImages(items, DEMAND, workers=1) as source:
        source.restore(state)
        assert equal(batches(source, 3), rest)
    assert not equal(first, rest[:2])


def test_processes_share_a_batch(folder: Path) -> None:
    items = items_of(find_images(folder))
    whole = batches(ResidentPhotos(items, DEMAND), 3)
    for rank in range(2):
        demand = Demand(crop=32, batch=4, seed=7, share=Share(rank, 2))
        with StreamedImages(items, demand, workers=1) as source:
            for part, batch in zip(batches(source, 3), whole, strict=True):
                assert torch.equal(part.images, batch.images[2 * rank : 2 * rank + 2])
                assert part.names == batch.names


def test_pairs(tmp_path: Path) -> None:
    low = noise(0, 20, 24)
    write_image(tmp_path / "low.png", low)
    write_image(tmp_path / "high.png", low.repeat(4, 1).repeat(4, 2))
    pair = Item("high.png", ImagePlace(tmp_path / "high.png"), ImagePlace(tmp_path / "low.png"))
    expected = ResidentPhotos([pair], DEMAND).next()
    with StreamedImages([pair], DEMAND, workers=1) as source:
        crops = source.next()
    assert crops.low is not None
    assert expected.low is not None
    assert torch.equal(crops.images, expected.images)
    assert torch.equal(crops.low, expected.low)
    assert torch.equal(crops.images, crops.low.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_files_that_cannot_be_used_are_named_and_replaced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = items_of(find_images(folder))
    clean = batches(ResidentPhotos(items, DEMAND), 9)
    (folder / "photo0.jpg").write_bytes((folder / "photo0.jpg").read_bytes()[:500])
    (folder / "photo1.png").write_text("no image")
    write_image(folder / "photo2.jpg", noise(2, 90, 31))
    with caplog.at_level(logging.WARNING), StreamedImages(items, DEMAND, workers=2) as source:
        found = batches(source, 9)
        look = source.look()
    bad = {"photo0.jpg", "photo1.png", "photo2.jpg"}
    assert look.replaced == sum(name in bad for batch in clean for name in batch.names)
    assert look.troubles.pop(str(folder / "photo0.jpg")).startswith("damaged or truncated JPEG")
    assert look.troubles == {
        str(folder / "photo1.png"): "not an image that can be read; give PNG, JPEG, WebP, TIFF, GIF or AVIF",
        str(folder / "photo2.jpg"): "31x90 is smaller than a crop of 32",
    }
    assert len(caplog.messages) == 3  # each once, in two epochs and more
    assert all(message.endswith("; another image takes its place") for message in caplog.messages)
    for before, after in zip(clean, found, strict=True):
        for row, name in enumerate(before.names):
            if name in bad:
                assert after.names[row] not in bad
            else:
                assert after.names[row] == name
                assert torch.equal(after.images[row], before.images[row])
    with StreamedImages(items, DEMAND, workers=1) as source:
        assert equal(batches(source, 9), found)


def test_a_file_that_breaks_the_decoding_itself_is_named(folder: Path) -> None:
    items = [*items_of(find_images(folder)), Item("odd", ImagePlace(folder / "photo1.png", "member", "no number", 1))]  # type: ignore[arg-type]
    with StreamedImages(items, DEMAND, workers=1) as source:
        names = [name for batch in batches(source, 4) for name in batch.names]
        look = source.look()
    assert "odd" not in names
    assert look.replaced >= 2
    [(name, what)] = look.troubles.items()
    assert name == f"{folder}/photo1.png/member"
    assert what.startswith("cannot be decoded: TypeError:")


def test_nothing_that_can_be_used_ends_the_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "ATTEMPTS", 20)
    with (
        StreamedImages(items_of(find_images(folder)), Demand(crop=128, batch=2), workers=2) as source,
        pytest.raises(UserError, match="20 images drawn one after another cannot be trained on") as caught,
    ):
        source.next()
    assert "is smaller than a crop of 128" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there are no images"):
        StreamedImages([], DEMAND, workers=1)


def test_a_killed_worker_is_replaced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = items_of(find_images(folder))
    expected = batches(ResidentPhotos(items, DEMAND), 14)
    found = []
    with StreamedImages(items, DEMAND, workers=2) as source:
        for number in range(14):
            found.append(source.next())
            if number in (1, 6, 11):  # 16 crops are ordered ahead: none is in hand at two of these moments
                for process in source.processes()[: 2 if number == 11 else 1]:
                    os.kill(process, signal.SIGKILL)
        wait_for(lambda: len(source.processes()) == 2)
        look = source.look()
    assert equal(found, expected)
    assert look.replaced == 0
    assert len(look.troubles) == 4
    assert all(name.startswith("data worker ") for name in look.troubles)
    assert all(what.startswith("killed by SIGKILL") for what in look.troubles.values())


def test_workers_that_do_not_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        StreamedImages(items_of(find_images(folder)), DEMAND, workers=2) as source,
        pytest.raises(RuntimeError, match="the data workers do not start: ended with exit code 1"),
    ):
        source.next()


def with_pipe(folder: Path) -> list[Item]:
    """Two photographs, of which one is a pipe that nobody writes into: who opens it hangs."""
    paths = find_images(folder)[:2]
    paths[0].rename(paths[0].with_name("real"))
    os.mkfifo(paths[0])
    return items_of(paths)


def test_a_slow_file_is_named_and_waited_for(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = batches(ResidentPhotos(items_of(find_images(folder)[:2]), DEMAND), 2)
    items = with_pipe(folder)
    pipe = items[0].high.path

    def answer() -> None:
        wait_for(lambda: f"{pipe.name}: no answer" in caplog.text)
        handle = os.open(pipe, os.O_WRONLY)
        (folder / "real").rename(pipe)  # what is opened from now on
        os.write(handle, pipe.read_bytes()[:4096])
        os.close(handle)

    thread = threading.Thread(target=answer)
    thread.start()
    with StreamedImages(items, DEMAND, workers=1, patience=0.5, limit=60) as source:
        assert equal(batches(source, 2), expected)
        look = source.look()
    thread.join()
    assert look.replaced == 0
    assert look.troubles[str(pipe)].startswith("no answer for ")
    assert look.troubles[str(pipe)].endswith(" s (a slow disk?)")


def test_a_file_that_never_answers_is_given_up_and_its_worker_replaced(folder: Path) -> None:
    clean = batches(ResidentPhotos(items_of(find_images(folder)[:2]), DEMAND), 2)
    items = with_pipe(folder)
    with StreamedImages(items, DEMAND, workers=2, patience=0.1, limit=0.3) as source:
        found = batches(source, 2)
        look = source.look()
        assert len(source.processes()) == 2
    assert look.replaced >= 4
    assert look.troubles[str(items[0].high.path)].startswith("no answer for ")
    for before, after in zip(clean, found, strict=True):
        assert set(after.names) == {items[1].name}
        for row, name in enumerate(before.names):
            if name == items[1].name:
                assert torch.equal(before.images[row], after.images[row])


def test_a_file_that_ends_two_workers_is_given_up(folder: Path) -> None:
    items = with_pipe(folder)
    source = StreamedImages(items, Demand(crop=32, batch=1, seed=7), workers=1)
    done = threading.Event()

    def kill() -> None:
        """What the kernel does with a worker that takes too much memory for this file."""
        while not done.wait(0.02):
            try:
                pipe = os.open(items[0].high.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads it
                continue
            for process in source.processes():
                os.kill(process, signal.SIGKILL)
            os.close(pipe)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        names = [source.next().names for _ in range(2)]  # an epoch: the pipe is in it
        look = source.look()
    finally:
        done.set()
        thread.join()
        source.close()
    assert names == [(items[1].name,)] * 2
    assert look.troubles[str(items[0].high.path)] == "2 workers ended while they read it"


def test_workers_are_not_in_the_group_that_a_terminal_interrupts(folder: Path) -> None:
    with StreamedImages(items_of(find_images(folder)), DEMAND, workers=1) as source:
        source.next()
        [process] = source.processes()
        assert os.getpgid(process) != os.getpgid(0)
    wait_for(lambda: not alive(process))


def test_workers_end_with_the_training(folder: Path) -> None:
    program = (
        "import os, signal, sys, time\n"
        "from gramgan.data.items import items_of\n"
        "from gramgan.data.source import Demand\n"
        "from gramgan.data.stream import StreamedImages\n"
        "from gramgan.images import find_images\n"
        "source = StreamedImages(items_of(find_images(sys.argv[1])), Demand(crop=32, batch=4), workers=2)\n"
        "source.next()\n"
        "print(*source.processes(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    processes = [int(number) for number in done.stdout.split()]
    assert len(processes) == 2
    wait_for(lambda: not any(alive(process) for process in processes))


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
