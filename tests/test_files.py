"""Writing that never leaves half a file."""

import errno
from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder, write_text


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="boom"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert [file.name for file in tmp_path.iterdir()] == ["result.txt"]
    assert path.read_text() == "old"


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(UserError, match="disk is full") as caught, atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(UserError, match=r"another (output folder|one)"):
            ensure_folder(folder)


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
