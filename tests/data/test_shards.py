"""WebDataset shards."""

import io
import json
import logging
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from gramgan.data.items import items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.shards import shard_items, shards_in, split_shards
from gramgan.data.source import Demand
from gramgan.data.stream import StreamedImages
from gramgan.errors import UserError
from gramgan.images import find_images


def write_shard(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def licence(name: str) -> bytes:
    return json.dumps({"licence": name, "source": "a.jpg", "x": 0, "y": 0}).encode()


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> Path:
    """The photographs of `folder`, three in each of two shards."""
    paths = find_images(folder)
    for number in range(2):
        members = {}
        for path in paths[3 * number : 3 * number + 3]:
            members[f"{path.stem}.json"] = licence(f"CC-{path.stem}")
            members[path.name] = path.read_bytes()
        write_shard(tmp_path / "shards" / f"train-{number:06d}.tar", members)
    return tmp_path / "shards"


def test_the_crops_are_those_of_the_files(shards: Path, folder: Path) -> None:
    demand = Demand(crop=32, batch=4, seed=1)
    items = shard_items(shards_in(shards))
    assert [item.name for item in items] == [path.name for path in find_images(folder)]
    assert [item.licence for item in items] == [f"CC-photo{number}" for number in range(6)]
    files = ResidentPhotos(items_of(find_images(folder)), demand)
    resident = ResidentPhotos(items, demand)
    with StreamedImages(items, demand, workers=2) as source:
        for _ in range(4):
            expected = files.next()
            for batch in (resident.next(), source.next()):
                assert torch.equal(batch.images, expected.images)
                assert batch.names == expected.names
        state = source.state()
        after = source.next()
    with StreamedImages(items, demand, workers=1) as source:
        source.restore(state)
        assert torch.equal(source.next().images, after.images)


def test_members_that_are_no_samples(folder: Path, tmp_path: Path) -> None:
    png = (folder / "photo1.png").read_bytes()
    shard = write_shard(
        tmp_path / "s.tar",
        {
            "readme.txt": b"hello",
            "a/b.x/c.PNG": png,
            "a/b.x/c.json": licence("CC0-1.0"),
            "d.png": png,
            "d.json": b"\xff not json",
            "e.png": png,
            "e.json": b"[1]",
            "f.json": licence("nobody's"),
        },
    )
    assert [(item.name, item.licence) for item in shard_items([shard])] == [
        ("a/b.x/c.PNG", "CC0-1.0"),
        ("d.png", "unknown"),
        ("e.png", "unknown"),
    ]
    with pytest.raises(UserError, match=r"s2\.tar: no images in it"):
        shard_items([write_shard(tmp_path / "s2.tar", {"a.txt": b"x"})])


def test_a_shard_that_is_cut_off(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard = shards / "train-000001.tar"
    names = [item.name for item in shard_items([shard])]
    places = [item.high for item in shard_items([shard])]
    assert caplog.messages == []
    whole = shard.read_bytes()
    shard.write_bytes(whole[: places[2].offset + 100])  # in the middle of the last image
    with caplog.at_level(logging.WARNING):
        items = shard_items([shard])
    assert [item.name for item in items] == names
    assert "train-000001.tar: the archive is cut off or damaged" in caplog.text
    with StreamedImages(items, Demand(crop=32, batch=3), workers=1) as source:
        crops = source.next()
        assert names[2] not in crops.names
        assert source.look().troubles == {f"{shard}/{names[2]}": "the archive ends too early; get a whole copy"}

    shard.write_bytes(whole[: places[1].offset + places[1].size // 512 * 512 + 512] + bytes(range(256)) * 4)
    caplog.clear()
    assert [item.name for item in shard_items([shard])] == names[:2]
    assert "cut off or damaged" in caplog.text


def test_what_is_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"\x1f\x8b" + b"x" * 2000)
    with pytest.raises(UserError, match=r"a\.tar: cannot be read as a tar file") as caught:
        shard_items([path])
    assert "\n" not in str(caught.value)


def test_held_out_shards(shards: Path, tmp_path: Path) -> None:
    (shards / "train-000001.tar").rename(shards / "holdout-000000.tar")
    assert split_shards(shards) == ([shards / "train-000000.tar"], [shards / "holdout-000000.tar"])
    assert split_shards(shards / "train-000000.tar") == ([shards / "train-000000.tar"], [])
    with pytest.raises(UserError, match="only held-out shards here"):
        split_shards(shards / "holdout-000000.tar")
    with pytest.raises(UserError, match=r"no shards \(NAME-000000\.tar, …\) here"):
        split_shards(tmp_path / "photos")
