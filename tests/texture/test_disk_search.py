"""Search in files: the answers of exact search, for tables of any size; every machine has them once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.texture.candidates import DatabaseSource
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.search.disk import FEWEST, FaissDisk, shared_disk_index
from gramgan.texture.search.kdtree import KdTree

pytest.importorskip("faiss")
COUNT, DIMENSION = 30_000, 6


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    return np.repeat(random.normal(size=(300, DIMENSION)), COUNT // 300, axis=0).astype(np.float32) + random.normal(
        size=(COUNT, DIMENSION), scale=0.3
    ).astype(np.float32)


def _opened(vectors: np.ndarray, key: str = "key", recall: float = 0.99) -> FaissDisk:
    ids = np.arange(len(vectors)) * 3
    blocks = [(vectors[:7000], ids[:7000]), (vectors[7000:], ids[7000:])]
    return shared_disk_index(key, lambda: blocks, len(vectors), DIMENSION, recall)


def test_answers_are_those_of_exact_search(vectors: np.ndarray) -> None:
    index = _opened(vectors)
    queries = torch.from_numpy((vectors[:2000] + vectors[1:2001]) / 2)
    distance, row = index.query(queries)
    exact, _ = KdTree(torch.from_numpy(vectors)).query(queries)
    assert index.recall >= 0.99
    assert (distance <= exact * (1 + 1e-9)).double().mean() >= 0.98
    computed = (queries.double() - torch.from_numpy(vectors)[row].double()).norm(dim=1)
    torch.testing.assert_close(distance, computed, rtol=1e-12, atol=1e-12)  # exact, whatever the codes say
    assert np.array_equal(index.ids[row.numpy()], row.numpy() * 3)


def test_more_recall_takes_a_wider_search(vectors: np.ndarray) -> None:
    low, high = _opened(vectors, recall=0.3), _opened(vectors, recall=0.999)
    assert low._index.nprobe < high._index.nprobe


def test_blocks_of_the_build_make_no_difference(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = torch.from_numpy(vectors[:500] + 0.01)
    one = _opened(vectors, "one").query(queries)
    monkeypatch.setattr("gramgan.texture.search.disk._BLOCK", 7001)
    many = _opened(vectors, "many").query(queries)
    assert torch.equal(one[0], many[0]) and torch.equal(one[1], many[1])


def test_an_index_is_made_once_and_a_failed_one_leaves_nothing(vectors: np.ndarray, cache: Path) -> None:
    def broken() -> list[tuple[np.ndarray, np.ndarray]]:
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="the disk is full"):
        shared_disk_index("key", broken, COUNT, DIMENSION, 0.99)
    assert [path for path in (cache / "search").iterdir() if path.suffix != ".lock"] == []
    _opened(vectors)
    shared_disk_index("key", broken, COUNT, DIMENSION, 0.99)  # is not asked for them again


def test_few_vectors_and_no_room_are_one_line(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"faiss-disk: 9999 patches are few; leave texture.search out"):
        _opened(vectors[: FEWEST - 1])
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"search: the search needs 0\.0 GiB and 0\.0 GiB are free; free some"):
        _opened(vectors)


def test_a_training_finds_the_targets_that_it_finds_in_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gramgan.texture.search.disk.FEWEST", 300)
    random = np.random.default_rng(0)
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        write_image(paths[-1], random.random((3, 96, 96), np.float32))
    database = TextureDatabase.build(tmp_path / "t.lance", [Source(path) for path in paths], patches=900)
    query = torch.from_numpy(database.vectors()[:400] * np.float32(1.001))[None]
    image = torch.zeros(1, 3, 8, 8)
    caplog.set_level("INFO")
    found = DatabaseSource(database, "faiss-disk").targets(query, image)
    exact = DatabaseSource(database, "kdtree").targets(query, image)
    same = found.patch_id == exact.patch_id
    assert same.double().mean() >= 0.98
    assert torch.equal(found.gram[same], exact.gram[same]) and torch.equal(found.distance[same], exact.distance[same])
    assert "the index of 900 patches is made in" in caplog.text


PROCESS = """
import json, sys
import numpy as np, torch, torch.distributed as dist
from gramgan.texture.search.disk import shared_disk_index

rank, meeting, data = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
made = []

def blocks():
    made.append(rank)
    vectors = np.load(data)
    return [(vectors, np.arange(len(vectors)))]

index = shared_disk_index("key", blocks, 30_000, 6, 0.99)
row = index.query(torch.from_numpy(np.load(data)[:200] + 0.01))[1]
rows = [torch.empty_like(row) for _ in range(2)]
dist.all_gather(rows, row)
maps = [line for line in open("/proc/self/maps") if line.rstrip().endswith(("/vectors", "/index"))]
print(json.dumps([len(made), torch.equal(*rows), sorted({line.split()[4] for line in maps})]))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into Linux' list of mapped files")
def test_two_processes_of_a_training_map_the_same_files(vectors: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", vectors)
    commands = [
        [sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "meeting"), str(tmp_path / "vectors.npy")]
        for rank in range(2)
    ]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    told = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in running]
    assert sorted(made for made, _, _ in told) == [0, 1]
    assert all(same for _, same, _ in told)
    assert told[0][2] == told[1][2] and told[0][2]  # inodes: in memory once
