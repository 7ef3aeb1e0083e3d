"""Exported files hold the same generator, under the names that other programs look for."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors
import torch

from gramgan.cli.app import run
from gramgan.installed import is_installed
from gramgan.networks.build import LoadedGenerator, load_generator
from gramgan.networks.foreign import import_spandrel
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.upscaling import export as module
from gramgan.weights.formats import read_weights, write_safetensors


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "onnx", "xml"])
def test_every_format_is_read_again(
    suffix: str, half: bool, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out" / f"mine.{suffix}"
    assert run(["export", str(weights), "-o", str(target), *(["--fp16"] if half else [])]) == 0
    line = capsys.readouterr().out
    found = re.fullmatch(rf"{target}: .* MB, read again .* differs by (\S+) grey levels at most, (\S+) rms\n", line)
    assert found
    assert float(found[1]) < (5 if half else 0.03)
    assert (float(found[1]) > 0) or not half
    names = {file.name for file in target.parent.iterdir()}
    assert names == ({"mine.xml", "mine.bin"} if suffix == "xml" else {f"mine.{suffix}"})


def test_the_format_can_be_named(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(weights), "-o", str(tmp_path / "mine"), "--format", "pth"]) == 0
    assert (tmp_path / "mine.pth").is_file()


def test_the_card_is_kept(weights: Path, generator: LoadedGenerator, tmp_path: Path) -> None:
    done = module.export_generator(weights, tmp_path / "mine.safetensors")
    architecture = {**generator.card.architecture, "gc": 32}  # as other programs want it, see below
    assert read_weights(done.path).card == generator.card.model_copy(update={"architecture": architecture})
    half = module.export_generator(weights, tmp_path / "half.safetensors", half=True)
    with safetensors.safe_open(half.path, framework="pt") as file:
        assert file.get_tensor("conv_first.weight").dtype == torch.float16


def test_the_card_can_say_something_else(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.safetensors"
    said = ["--name", "mine", "--licence", "MIT", "--consistency"]
    assert run(["export", str(weights), "-o", str(target), *said]) == 0
    card = read_weights(target).card
    assert card is not None
    assert (card.name, card.licence, card.consistent) == ("mine", "MIT", True)
    assert run(["export", str(target), "-o", str(target.with_name("again.safetensors")), "--no-consistency"]) == 0
    again = read_weights(target.with_name("again.safetensors")).card
    assert again == card.model_copy(update={"consistent": False})
    assert run(["export", str(weights), "-o", str(tmp_path / "mine.pth"), "--name", "mine"]) == 2
    assert "name: .pth files have no card" in capsys.readouterr().err


def test_the_onnx_file_is_fit_for_others(weights: Path, tmp_path: Path) -> None:
    model = onnx.load(module.export_generator(weights, tmp_path / "mine.onnx").path)
    onnx.checker.check_model(model, full_check=True)
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, "height", "width"]
    assert model.opset_import[0].version == 17


def spandrel_detects(state: dict) -> str:
    """spandrel's rules for telling ESRGAN's state dicts (its ESRGAN architecture's `detect`), by keys alone."""
    if "model.0.weight" in state and "model.1.sub.0.RDB1.conv1.0.weight" in state:
        return "old"
    if "conv_first.weight" in state and "body.0.rdb1.conv1.weight" in state and "conv_body.weight" in state:
        return "new"
    if "RRDB_trunk.0.RDB1.conv1.weight" in state:
        return "trunk"
    return "unknown"


@pytest.mark.parametrize("old", [False, True])
def test_pth_has_the_names_that_spandrel_knows(
    old: bool, weights: Path, generator: LoadedGenerator, tmp_path: Path
) -> None:
    done = module.export_generator(weights, tmp_path / "mine.pth", old_keys=old)
    content = torch.load(done.path, weights_only=True)
    state = content if old else content["params_ema"]
    assert spandrel_detects(state) == ("old" if old else "new")
    top = {"0", "3", "6", "8", "10"}
    if old:
        single = {match[1] for match in (re.fullmatch(r"model\.(\d+)\.weight", name) for name in state) if match}
        assert single == top
        assert "model.1.sub.1.weight" in state
    again = load_generator(done.path)
    assert again.config == replace(generator.config, gc=32)  # the only number that spandrel takes
    picture = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        assert (again.network(picture) - generator.network(picture)).abs().max() < 1e-5


@pytest.mark.skipif(not is_installed("spandrel"), reason="spandrel is not installed")
@pytest.mark.parametrize("old", [False, True])
def test_spandrel_itself_loads_it(old: bool, weights: Path, generator: LoadedGenerator, tmp_path: Path) -> None:
    spandrel = import_spandrel()
    done = module.export_generator(weights, tmp_path / "mine.pth", old_keys=old)
    loaded = spandrel.ModelLoader().load_from_file(done.path)
    assert loaded.scale == 4
    x = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        np.testing.assert_allclose(loaded.model.eval()(x), generator.network(x), atol=1e-5)


def test_bad_requests_are_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = RRDBConfig(nf=8, nb=1, gc=4)
    other = tmp_path / "shuffle.safetensors"
    card = read_weights(weights).card
    assert card is not None
    card = card.model_copy(update={"architecture": {"network": "rrdb", **shuffled.to_dict()}})
    write_safetensors(other, RRDBNet(shuffled).state_dict(), card)
    cases = [
        ([str(weights), "-o", str(tmp_path / "a.gguf")], "its suffix names no format"),
        ([str(weights), "-o", str(tmp_path / "a"), "--format", "gguf"], "format 'gguf': unknown"),
        ([str(weights), "-o", str(tmp_path / "a.onnx"), "--old-keys"], "only .pth files have"),
        (
            [str(other), "-o", str(tmp_path / "a.pth"), "--old-keys"],
            "ESRGAN knows RRDBNets with the upsampler",
        ),
        ([str(weights), "-o", str(weights)], "these are the weights themselves"),
        ([str(tmp_path / "none.pth"), "-o", str(tmp_path / "a.pth")], "neither a weight file nor known weights"),
    ]
    for arguments, message in cases:
        assert run(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
    monkeypatch.setattr("gramgan.upscaling.convert.is_installed", lambda _: False)
    assert run(["export", str(weights), "-o", str(tmp_path / "a.xml")]) == 2
    assert "pip install 'gramgan[openvino]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("a*"))


def test_a_file_that_gives_other_results_is_deleted(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.load_generator

    def damaged(spec: str | Path) -> LoadedGenerator:
        generator = real(spec)
        if Path(spec) != weights:
            with torch.no_grad():
                generator.network.last.weight.mul_(1.5)
        return generator

    monkeypatch.setattr(module, "load_generator", lambda spec: damaged(Path(spec)))
    assert run(["export", str(weights), "-o", str(tmp_path / "a.pth")]) == 2
    assert "so it was deleted" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()
