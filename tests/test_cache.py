"""What is kept in the user's cache: a damaged entry is made again, and a cache that takes nothing stops nobody."""

import errno
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gramgan import cache, files
from gramgan.errors import UserError
from gramgan.hardware import probe as probe_module
from gramgan.hardware.probe import Verdict, probe
from gramgan.upscaling.choice import Candidate, Choice, Tried, probe_picture
from gramgan.upscaling.convert import write_graph
from gramgan.upscaling.model import open_model
from gramgan.weights import locate
from gramgan.weights.catalog import KnownFile, KnownWeights, fetch_weights

DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "garbage": lambda path: path.write_bytes(b"\xff\x00<" * (path.stat().st_size // 3 + 1)),
    "one byte": lambda path: path.write_bytes(path.read_bytes()[:-9] + b"\x01" + path.read_bytes()[-8:]),
    "a folder": lambda path: (path.unlink(), (path / "inside").mkdir(parents=True)),
    "gone": lambda path: path.unlink(),
}
TILE = probe_picture(24)[None]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    cache._checked.cache_clear()  # as in a new process
    return tmp_path / "cache"


@pytest.fixture
def generator():  # type: ignore[no-untyped-def]
    import torch

    from gramgan.networks.build import LoadedGenerator
    from gramgan.networks.rrdb import RRDBConfig, RRDBNet
    from gramgan.weights.card import Card

    torch.manual_seed(0)
    config = RRDBConfig(nf=8, nb=1, gc=4, upsampler="nearest")
    card = Card(name="tiny", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0")
    return LoadedGenerator(RRDBNet(config).eval(), config, card)


@pytest.fixture
def weights(generator, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    from gramgan.weights.formats import write_safetensors

    write_safetensors(tmp_path / "tiny.safetensors", generator.network.state_dict(), generator.card)
    return tmp_path / "tiny.safetensors"


def enlarged(weights: Path, backend: str) -> np.ndarray:
    return open_model(weights, backend=backend, precision="fp32", device="cpu").backend.run(TILE)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_every_file_of_a_converted_network_is_made_again(
    weights: Path, folder: Path, backend: str, damage: str
) -> None:
    truth = enlarged(weights, backend)
    entries = sorted(path for path in (folder / "models").rglob("*") if path.is_file())
    assert len(entries) == {"openvino": 5, "onnxruntime": 3}[backend]  # with the lock and what OpenVINO compiled
    for path in entries:
        if path.stat().st_size > 16:
            DAMAGES[damage](path)
            np.testing.assert_array_equal(enlarged(weights, backend), truth)
            assert path.is_file()
            assert path.stat().st_size > 16


@pytest.mark.parametrize("place", ["models", "models/KEY", "models/.KEY.lock", "probe"])
def test_something_of_another_kind_stands_in_the_cache(weights: Path, folder: Path, place: str) -> None:
    truth = enlarged(weights, "openvino")
    (key,) = (path.name for path in (folder / "models").iterdir() if path.is_dir())
    path = folder / place.replace("KEY", key)
    if path.is_file():
        path.unlink()
        (path / "inside").mkdir(parents=True)
    else:
        if path.is_dir():
            cache.shutil.rmtree(path)
        path.write_text("a file")
    np.testing.assert_array_equal(enlarged(weights, "openvino"), truth)
    choice = Choice("key", [Candidate("torch", "fp32")])
    choice.compare({Candidate("torch", "fp32"): Tried(0.0, 0.0, 0.1, 1.0)})
    assert Choice("key", []).tried


JSONS = ["", "{", "[]", "null", "5", '"a"', "{}", "[" * 100_000, '{"tried": 1}', '{"tried": {}, "paces": []}', "NaN"]


@pytest.mark.parametrize("text", JSONS)
def test_a_damaged_choice_is_made_again(folder: Path, text: str) -> None:
    one = Candidate("torch", "fp32")
    Choice("key", [one]).compare({one: Tried(0.0, 0.0, 0.1, 1.0)})
    (path,) = (folder / "probe").iterdir()
    path.write_text(text)
    choice = Choice("key", [one])
    assert not choice.tried
    choice.compare({one: Tried(0.0, 0.0, 0.1, 1.0)})
    assert Choice("key", [one]).tried


@pytest.mark.parametrize("key", ["rms", "seconds"])
@pytest.mark.parametrize("value", ["x", None, [], {}, [1]])
def test_a_choice_with_values_of_the_wrong_kind_is_made_again(folder: Path, key: str, value: object) -> None:
    one = Candidate("torch", "fp32")
    Choice("key", [one]).compare({one: Tried(0.0, 0.0, 0.1, 1.0)})
    (path,) = (folder / "probe").iterdir()
    values = json.loads(path.read_text())
    values["tried"]["torch fp32"][key] = value
    path.write_text(json.dumps(values))
    assert not Choice("key", [one]).tried


@pytest.mark.parametrize(
    "pace", [{"first": "12"}, {"first": [-1]}, {"waited": float("nan")}, {"openings": float("inf")}, {"more": 1}]
)
def test_paces_of_the_wrong_kind_are_measured_again(folder: Path, pace: dict[str, object]) -> None:
    one = Candidate("torch", "fp32")
    Choice("key", [one]).compare({one: Tried(0.0, 0.0, 0.1, 1.0)})
    (path,) = (folder / "probe").iterdir()
    whole = {"first": [1.0], "then": [1.0], "waited": 0.0, "openings": 1}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"paces": {"16": {"torch fp32": whole | pace}}}))
    assert not Choice("key", [one]).tried


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "one byte"])
def test_a_damaged_probe_is_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    measured = []

    def measure(device: str) -> Verdict:
        measured.append(device)
        return Verdict("fp32", False, 1.0, 0.0, "here", "2")

    monkeypatch.setattr(probe_module, "_measure_inference", measure)
    probe()
    (path,) = (folder / "probe").iterdir()
    DAMAGES[damage](path)
    probe()
    assert probe().precision == "fp32"
    assert len(measured) == 2


def full_disk(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    made = files.tempfile.mkstemp

    def mkstemp(**options: object) -> tuple[int, str]:
        if folder in [Path(str(options["dir"])), *Path(str(options["dir"])).parents]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return made(**options)  # type: ignore[arg-type]

    monkeypatch.setattr(files.tempfile, "mkstemp", mkstemp)


@pytest.mark.parametrize("kind", ["a file", "below a file", "no such device", "read-only", "full"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_without_a_cache_the_work_goes_on_and_says_so(
    weights: Path,
    folder: Path,
    kind: str,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    truth = enlarged(weights, backend)
    cache.shutil.rmtree(folder)
    other = folder.with_name(f"other-{kind}-{backend}")
    if kind == "a file":
        other.write_text("in the folder's place")
    elif kind == "below a file":
        other.write_text("in the folder's place")
        other = other / "cache"
    elif kind == "no such device":
        other = Path("/proc/no/such")
    elif kind == "read-only":
        other.mkdir()
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != other and access(path, mode))
    else:
        full_disk(monkeypatch, other)
    monkeypatch.setenv("GRAMGAN_CACHE", str(other))
    with caplog.at_level(logging.WARNING, "gramgan"):
        np.testing.assert_array_equal(enlarged(weights, backend), truth)
    (line,) = {record.getMessage() for record in caplog.records}
    assert "not kept" in line
    assert str(other) in line
    assert not list(other.rglob("network.*"))


def test_a_home_that_is_not_there(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAMGAN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert enlarged(weights, "openvino").shape == (1, 3, 96, 96)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "one byte"])
def test_damaged_fetched_weights_name_the_command_that_mends_them(
    weights: Path, folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "weights" / "mine" / "tiny.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(weights.read_bytes())
    file = KnownFile(path.name, path.stat().st_size, files.sha256(path))
    known = {"mine": KnownWeights("mine", "generator", "t", "MIT", "o", (file,))}
    monkeypatch.setattr("gramgan.weights.catalog.KNOWN", known)
    monkeypatch.setattr(locate, "KNOWN", known)
    assert enlarged(Path("mine"), "torch").shape == (1, 3, 96, 96)
    DAMAGES[damage](path)
    with pytest.raises(UserError, match=r"tiny.safetensors: .*run `gramgan weights get mine`"):
        open_model("mine")


def test_a_folder_in_the_place_of_weights_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = KnownFile("w.pth", None, "0" * 64, "https://files.example/w.pth")
    monkeypatch.setattr(
        "gramgan.weights.catalog.KNOWN",
        {"mine": KnownWeights("mine", "trunk", "t", "MIT", "o", (file,), size_limit=100)},
    )
    path = folder / "weights" / "mine" / "w.pth"
    (path / "inside").mkdir(parents=True)

    def fetch(url: str, path: Path, **options: object) -> None:
        path.write_bytes(b"new")

    monkeypatch.setattr("gramgan.weights.catalog.fetch", fetch)
    assert fetch_weights("mine").read_bytes() == b"new"


def test_what_openvino_could_not_write_whole_is_no_network(generator, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import openvino

    save = openvino.save_model

    def cut(model: object, path: Path, **options: object) -> None:
        save(model, path, **options)  # type: ignore[arg-type]
        os.truncate(path.with_suffix(".bin"), 100)

    monkeypatch.setattr(openvino, "save_model", cut)
    with pytest.raises(UserError, match=r"tiny.xml: cannot be written .*; free some space"):
        write_graph(tmp_path / "tiny.xml", generator)
    assert list(tmp_path.iterdir()) == []
