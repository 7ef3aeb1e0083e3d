"""What happens to a texture database when processes are killed, disks are full, and several write at once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from gramgan.images import write_image
from gramgan.texture.database import Source, TextureDatabase

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of these tests are forked")

# One process imports everything and forks, so that each of many short processes need not import torch; it starts no
# threads of its own.
PRELUDE = """
    import json, os, random, resource, shutil, signal, sys, time
    from pathlib import Path

    import lance
    import torch

    from gramgan.errors import UserError
    from gramgan.texture import commits
    from gramgan.texture.database import Source, TextureDatabase

    torch.set_num_threads(1)

    def start(action):
        '''Run `action` in a process of its own; its result, or error, is what `finish` returns.'''
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                result = action()
            except UserError as error:
                result = f"error: {error}"
            except BaseException as error:
                result = f"defect: {type(error).__name__}: {error}"
            os.write(writing, json.dumps(result).encode())
            os._exit(0)
        os.close(writing)
        return child, reading

    def finish(process):
        child, reading = process
        with open(reading) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        return json.loads(text) if text else "killed"

    def add(sources, patches):
        return lambda: len(TextureDatabase.open(path).add(sources, patches=patches))

    def state():
        database = TextureDatabase.open(path)
        report = database.verify()
        return [database.version, len(database), [problem.text for problem in report.problems], report.patches]
"""


SERVE = """
    for line in sys.stdin:
        request = json.loads(line)
        path = Path(request["path"])
        photos = [Source(photo) for photo in sorted(Path(request["photos"]).iterdir())]
        exec(request["script"])
        print(json.dumps(results), flush=True)
"""


class Scripts:
    """Runs scripts one after the other in one process; `results` is what they leave behind."""

    def __init__(self, wrapper: Sequence[str] = ()) -> None:
        command = [*wrapper, sys.executable, "-c", dedent(PRELUDE) + dedent(SERVE)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )

    def run(self, script: str, path: Path, photos: Path) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"script": dedent(script), "path": str(path), "photos": str(photos)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    scripts = Scripts()
    yield scripts
    scripts.close()


def photograph(path: Path, seed: int, side: int = 160) -> Path:
    write_image(path, np.random.default_rng(seed).random((3, side, side), dtype=np.float32))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(1, 5):
        photograph(folder / f"{seed}.png", seed)
    return folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "t.lance"
    TextureDatabase.build(path, [Source(photograph(tmp_path / "first.png", 0))], patches=2000)
    return path


def test_killed_at_ten_random_moments_of_add(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        def twice():  # two commits, so that more of the time is spent on writing
            add(photos[:2], 20_000)()
            return add(photos[2:], 20_000)()

        scratch = path.with_name("measured.lance")
        shutil.copytree(path, scratch)
        kept, path = path, scratch
        started = time.monotonic()
        assert finish(start(twice)) == 42_000
        duration = time.monotonic() - started
        path = kept
        random.seed(7)
        results = []
        kills = 0
        while kills < 10 and len(results) < 40:
            before = finish(start(state))
            process = start(twice)
            time.sleep(duration * (kills + random.random()) / 10)
            os.kill(process[0], signal.SIGKILL)
            ended = finish(process)
            if ended == "killed":
                kills += 1
            else:  # the moment came too late: this time the machine was faster than when it was measured
                duration *= 0.9
            results.append([before, ended, finish(start(state))])
            if results[-1][2][1] > 2000:  # an addition was complete: take it back
                version = finish(start(lambda: TextureDatabase.open(path).remove(
                    sources=[name for name in TextureDatabase.open(path).info().by_source if "first" not in name]
                ).version))
                assert isinstance(version, int), version
        results.append([finish(start(state)), finish(start(twice)), finish(start(state))])
        """,
        path,
        photos,
    )
    killed = [result for result in results[:-1] if result[1] == "killed"]
    assert len(killed) == 10
    for before, _, after in results[:-1]:
        assert before[1] == 2000
        assert after[2] == []
        # All of an addition or nothing of it, in a version that everybody sees.
        assert (after[0] - before[0], after[1]) in ((0, 2000), (1, 22_000), (2, 42_000))
        assert after[3] == after[1]
    assert results[-1][1:] == [42_000, [results[-1][0][0] + 2, 42_000, [], 42_000]]
    assert list((path / "_adding").iterdir()) == []  # what the killed ones left was removed by the last one


def test_killed_between_the_data_and_the_commit(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        def dies():
            lance.LanceDataset.commit = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
            return add(photos, 4000)()

        files = lambda: len(list((path / "data").iterdir()))
        results = [finish(start(dies)), finish(start(state)), files()]
        finish(start(lambda: TextureDatabase.open(path).cleanup() and None))
        results = [*results, files(), finish(start(add(photos, 4000))), finish(start(state))]
        """,
        path,
        photos,
    )
    assert results == ["killed", [1, 2000, [], 2000], 2, 1, 6000, [2, 6000, [], 6000]]


def test_killed_between_making_its_folder_and_locking_it(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        def dies():
            commits.claim = lambda lock: os.kill(os.getpid(), signal.SIGKILL)
            return add(photos, 4000)()

        folders = lambda: len(list((path / "_adding").iterdir()))
        results = [finish(start(dies)), folders(), finish(start(add(photos, 4000))), folders()]
        """,
        path,
        photos,
    )
    assert results == ["killed", 1, 6000, 0]


def test_a_folder_is_taken_for_abandoned_before_it_is_locked(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        def robbed():
            original = commits.claim
            thefts = [True, False]  # another process removes it before, and after, it has made its lock file

            def claim(lock):
                if not thefts:
                    return original(lock)
                shutil.rmtree(lock.parent)
                return original(lock) if thefts.pop() else None

            commits.claim = claim
            return add(photos, 4000)()

        results = [finish(start(robbed)), finish(start(state))]
        """,
        path,
        photos,
    )
    assert results == [6000, [2, 6000, [], 6000]]


def test_two_processes_add_at_once(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        both = [start(add(photos[:2], 20_000)), start(add(photos[2:], 20_000))]
        results = [finish(one) for one in both]
        results = [results, finish(start(state))]
        """,
        path,
        photos,
    )
    assert sorted(results[0])[1] == 42_000
    assert results[1] == [3, 42_000, [], 42_000]


def test_two_processes_add_the_same_at_once(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        both = [start(add(photos, 40_000)) for _ in range(2)]
        results = [finish(one) for one in both]
        results = [sorted(results, key=str), finish(start(state))]
        """,
        path,
        photos,
    )
    added, refused = results[0]
    assert added == 42_000
    assert refused.startswith("error: ")
    assert "run the command again" in refused or "holds all of the 4 photographs already" in refused
    assert results[1] == [2, 42_000, [], 42_000]


def test_an_addition_to_a_table_that_is_rebuilt_meanwhile(path: Path, photos: Path, scripts: Scripts) -> None:
    results = scripts.run(
        """
        def slow():
            original = commits.changing
            def wait(*args):
                path.with_name("waiting").touch()
                while not path.with_name("rebuilt").exists():
                    time.sleep(0.01)
                return original(*args)
            commits.changing = wait
            return add(photos[:1], 500)()

        process = start(slow)
        while not path.with_name("waiting").exists():
            time.sleep(0.01)
        finish(start(lambda: len(TextureDatabase.build(path, photos[2:], patches=700, overwrite=True))))
        path.with_name("rebuilt").touch()
        results = [finish(process), finish(start(state))]
        """,
        path,
        photos,
    )
    assert "error: " in results[0]
    assert "run the command again" in results[0]
    assert results[1] == [1, 700, [], 700]


def test_files_that_cannot_grow(path: Path, photos: Path, scripts: Scripts) -> None:
    """A limit on the size of files stands for a disk that is full: writing begins and then fails."""
    results = scripts.run(
        """
        def limited(action):
            def act():
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
                return action()
            return act

        other = path.with_name("new.lance")
        results = [
            finish(start(limited(add(photos, 40_000)))),
            finish(start(limited(lambda: len(TextureDatabase.build(other, photos, patches=40_000))))),
            finish(start(limited(lambda: len(TextureDatabase.open(path).snapshot(path.with_suffix(".safetensors")))))),
            finish(start(state)),
        ]
        """,
        path,
        photos,
    )
    for result in results[:3]:
        assert result.startswith("error: "), result
        assert "cannot be written" in result
        assert "\n" not in result
    assert results[3] == [1, 2000, [], 2000]
    assert len(list((path / "data").iterdir())) == 1
    assert list((path / "_adding").iterdir()) == []
    assert {entry.name for entry in path.parent.iterdir()} == {"t.lance", "first.png"}


def test_a_full_disk(tmp_path: Path, photos: Path) -> None:
    """A small file system in memory, seen by the test's process alone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    wrapper = (
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m none "$0" && exec "$@"',
    )
    if shutil.which("unshare") is None or subprocess.run([*wrapper, disk, "true"], capture_output=True).returncode:
        pytest.skip("this system lets no test mount a file system")
    on_disk = Scripts([*wrapper, str(disk)])
    results = on_disk.run(
        """
        results = [finish(start(lambda: len(TextureDatabase.build(path, photos[:1], patches=2000))))]
        before = sorted(file.name for file in path.rglob("*") if file.is_file() and file.name != commits._LOCK)
        results.append(finish(start(add(photos[1:], 40_000))))
        after = sorted(file.name for file in path.rglob("*") if file.is_file() and file.name != commits._LOCK)
        results += [before == after, finish(start(state)), finish(start(add(photos[1:], 300))), finish(start(state))]
        """,
        disk / "t.lance",
        photos,
    )
    on_disk.close()
    assert results[0] == 2000
    assert results[1] == (
        f"error: {disk}/t.lance: the disk is full, the table is as it was; free some space and run the command again"
    )
    assert results[2:] == [True, [1, 2000, [], 2000], 2300, [2, 2300, [], 2300]]
