"""`gramgan db`: what its commands print, and one line for everything that the user can put right."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.images import write_image
from gramgan.texture.database import TextureDatabase


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((3, 80, 90), dtype=np.float32))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos` and `more` with three photographs each, of which two are for training; `t.lance` of the first."""
    for number in range(3):
        photograph(tmp_path / "photos" / f"{number}.png", number)
        photograph(tmp_path / "more" / f"{number + 3}.png", number + 3)
    monkeypatch.chdir(tmp_path)
    assert run(["db", "build", "photos", "-o", "t.lance", "--patches", "400", "--licence", "CC0"]) == 0
    return tmp_path


def output(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    capsys.readouterr()
    assert run(["db", *command]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """The one line of an error."""
    capsys.readouterr()
    assert run(["db", *command]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, lines
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_the_life_of_a_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added = output(capsys, "add", "t.lance", "more", "--domain", "satellite")
    assert "400 patches added: t.lance holds 800 in version 2" in added
    assert "tag" in output(capsys, "versions", "t.lance", "--tag", "run-7", "--version", "1")
    shown = output(capsys, "info", "t.lance", "--picture", "mixture.png")
    for text in ("800 patches of 4x4", "satellite", "50.0%", "passes on pixels under: CC0, unknown", "version 2"):
        assert text in shown
    assert (folder / "mixture.png").stat().st_size > 5000
    assert "400 patches of 4x4" in output(capsys, "info", "t.lance", "--version", "1")
    codes, names = TextureDatabase.open("t.lance").words("source_id", "satellite")
    removed = output(capsys, "remove", "t.lance", "--domain", "satellite", "--source", names[codes[0]])
    assert "removed: t.lance holds" in removed
    assert "gramgan db versions t.lance --clean" in removed
    left = len(TextureDatabase.open("t.lance"))
    assert f"version 3 is whole: {left} patches in " in output(capsys, "verify", "t.lance")
    cleaned = output(capsys, "versions", "t.lance", "--clean")
    assert "1 versions and" in cleaned
    assert "run-7" in cleaned
    assert "run-7" not in output(capsys, "versions", "t.lance", "--untag", "run-7")
    taken = output(capsys, "snapshot", "t.lance", "-o", "t.safetensors")
    assert f"{left} patches of version 3" in taken
    assert output(capsys, "info", "t.safetensors").count("CC0") >= 2
    small = output(capsys, "snapshot", "t.lance", "-o", "small.safetensors", "--version", "1", "--no-pixels")
    assert "400 patches of version 1" in small

    assert run(["db", "build", "more", "-o", "u.lance", "--patches", "200"]) == 0
    merged = output(capsys, "merge", "t.lance", "u.lance", "-o", "m.lance", "--scale", "new")
    assert f"{len(TextureDatabase.open('m.lance'))} patches of 2 databases: m.lance" in merged
    assert "patches added" in output(capsys, "add", "t.lance", "m.lance", "--scale", "first")


def test_a_damaged_fragment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set((folder / "t.lance" / "data").iterdir())
    output(capsys, "add", "t.lance", "more")
    damaged = next(iter(set((folder / "t.lance" / "data").iterdir()) - known))
    damaged.write_bytes(damaged.read_bytes()[:1000])
    line = refused(capsys, "verify", "t.lance")
    assert f"fragment 1: data/{damaged.name} is damaged" in line
    assert "400 patches can be read, go on without what is damaged: gramgan db verify t.lance --drop-damaged" in line
    assert f"fragment 1 (data/{damaged.name}) is damaged" in refused(capsys, "info", "t.lance")
    dropped = output(capsys, "verify", "t.lance", "--drop-damaged")
    assert "version 3 has 400 patches without them" in dropped
    assert "version 3 is whole" in output(capsys, "verify", "t.lance")
    first = next(iter(known))
    first.unlink()
    assert "no fragment would be left" in refused(capsys, "verify", "t.lance", "--drop-damaged")


def test_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["db", "build", "more", "-o", "centred.lance", "--patches", "50", "--descriptor", "rgb-centred"]) == 0
    assert run(["db", "build", "more", "-o", "eight.lance", "--patches", "50", "--k", "8"]) == 0
    assert run(["db", "build", "more", "-o", "other.lance", "--patches", "50"]) == 0
    (folder / "empty").mkdir()
    (folder / "file").write_text("text")
    for command, words in (
        (["add", "missing.lance", "more"], "there is no such texture database"),
        (["add", "photos", "more"], "photos: not a Lance table"),
        (["add", "t.lance", "empty"], "it is empty"),
        (["add", "t.lance", "photos"], "holds all of the 2 photographs already; nothing was added"),
        (["add", "t.lance", "more", "--domain", " "], "--domain: is empty; give a word"),
        (["add", "t.lance", "centred.lance"], "centred.lance: holds rgb-centred vectors of 4x4 patches, t.lance rgb"),
        (
            ["add", "t.lance", "eight.lance"],
            "eight.lance: holds rgb vectors of 8x8 patches, t.lance rgb vectors of 4x4",
        ),
        (["add", "t.lance", "other.lance"], "other.lance: has another scale than t.lance; pass --scale first"),
        (["remove", "t.lance"], "nothing says what to remove"),
        (["remove", "t.lance", "--domain", "art"], "holds no domain 'art', only photo; nothing was removed"),
        (["remove", "t.lance", "--domain", "photo"], "that would remove all 400 patches"),
        (["remove", "t.lance", "--source", "9.png"], "holds no photograph '9.png'"),
        (["remove", "t.lance", "--licence", "MIT"], "holds no licence 'MIT', only CC0"),
        (["merge", "t.lance", "centred.lance", "-o", "m.lance"], "build one of them again"),
        (["merge", "t.lance", "eight.lance", "-o", "m.lance", "--scale", "new"], "build one of them again"),
        (["merge", "t.lance", "other.lance", "-o", "m.lance"], "has another scale than t.lance; pass --scale first"),
        (["merge", "t.lance", "other.lance", "-o", "t.lance", "--scale", "new"], "t.lance: exists already"),
        (["merge", "t.lance", "missing.lance", "-o", "m.lance"], "missing.lance: there is no such texture database"),
        (["info", "t.lance", "--version", "9"], "t.lance: has no version 9, the newest is 1"),
        (["info", "t.lance", "--picture", "x.bmp"], "x.bmp: a picture's name ends in .png, .svg, .pdf"),
        (["verify", "file"], "file: not a Lance table"),
        (["verify", "t.lance", "--version", "9"], "has no version 9"),
        (["versions", "t.lance", "--untag", "x"], "has no tag 'x', only none"),
        (["versions", "t.lance", "--tag", "a b"], "a tag 'a b' cannot be"),
        (["versions", "t.lance", "--tag", "a", "--version", "9"], "has no version 9"),
        (["snapshot", "t.lance", "-o", "x.pt"], "x.pt: a snapshot's name ends in .safetensors"),
        (["snapshot", "t.lance", "-o", "file/x.safetensors"], "file: a file stands where a folder is needed"),
        (["verify", "missing.safetensors"], "missing.safetensors: there is no such file"),
    ):
        assert words in refused(capsys, *command), command
    assert len(TextureDatabase.open("t.lance").versions()) == 1
    assert run(["db", "merge", "t.lance", "other.lance", "-o", "m.lance", "--scale", "none"]) == 2  # typer's own
    assert not (folder / "m.lance").exists()
