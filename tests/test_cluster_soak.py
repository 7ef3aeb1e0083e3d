"""A Ray cluster of three nodes, of which workers, a node, and the command itself are killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from s3_server import SECRET, Bucket, rights

from gramgan.cli.app import run
from gramgan.images import write_image
from gramgan.texture.database import TextureDatabase

if TYPE_CHECKING:
    from s3_server import Server

pytestmark = pytest.mark.slow

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200 << 20}
HOW = ["--model", "gramgan-x4-lite", "--backend", "torch", "--precision", "fp32"]
COLUMNS = ("patch_id", "patch", "gram", "x", "y", "scale", "count", "warped")


@pytest.fixture(scope="module")
def environment(storage_server: "tuple[Server, str]", tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the nodes."""
    return rights(storage_server[1]) | {"GRAMGAN_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def cluster(start_ray: Callable[..., Any], environment: dict[str, str]) -> Any:
    """Three nodes of one processor."""
    return start_ray(nodes=3, processors=1, environment=environment)


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
    pictures(folder, *range(12))
    return folder


def pictures(folder: Path, *seeds: int) -> list[Path]:
    """Noise."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{seed:02}.png" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        write_image(path, np.random.default_rng(seed).random((3, 100, 110), dtype=np.float32))
    return paths


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
    name: str,
    victim: str,
    cluster: Any,
    environment: dict[str, str],
    photographs: Path,
    plain: dict[str, object],
    tmp_path: Path,
) -> None:
    command = COMMANDS[name]
    process = start(command, photographs, tmp_path, "--ray", cluster.address)
    wait_for(lambda: command.finished(tmp_path) > 0 and bool(workers()), process)
    if victim == "worker":
        workers()[0].kill()
    elif victim == "node":
        cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
        cluster.add_node(**NODE, env_vars=environment)
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


BUCKET_COMMANDS = (
    ["upscale", "{place}/in", "-o", "{place}/upscaled", *HOW],
    ["prepare", "{place}/in", "-o", "{place}/prepared", "--size", "96", "--step", "12"],
    ["evaluate", "{place}/in", "-o", "{place}/scores", "--model", "bicubic"],
    ["collect", "--from", "{place}/in", "-o", "{place}/collection", "--min-size", "90"],
    ["db", "build", "{place}/in", "-o", "{place}/t.lance", "--patches", "4000"],
    ["db", "add", "{place}/t.lance", "{place}/more"],
)


def test_commands_make_the_same_in_a_bucket(
    cluster: Any, bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, seeds in (("in", range(6)), ("more", (98, 99))):
        for path in pictures(tmp_path / folder, *seeds):
            bucket.put(f"{folder}/{path.name}", path.read_bytes())
    for words in BUCKET_COMMANDS:
        assert run([word.format(place=bucket.url) for word in words] + ["--ray", cluster.address]) == 0
        assert run([word.format(place=tmp_path) for word in words]) == 0
    for pattern in (
        "upscaled/*.png",
        "prepared/*.png",
        "prepared/manifest.csv",
        "scores/scores.csv",
        "collection/*.png",
    ):
        found = list(tmp_path.glob(pattern))
        assert found
        for path in found:
            assert bucket.get(path.relative_to(tmp_path).as_posix()) == path.read_bytes()
    one, other = TextureDatabase.open(f"{bucket.url}/t.lance"), TextureDatabase.open(tmp_path / "t.lance")
    assert all(np.array_equal(one.numbers(column), other.numbers(column)) for column in COLUMNS)
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err


def test_a_node_with_a_full_disk_is_left_out(
    cluster: Any,
    environment: dict[str, str],
    photographs: Path,
    plain: dict[str, object],
    tmp_path: Path,
) -> None:
    full, out = tmp_path / "full", tmp_path / "out"
    full.mkdir()
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(full)], check=False).returncode:
        pytest.skip("this user cannot mount a disk of 64 KiB")
    try:
        node = cluster.add_node(**NODE, env_vars=environment | {"TMPDIR": str(full)})
        process = start(COMMANDS["prepare"], photographs, out, "--ray", cluster.address)
        _, error = process.communicate()
        cluster.remove_node(node)
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert process.returncode == 0, error
    assert [line for line in error.splitlines() if str(full) in line] == [
        line for line in error.splitlines() if "KiB are free; free some space" in line and "--ray: node" in line
    ]
    assert error.count("KiB are free") >= 1
    assert COMMANDS["prepare"].results(out) == plain["prepare"]
