"""A claimed file belongs to one holder, also when it is deleted and made again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gramgan import locks
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
    original = locks._try_lock
    calls = 0

    def late(handle: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        if calls == 2:
            path.unlink()
            path.touch()
        return original(handle)

    monkeypatch.setattr(locks, "_try_lock", late)
    handle = claim(path)
    assert handle is not None
    assert calls == 3
    assert os.path.samestat(os.fstat(handle), path.stat())
    os.close(handle)


def test_exclusive_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "deep" / "lock"):
            assert claim(tmp_path / "deep" / "lock") is None
