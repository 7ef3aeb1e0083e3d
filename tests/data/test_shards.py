"""WebDataset shards."""

import io
import json
import logging
import tarfile
from collections.abc import Mapping
from pathlib import Path

import psutil
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


def _number(value: int) -> bytes:
    """As GNU's tar writes what octal digits have no room for."""
    number = value.to_bytes(12, "big", signed=True)
    return bytes([number[0] | 0x80]) + number[1:]


def _header(name: str, kind: bytes, size: int) -> bytes:
    """A tar header of GNU's format that claims `size` bytes; of a file with holes, that size with the holes."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = kind
    if kind == tarfile.GNUTYPE_SPARSE:
        for place, number in ((386, 0), (398, 0), (483, size)):  # one run, of no bytes
            header[place : place + 12] = _number(number)
    else:
        header[124:136] = _number(size)
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("suffix", [".json", ".png"])
def test_a_member_with_holes_is_left_out_and_takes_no_memory(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    first = shards_in(shards)[0]
    bomb = tmp_path / "train-000009.tar"
    bomb.write_bytes(_header(f"a{suffix}", tarfile.GNUTYPE_SPARSE, 6 * 10**9) + bytes(1024))
    assert bomb.stat().st_size == 1536
    with tarfile.open(bomb) as archive:
        assert archive.getmembers()[0].size == 6 * 10**9
    before = psutil.Process().memory_info().rss
    items = shard_items([bomb, first])
    assert psutil.Process().memory_info().rss < before + 10**8
    assert [item.name for item in items] == [item.name for item in shard_items([first])]
    assert f"{bomb}: a{suffix} is stored with holes" in caplog.text


def test_a_record_that_is_a_link_or_large_is_not_read(tmp_path: Path) -> None:
    shard = write_shard(
        tmp_path / "train-000000.tar",
        {"a.png": b"x", "a.json": licence("CC0-1.0") + b" " * 2**20, "b.png": b"x", "c.txt": licence("CC0-1.0")},
    )
    with tarfile.open(shard, "a") as archive:
        link = tarfile.TarInfo("b.json")
        link.type, link.linkname = tarfile.SYMTYPE, "c.txt"
        archive.addfile(link)
    assert {item.name: item.licence for item in shard_items([shard])} == {"a.png": "unknown", "b.png": "unknown"}


@pytest.mark.parametrize("size", [-512, 2**62, 6 * 10**9])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_member_of_an_absurd_size_ends_the_shard(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: bytes, size: int
) -> None:
    with tarfile.open(shards_in(shards)[0]) as archive:
        last = archive.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    bad = tmp_path / "train-000009.tar"
    bad.write_bytes(shards_in(shards)[0].read_bytes()[:end] + _header("z.txt", kind, size))
    assert len(shard_items([bad])) == 3
    assert "cut off or damaged" in caplog.text
