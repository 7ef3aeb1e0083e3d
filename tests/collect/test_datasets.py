"""The data sets' archives: downloaded, unpacked, not unpacked twice."""

import errno
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run
from gramgan.collect.datasets import DATASETS, Archive, Dataset, fetch_archives, unpack_archives
from gramgan.collect.manifest import read_left_out, read_manifest
from gramgan.errors import UserError
from gramgan.fetch import Answer, Digest, Manners, Target
from gramgan.files import write_error


def png(seed: int) -> bytes:
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((200, 200), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


class FileTransport:
    """Serves bytes by the last part of their address, and counts."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.requests: list[str] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14"]

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        self.requests.append(target.path)
        body = io.BytesIO(self.files[target.path.rpartition("/")[2]])
        return Answer(200, {"content-length": str(len(body.getvalue()))}, body.read, body.close)


def dataset(files: dict[str, bytes]) -> Dataset:
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, seed in (("HR/0001.png", 1), ("HR/0002.png", 2), ("LR/0001.png", 3), ("HR/../../0009.png", 4)):
            archive.writestr(name, png(seed))
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name, data in (("X/HR/000001.png", png(5)), ("X/HR/000002.png", png(1)), ("X/HR/000003.png", b"words")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("X/HR/000004.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    files |= {"a.zip": zipped.getvalue(), "b.tar": tarred.getvalue()}
    return Dataset(
        *("set", "Set", "somebody", "research only", "https://sets.example/", "For research."),
        (
            Archive(
                "https://sets.example/a.zip",
                Digest("sha256", hashlib.sha256(files["a.zip"]).hexdigest()),
                *(1 << 20, r"HR/\d{4}\.png", 2, "holdout"),
            ),
            Archive(
                "https://sets.example/b.tar",
                Digest("md5", hashlib.md5(files["b.tar"]).hexdigest()),
                *(1 << 20, r"X/HR/\d{6}\.png", 3),
            ),
        ),
    )


def test_archives_become_a_collection(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    known = dataset(files)
    transport = FileTransport(files)
    archives = fetch_archives(known, tmp_path, manners=Manners(), transport=transport)
    assert [archive.name for archive in archives] == ["a.zip", "b.tar"]
    result = unpack_archives(known, archives, tmp_path)
    assert result.new == 3
    by_source = {entry.source: entry for entry in read_manifest(tmp_path) or []}
    assert by_source.keys() == {
        "https://sets.example/a.zip#HR/0001.png",
        "https://sets.example/a.zip#HR/0002.png",
        "https://sets.example/b.tar#X/HR/000001.png",
    }
    for source, seed in (("a.zip#HR/0001.png", 1), ("a.zip#HR/0002.png", 2), ("b.tar#X/HR/000001.png", 5)):
        entry = by_source[f"https://sets.example/{source}"]
        assert (tmp_path / entry.file).read_bytes() == png(seed)
        assert (entry.licence, entry.author) == ("research only", "somebody")
    assert by_source["https://sets.example/a.zip#HR/0001.png"].split == "holdout"
    left_out = {one.file.rpartition("/")[2]: one.reason for one in read_left_out(tmp_path) or []}
    assert left_out.keys() == {"000002.png", "000003.png"}
    assert left_out["000002.png"].startswith("duplicate: the same pixels as ")
    assert left_out["000003.png"].startswith("unreadable: not an image")
    assert not list(tmp_path.rglob("*.zip")) and not list(tmp_path.rglob("*.tar"))
    # Nothing is missing, so nothing is asked for; one photograph gone, and its archive comes again.
    transport.requests.clear()
    assert fetch_archives(known, tmp_path, manners=Manners(), transport=transport) == []
    assert transport.requests == []


def test_a_killed_run_keeps_the_sides_of_the_data_set(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    files: dict[str, bytes] = {}
    known = dataset(files)
    archives = fetch_archives(known, tmp_path, manners=Manners(), transport=FileTransport(files))
    with pytest.raises(Killed):
        unpack_archives(known, archives, tmp_path, progress=stop)
    assert not (tmp_path / "manifest.csv").exists()
    result = unpack_archives(known, archives, tmp_path)
    sides = {entry.source.rpartition("/")[2]: entry.split for entry in result.entries}
    assert sides == {"0001.png": "holdout", "0002.png": "holdout", "000001.png": "train"}


def test_a_full_disk_is_nobodys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes] = {}
    known = dataset(files)
    archives = fetch_archives(known, tmp_path, manners=Manners(), transport=FileTransport(files))

    def full(*_: object) -> None:
        raise write_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr("gramgan.collect.datasets._Members.unpack", full)
        with pytest.raises(UserError, match="the disk is full"):
            unpack_archives(known, archives, tmp_path)
    assert unpack_archives(known, archives, tmp_path).new == 3


def test_an_archive_that_is_another(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    known = dataset(files)
    wrong = replace(known, archives=(replace(known.archives[1], digest=Digest("md5", "0" * 32)),))
    with pytest.raises(UserError, match="not the expected one \\(its MD5 does not begin with 0"):
        fetch_archives(wrong, tmp_path, manners=Manners(pause=0.0), transport=FileTransport(files))


def test_the_known_data_sets() -> None:
    assert DATASETS["div2k"].count == 900
    assert DATASETS["flickr2k"].count == 2650
    for known in DATASETS.values():
        assert known.terms
        assert all(archive.url.startswith("https://") for archive in known.archives)


def test_terms_are_shown_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files: dict[str, bytes] = {}
    monkeypatch.setitem(DATASETS, "div2k", dataset(files))
    monkeypatch.setattr("gramgan.fetch.HttpsTransport", lambda: FileTransport(files))
    assert run(["collect", "--dataset", "div2k", "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "terms: For research."
    assert lines[-1].startswith(f"photographs: {tmp_path / 'out'}")
