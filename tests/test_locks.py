"""A claimed file belongs to one holder, also when it is deleted and made again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gramgan import locks
from gramgan.errors import UserError
from gramgan.locks import claim, exclusive


def test_a_claim_excludes_others_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    handle = claim(path)
    assert handle is not None
    assert claim(path) is None
    os.close(handle)
    again = claim(path)
    assert again is not None
    os.close(again)


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    script = f"from gramgan.locks import claim; from pathlib import Path; print(claim(Path({str(path)!r})) is not None)"
    script += "; import sys; sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert claim(path) is None
        process.kill()
    handle = claim(path)
    assert handle is not None
    os.close(handle)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_file_that_was_deleted_meanwhile_is_not_what_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our opening and our locking its last holder may delete the file, and another process make a new one."""
    path = tmp_path / "journal"
    original = locks.lock_descriptor
    calls = 0

    def late(handle: int, *, blocking: bool) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        if calls == 2:
            path.unlink()
            path.touch()
        return original(handle, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", late)
    handle = claim(path)
    assert handle is not None
    assert calls == 3
    assert os.path.samestat(os.fstat(handle), path.stat())
    os.close(handle)


def test_exclusive_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "deep" / "lock"):
            assert claim(tmp_path / "deep" / "lock") is None


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        claim(tmp_path / "lock")
    with pytest.raises(UserError, match=r"lock: cannot be written"), exclusive(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
