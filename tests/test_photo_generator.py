"""The recipe of gramgan-x4-photo: what is held out stays out, and a kept generator becomes the package's file."""

from pathlib import Path

import pytest
import torch

import photo_generator
from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import read_weights, write_safetensors


def test_what_is_held_out_is_not_copied(tmp_path: Path) -> None:
    source = tmp_path / "cid22"
    (source / "deep").mkdir(parents=True)
    for name in ("106399.png", "1.png", "deep/2.png", "manifest.csv"):
        (source / name).write_bytes(b"x")
    into = photo_generator.copy_photographs([source], tmp_path / "copies")
    found = sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())
    assert found == ["cid22/1.png", "cid22/deep/2.png", "cid22/manifest.csv"]


def test_every_held_out_photograph_exists(photos_folder: Path) -> None:
    shared = photos_folder.parent
    assert all((shared / end.lstrip("/")).is_file() for end in photo_generator.held_out())


def test_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    network = RRDBNet(RRDBConfig(8, 1, 4, "nearest"))
    card = Card(name="run", architecture={"network": "rrdb", **network.config.to_dict()}, licence="BSD-3-Clause")
    write_safetensors(tmp_path / "kept.safetensors", network.state_dict(), card)
    start = RRDBNet(network.config)
    monkeypatch.setattr(photo_generator, "fetch_weights", lambda name: None)
    monkeypatch.setattr(photo_generator, "load_generator", lambda name: LoadedGenerator(start, start.config, card))
    target = tmp_path / "src" / "gramgan" / "weights" / "packaged"
    target.mkdir(parents=True)
    monkeypatch.setattr(photo_generator, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["photo_generator.py", "pack", str(tmp_path / "kept.safetensors")])
    photo_generator.main()
    packed = read_weights(target / "gramgan-x4-photo.safetensors")
    assert packed.card is not None
    assert (packed.card.name, packed.card.licence) == ("gramgan-x4-photo", "BSD-3-Clause")
    between = torch.lerp(start.conv_last.weight, network.conv_last.weight, 0.7)
    torch.testing.assert_close(packed.state["conv_last.weight"], between, atol=0.01, rtol=0)
    size = (target / "gramgan-x4-photo.safetensors").stat().st_size
    assert capsys.readouterr().out.splitlines()[-1] == f"result: bytes={size}"
