"""A Ray cluster of three nodes, of which workers, a node, and the command itself are killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from gramgan.images import write_image
from gramgan.texture.database import TextureDatabase

pytestmark = pytest.mark.slow

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200 << 20}
HOW = ["--model", "gramgan-x4-lite", "--backend", "torch", "--precision", "fp32"]
COLUMNS = ("patch_id", "patch", "gram", "x", "y", "scale", "count", "warped")


@pytest.fixture(scope="module")
def cluster(start_ray: Callable[..., Any]) -> Any:
    """Three nodes of one processor."""
    return start_ray(nodes=3, processors=1)


@dataclass(frozen=True)
class Command:
    """A command from `folder` into `out`: how far it is, and what has come of it."""

    words: list[str]
    finished: Callable[[Path], int]  # pieces of work that its journal has
    results: Callable[[Path], object]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def rows(out: Path) -> tuple[object, ...]:
    assert [path.name for path in out.iterdir()] == ["t.lance"]
    database = TextureDatabase.open(out / "t.lance")
    return (
        [database.numbers(column).tobytes() for column in COLUMNS],
        database.words("source_id")[1],
        database.descriptor,
    )


def files(out: Path) -> object:
    hidden = (".prepare", ".gramgan-upscale.jsonl")
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name not in hidden}


COMMANDS = {
    "db build": Command(
        ["db", "build", "{folder}", "-o", "{out}/t.lance", "--patches", "40000"],
        lambda out: sum(path.stat().st_size > 0 for path in out.glob(".*.unfinished/data/*")),
        rows,
    ),
    "prepare": Command(
        ["prepare", "{folder}", "-o", "{out}", "--size", "96", "--step", "12"],
        lambda out: lines(out / ".prepare" / "cut.jsonl"),
        files,
    ),
    "upscale": Command(
        ["upscale", "{folder}", "-o", "{out}", *HOW],
        lambda out: lines(out / ".gramgan-upscale.jsonl"),
        files,
    ),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for seed in range(12):
        write_image(folder / f"{seed:02}.png", np.random.default_rng(seed).random((3, 100, 110), dtype=np.float32))
    return folder


@pytest.fixture(scope="module")
def plain(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the commands make without Ray."""
    found = {}
    for name, command in COMMANDS.items():
        out = tmp_path_factory.mktemp("plain")
        assert start(command, photographs, out).wait() == 0
        found[name] = command.results(out)
    return found


def start(command: Command, folder: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = [word.format(folder=folder, out=out) for word in command.words]
    return subprocess.Popen(
        [sys.executable, "-m", "gramgan", *words, *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def workers() -> list[psutil.Process]:
    """Of ours, in the cluster: Ray names them after their class."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::_Worker"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_for(sign: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not sign():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("victim", ["worker", "node", "driver"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_whoever_dies_the_result_is_the_same(
    name: str, victim: str, cluster: Any, photographs: Path, plain: dict[str, object], tmp_path: Path
) -> None:
    command = COMMANDS[name]
    process = start(command, photographs, tmp_path, "--ray", cluster.address)
    wait_for(lambda: command.finished(tmp_path) > 0 and bool(workers()), process)
    if victim == "worker":
        workers()[0].kill()
    elif victim == "node":
        cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
        cluster.add_node(**NODE)
    else:
        process.kill()
        process.wait()
        wait_for_the_end_of_workers()
        assert not (tmp_path / "t.lance").exists()
        before = stamps(tmp_path)
        process = start(command, photographs, tmp_path, "--ray", cluster.address)
        output, error = process.communicate()
        assert process.returncode == 0, error
        # What was finished was not done again.
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert command.results(tmp_path) == plain[name]
        return
    output, error = process.communicate()
    assert process.returncode == 0, error
    assert command.results(tmp_path) == plain[name]
    assert "Traceback" not in error + output
    assert "raylet" not in error + output


def wait_for_the_end_of_workers() -> None:
    end = time.monotonic() + 60
    while workers():
        assert time.monotonic() < end
        time.sleep(0.1)


def stamps(out: Path) -> dict[Path, int]:
    """When the results were written that a journal has."""
    found = []
    for journal in (out / ".gramgan-upscale.jsonl", out / ".prepare" / "cut.jsonl"):
        for line in journal.read_text().splitlines() if journal.exists() else ():
            record = json.loads(line)
            found += [record["result"]] if "result" in record else [entry["file"] for entry in record["entries"]]
    return {out / name: (out / name).stat().st_mtime_ns for name in found}
