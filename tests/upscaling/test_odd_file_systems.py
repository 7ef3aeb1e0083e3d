"""File systems that know less than a disk's: network shares, FUSE, exFAT. And hidden files that are not ours."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan import files, locks
from gramgan.cli.app import run
from gramgan.errors import ForeignFileError, UserError
from gramgan.files import append_record, atomic_path, ensure_own_folder, open_own, read_records, write_text
from gramgan.images import Window
from gramgan.images.canvas import Canvas
from gramgan.images.pages import PagesWriter
from gramgan.locks import claim, exclusive
from gramgan.names import hidden_beside

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and owners as POSIX has them")

REFUSALS = {
    "fsync": [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP],
    "chmod": [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP],
    "flock": [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP],
    "posix_fallocate": [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP],
    "rename": [errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV],
    "open folder": [errno.EACCES],
}
"""What such file systems answer, by the call."""

PATCH = """
import errno, fcntl, os, pathlib, sys
call, number = sys.argv[1], int(sys.argv[2])
def refuse(*_arguments, **_keywords):
    raise OSError(number, os.strerror(number))
if call == "flock":
    fcntl.flock = refuse
elif call == "rename":
    os.replace = os.rename = refuse
elif call == "open folder":
    opened = os.open
    def open_(path, flags, *others, **keywords):
        if os.path.isdir(path) and not flags & os.O_DIRECTORY:
            refuse()
        return opened(path, flags, *others, **keywords)
    os.open = open_
else:
    setattr(os, call, refuse)
from gramgan.cli.app import run
sys.exit(run(sys.argv[3:]))
"""


def picture(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)


def frames(path: Path) -> None:
    Image.new("RGB", (9, 9)).save(path, save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])


# Each call with each answer is tested below; a whole job here, for those that a network share and FUSE refuse.
@pytest.mark.parametrize(
    "call",
    [one if one in ("fsync", "chmod", "flock") else pytest.param(one, marks=pytest.mark.slow) for one in REFUSALS],
)
def test_results_are_written_where_the_file_system_knows_less(call: str, weights: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name)
    Image.new("RGB", (9, 9)).save(
        tmp_path / "in" / "c.gif", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")]
    )
    environment = os.environ | {"GRAMGAN_CACHE": str(tmp_path / "cache")}
    for number in REFUSALS[call][:1]:
        arguments = [
            "upscale",
            "--model",
            str(weights),
            "--backend",
            "torch",
            "--scale",
            "8",
            "in",
            "-o",
            f"out{number}",
        ]
        command = [sys.executable, "-c", PATCH, call, str(number), *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in (tmp_path / f"out{number}").iterdir()) == ["a.png", "b.png", "c.gif"]


@pytest.mark.parametrize(("call", "number"), [(call, number) for call in REFUSALS for number in REFUSALS[call]])
def test_files_are_written_where_the_file_system_knows_less(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    opened = os.open

    def no_folder(path: Path, flags: int, *others: int, **keywords: int) -> int:
        if path == tmp_path:
            refuse()
        return opened(path, flags, *others, **keywords)

    with monkeypatch.context() as patch:
        if call == "flock":
            patch.setattr(locks, "lock_descriptor", refuse)
        elif call == "rename":
            patch.setattr(os, "replace", refuse)
        elif call == "open folder":
            patch.setattr(os, "open", no_folder)
        else:
            patch.setattr(os, call, refuse)
        write_text(tmp_path / "text", "one")
        write_text(tmp_path / "text", "two")
        append_record(tmp_path / "journal", {"a": 1})
        with exclusive(tmp_path / "lock"):
            pass
        handle = claim(tmp_path / "claimed")
        assert handle is not None
        locks.release(handle, tmp_path / "claimed")
    assert (tmp_path / "text").read_text() == "two"
    assert read_records(tmp_path / "journal") == [{"a": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "lock", "text"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_no_such_file_system(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UserError):
        write_text(tmp_path / "text", "one")
    assert not list(tmp_path.iterdir())


def test_files_that_are_numbered_anew_at_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    handle = claim(tmp_path / "journal")
    assert handle is not None
    os.close(handle)


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def hard_link(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path, target: Path) -> None:
    path.symlink_to(target.with_name("made"))


TRAPS = [link, hard_link, pipe, dangling]


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("ending", ["part", "journal", "pass1.part", "pass1.journal", "pages.lock"])
def test_what_stands_at_hidden_names_is_not_followed(
    trap: Callable[[Path, Path], None], ending: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    frames(Path("a.gif"))
    picture(tmp_path / "a.png")
    Path("out").mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    name = "a.gif" if "pages" in ending else "a.png"
    trap(hidden_beside(Path("out") / name, ending), precious)
    arguments = ["--model", str(weights), "--backend", "torch", "--scale", "8", name, "-o", "out"]
    assert run(["upscale", *arguments]) == 2
    assert precious.read_text() == "precious"
    assert not (tmp_path / "made").exists()


def test_a_folder_journal_is_not_followed(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    picture(tmp_path / "in" / "a.png")
    Path("out").mkdir()
    Path("precious").write_text("precious\n")
    Path("out/.gramgan-upscale.jsonl").symlink_to("../precious")
    assert run(["upscale", "--model", str(weights), "--backend", "torch", "in", "-o", "out"]) == 2
    assert Path("precious").read_text() == "precious\n"


def test_a_folder_of_pages_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / ".a.tif.pages").symlink_to("elsewhere")
    with (
        pytest.raises(UserError, match=r"\.a\.tif\.pages: .*symbolic link.*delete it"),
        PagesWriter(tmp_path / "a.tif", resume_key="k"),
    ):
        pass
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["kept"]


@pytest.mark.parametrize("trap", TRAPS)
def test_own_files_are_plain_and_have_one_name(trap: Callable[[Path, Path], None], tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "path"
    target.write_text("target")
    trap(path, target)
    with pytest.raises(ForeignFileError):
        open_own(path)
    with pytest.raises(OSError, match=r"link|plain"):
        claim(path)
    for call in (lambda: append_record(path, {}), lambda: read_records(path), lambda: exclusive(path).__enter__()):
        with pytest.raises(UserError, match=r"path: .* (link|plain file)"):
            call()
    assert target.read_text() == "target"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_own_files_belong_to_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tmp_path / "path", tmp_path / "folder"
    path.touch()
    folder.mkdir()
    for one in (path, folder):
        os.chown(one, 65534, 65534)
    with pytest.raises(ForeignFileError):
        open_own(path)
    with pytest.raises(UserError, match="folder: cannot be written"):
        ensure_own_folder(folder)
    # On exFAT and shares all files have one owner, whoever makes them.
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    path.unlink()
    os.close(open_own(path))
    os.close(open_own(path))


def test_a_journal_deletes_nothing_but_our_temporary_files(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    for name in ("precious.txt", ".a.abcdefgh.png"):
        (tmp_path / name).touch()
    with pytest.raises(KeyboardInterrupt), Canvas(target, (4, 4, 3), np.dtype(np.uint8), "key") as canvas:
        canvas.write(Window(0, 0, 4, 2), np.zeros((3, 2, 4), np.float32))
        canvas.note_temporary(tmp_path / ".a.abcdefgh.png")
        canvas.note_temporary(tmp_path / "precious.txt")
        raise KeyboardInterrupt
    with Canvas(target, (4, 4, 3), np.dtype(np.uint8), "key"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("damage", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"12", b"", b'{"a": NaN', b"null"])
def test_damaged_lines_of_a_journal_are_passed_over(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"a": 1}\n' + damage + b'\n{"b": 2}\n{"c"')
    assert read_records(path) == [{"a": 1}, {"b": 2}]
    append_record(path, {"c": 3})
    assert read_records(path) == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_a_journal_of_any_size_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch()
    os.truncate(path, 6 << 30)
    with pytest.raises(UserError, match="6144 MiB are too many for a journal"):
        read_records(path)


def test_temporary_files_of_names_at_the_limit(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".png", "a." + "b" * 253, os.fsdecode(b"\xff" * 255), "写" * 83 + ".csv"):
        with atomic_path(tmp_path / name) as temporary:
            assert files.is_temporary(temporary.name)
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 4
