"""A real Ray cluster on this machine: the same results as without, whoever dies."""

import importlib.util
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from s3_server import SECRET, Bucket, rights

from gramgan import cluster
from gramgan.cli.app import run
from gramgan.collect import collect_folder
from gramgan.errors import UserError
from gramgan.evaluation.compare import evaluate
from gramgan.images import write_image
from gramgan.places import as_place
from gramgan.prepare.run import Wish, prepare_folder
from gramgan.team import in_order
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.jobs import Job
from gramgan.upscaling.settings import Settings
from gramgan.upscaling.spread import Outcome, PictureWork, by_tiles

if TYPE_CHECKING:
    from s3_server import Server

    from gramgan.cluster import RayTeam

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'gramgan[cluster]'"
)
HOW = Settings(model="gramgan-x4-lite", backend="torch", precision="fp32", tile=32)
COLUMNS = ("patch_id", "patch", "gram", "x", "y", "scale", "count", "warped")


@pytest.fixture(scope="module")
def address(
    start_ray: Callable[..., Any],
    storage_server: "tuple[Server, str]",
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Of a cluster of one node with two processors and rights to the storage here."""
    environment = rights(storage_server[1]) | {"GRAMGAN_CACHE": str(tmp_path_factory.mktemp("cache"))}
    return start_ray(nodes=1, processors=2, environment=environment).address


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    first, *_ = pictures(folder, 6, (3, 160, 200))
    (folder / "broken.png").write_bytes(first.read_bytes()[:999])
    return folder


class Square:
    """The square of a number; `ends` ends the process that tries it, `marks` is where each attempt leaves a file."""

    def __init__(self, marks: Path, ends: int | None = None, once: bool = False) -> None:
        self._marks, self._ends, self._once = marks, ends, once

    def open(self) -> Callable[[int], int | str]:
        (self._marks / f"opened-{os.getpid()}").touch()
        return self.square

    def square(self, task: int) -> int | str:
        before = len(list(self._marks.glob(f"{task}-*")))
        (self._marks / f"{task}-{os.getpid()}").touch()
        if task == self._ends and not (self._once and before):
            time.sleep(0.5)  # until the result before has arrived
            os._exit(1)
        logging.getLogger("gramgan.test").warning("task %d", task)
        return task * task

    def lost(self, task: int, why: str) -> str:
        return f"{task}: {why}"


def pictures(folder: Path, count: int, shape: tuple[int, int, int]) -> list[Path]:
    """Noise."""
    folder.mkdir()
    paths = [folder / f"{folder.name}-{number}.png" for number in range(count)]
    for seed, path in enumerate(paths):
        write_image(path, np.random.default_rng(seed).random(shape, dtype=np.float32))
    return paths


def rows(database: TextureDatabase) -> list[bytes]:
    return [database.numbers(column).tobytes() for column in COLUMNS]


def said(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name.startswith("gramgan")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@needs_ray
def test_results_are_the_same_on_a_cluster(
    address: str, photographs: Path, bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = sources_of(photographs, sorted(photographs.glob("*.png")))
    small, large = pictures(tmp_path / "small", 3, (3, 32, 36)), pictures(tmp_path / "large", 1, (4, 70, 90))[0]
    plain = TextureDatabase.build(tmp_path / "plain.lance", sources[:-2], patches=2000).add(sources[-2:])
    prepare_folder(photographs, tmp_path / "plain", Wish(size=96, step=48))
    scores = evaluate("bicubic", small[0].parent)
    collect_folder(photographs, tmp_path / "plain" / "collection", min_size=100)
    here = said(caplog)
    upscaling = Upscaling(HOW)
    for path in (*small, large):
        upscaling.file(path, tmp_path / "plain" / f"x4-{path.name}")
    caplog.clear()
    register_by_value()
    with cluster.connect(address) as team:
        assert team.size == 2
        spread = TextureDatabase.build(tmp_path / "spread.lance", sources[:-2], patches=2000, team=team)
        spread = spread.add(sources[-2:], team=team)
        prepare_folder(photographs, tmp_path / "spread", Wish(size=96, step=48), team=team)
        assert evaluate("bicubic", small[0].parent, team=team) == scores
        collect_folder(photographs, tmp_path / "spread" / "collection", min_size=100, team=team)
        assert said(caplog) == here  # what a worker says is said here, in the same order
        jobs = [Job(path, tmp_path / "spread" / f"x4-{path.name}") for path in small]
        outcomes = [
            outcome
            for _, outcome in team.arriving(PictureWork(HOW), jobs, reads=small[0].parent, into=tmp_path / "spread")
        ]
        assert outcomes == [Outcome()] * 3
        # One picture for two workers: its tiles are given to both.
        Upscaling(HOW, elsewhere=by_tiles(team, HOW)).file(large, tmp_path / "spread" / f"x4-{large.name}")
        in_a_bucket(team, bucket, small, tmp_path / "spread")
        a_worker_dies(team, tmp_path)
    assert rows(spread) == rows(plain)
    assert spread.words("source_id")[1] == plain.words("source_id")[1]
    assert spread.descriptor == plain.descriptor
    for folder in ("", "collection"):
        assert contents(tmp_path / "spread" / folder) == contents(tmp_path / "plain" / folder)


def in_a_bucket(team: "RayTeam", bucket: Bucket, sources: list[Path], results: Path) -> None:
    there = as_place(bucket.url)
    jobs = [Job(as_place(bucket.put(path.name, path.read_bytes())), there / f"x4-{path.name}") for path in sources]
    work = PictureWork(HOW)
    assert all(not done.failed for _, done in team.arriving(work, jobs, reads=there, into=there))
    for job in jobs:
        assert bucket.get(job.target.name) == (results / job.target.name).read_bytes()
    # A node without rights is left out; there is no other one here.
    bucket.server.refuse = lambda method, path: b"AccessDenied"
    with pytest.raises(UserError, match=r"^--ray: node \S+: s3://bucket-\w+/in: access is denied; check the") as told:
        list(team.arriving(work, jobs, reads=there / "in", into=there))
    bucket.server.refuse = None
    assert SECRET not in str(told.value)


def register_by_value() -> None:
    """Workers cannot import this file."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def a_worker_dies(team: "RayTeam", tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    assert list(in_order(team, Square(marks, ends=3, once=True), range(12))) == [number**2 for number in range(12)]
    tries = {number: len(list(marks.glob(f"{number}-*"))) for number in range(12)}
    assert tries[3] == 2
    assert all(count == 1 for number, count in tries.items() if number != 3)


COMMANDS = (
    ["db", "build", "{folder}", "-o", "{out}/t.lance"],
    ["prepare", "{folder}", "-o", "{out}/p"],
    ["upscale", "{folder}", "-o", "{out}/u", "--model", "gramgan-x4-lite"],
    ["evaluate", "{folder}", "-o", "{out}/e", "--model", "bicubic"],
    ["collect", "--from", "{folder}", "-o", "{out}/c"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_ray_the_option_is_one_line(
    command: list[str],
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = [word.format(folder=photographs, out=tmp_path) for word in command]
    assert run([*words, "--ray", "auto"]) == 2
    assert capsys.readouterr().err == "error: --ray: Ray is not installed; pip install 'gramgan[cluster]'\n"


@needs_ray
def test_bad_addresses_are_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = server.getsockname()[1]
    for address, wrong in (
        (f"127.0.0.1:{silent}", "no Ray cluster answers there"),
        ("no-such-host.invalid:6379", "no Ray cluster answers there"),
        ("127.0.0.1", "no address"),
        ("ray://127.0.0.1:10001", "no address"),
        ("127.0.0.1:ray", "no address"),
    ):
        start = time.monotonic()
        with pytest.raises(UserError, match=f"^--ray {address}: {wrong}"), cluster.connect(address):
            pass
        assert time.monotonic() - start < 10
    with pytest.raises(UserError, match="one GPU each"), cluster.connect("auto", "cuda:1"):
        pass


@needs_ray
def test_no_gpu_in_the_cluster_is_one_line(address: str) -> None:
    with pytest.raises(UserError, match="no node of the cluster has a GPU"), cluster.connect(address, "cuda"):
        pass


@needs_ray
def test_a_node_that_cannot_take_part_says_why(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register_by_value()
    work = Square(tmp_path)
    with cluster.connect(address) as team:
        with pytest.raises(UserError, match=r"^--ray: node \S+: does not see \S+none, which is read; share it"):
            list(team.arriving(work, range(3), reads=tmp_path / "none"))
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "_ROOM", 1 << 60)
            with pytest.raises(UserError, match=r"^--ray: node \S+: \S+: only \d+ KiB are free; free some space"):
                list(team.arriving(work, range(3)))
        monkeypatch.setattr(cluster, "__version__", "0.0")
        with pytest.raises(UserError, match=r"^--ray: node \S+: has gramgan \S+, not 0\.0; install that everywhere"):
            list(team.arriving(work, range(3)))
    assert not list(tmp_path.glob("[0-9]*"))  # no task was begun
