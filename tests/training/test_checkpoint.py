"""Checkpoints: atomic, only the newest kept, damaged ones named."""

import errno
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from gramgan.errors import UserError
from gramgan.training.checkpoint import checkpoints, load_checkpoint, putting_back, save_checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").touch()  # somebody else's
    for iteration in (5, 10, 9_999_999, 10_000_000):
        save_checkpoint(tmp_path, iteration, {"value": torch.tensor(iteration)}, keep=2)
    assert names(tmp_path) == ["10000000.pt", "9999999.pt", "notes.pt"]
    assert [path.name for path in checkpoints(tmp_path)] == ["9999999.pt", "10000000.pt"]
    state = load_checkpoint(tmp_path)
    assert (state["iteration"], int(state["value"])) == (10_000_000, 10_000_000)


def test_a_failing_write_leaves_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 1, {"value": torch.ones(3)}, keep=1)

    def half(_: Any, file: IO[bytes]) -> None:
        file.write(b"half a checkpoint")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(UserError, match=r"0000002\.pt: the disk is full"):
            save_checkpoint(tmp_path, 2, {"value": torch.zeros(3)}, keep=1)
    assert names(tmp_path) == ["0000001.pt"]
    assert torch.equal(load_checkpoint(tmp_path)["value"], torch.ones(3))


def test_torch_reports_a_full_disk_as_one(tmp_path: Path) -> None:
    # Given a path instead of a file, torch.save raises a RuntimeError about its archive here.
    resource = pytest.importorskip("resource", reason="the size of files can be limited on POSIX alone")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"0000001\.pt: cannot be written \(File too large\)"):
            save_checkpoint(tmp_path, 1, {"value": torch.ones(100_000)}, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"this is text", b"PK\x03\x04 and no more"])
def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0000003.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"0000003\.pt: damaged or no checkpoint; delete it") as error:
        load_checkpoint(tmp_path)
    assert "\n" not in str(error.value)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, {"value": torch.rand(10_000)}, keep=1)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        load_checkpoint(tmp_path)


def test_foreign_and_missing_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_checkpoint(tmp_path)
    torch.save({"params": torch.ones(1)}, tmp_path / "0000001.pt")
    with pytest.raises(UserError, match="another version"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_with_one_wrong_bit_is_named(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, {"value": torch.rand(10_000), "names": list("abc")}, keep=1)
    data = bytearray(path.read_bytes())
    data[20_000] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"0000003\.pt: damaged or no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("error", [KeyError("guard"), RuntimeError("size mismatch:\n a\n b"), TypeError("'int'")])
def test_a_checkpoint_of_other_contents_is_named(tmp_path: Path, error: Exception) -> None:
    save_checkpoint(tmp_path, 3, {}, keep=1)
    expected = r"0000003\.pt: does not hold what this run needs .*delete it"
    with pytest.raises(UserError, match=expected) as caught, putting_back(tmp_path):
        raise error
    assert "\n" not in str(caught.value)


def test_a_full_device_is_no_fault_of_the_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, {}, keep=1)
    with pytest.raises(torch.OutOfMemoryError), putting_back(tmp_path):
        raise torch.OutOfMemoryError
