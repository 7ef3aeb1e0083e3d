"""Opening weights: which backend, what is kept in the cache, and torch only where it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.networks.build import LoadedGenerator
from gramgan.upscaling import model as models_module
from gramgan.upscaling.choice import Candidate, Choice, Tried, probe_picture
from gramgan.upscaling.convert import write_graph
from gramgan.upscaling.model import open_model
from gramgan.weights.formats import write_safetensors


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("backend", ["auto", "torch", "openvino", "onnxruntime"])
def test_every_backend_opens(backend: str, weights: Path, generator: LoadedGenerator) -> None:
    model = open_model(weights, backend=backend, device="cpu")
    assert (model.name, model.card, len(model.sha256)) == ("tiny", generator.card, 64)
    tile = probe_picture(24)[None]
    with torch.inference_mode():
        truth = generator.network(torch.from_numpy(tile)).numpy()
    assert np.abs(model.backend.run(tile) - truth).max() < 0.3
    if backend != "auto":
        assert model.backend.name.split()[0] == backend


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
def test_fp32_is_fp32(backend: str, weights: Path, generator: LoadedGenerator) -> None:
    tile = probe_picture(24)[None]
    with torch.inference_mode():
        truth = generator.network(torch.from_numpy(tile)).numpy()
    found = open_model(weights, backend=backend, precision="fp32", device="cpu").backend.run(tile)
    np.testing.assert_allclose(found, truth, atol=2e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "tensorrt"}, "backend 'tensorrt': unknown; use auto, torch, openvino, onnxruntime"),
        ({"precision": "int8"}, "precision 'int8': unknown; use auto, fp32, bf16, fp16"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "precision 'bf16': onnxruntime computes in fp32 here"),
        ({"backend": "openvino", "device": "cuda"}, "device 'cuda': this runs on the CPU only"),
        ({"device": "gpu"}, "device 'gpu': unknown"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str, weights: Path) -> None:
    with pytest.raises(UserError, match=message):
        open_model(weights, **settings)


def test_the_command_says_it_in_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png", probe_picture(8), bits=8)
    monkeypatch.setattr("gramgan.upscaling.convert.is_installed", lambda _: False)
    command = ["upscale", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--model", str(weights)]
    assert run([*command, "--backend", "openvino"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        "error: openvino runs networks fast on CPUs and is not installed; run `pip install 'gramgan[openvino]'`"
    )


def test_auto_passes_over_what_is_not_installed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_module, "is_installed", lambda _: False)
    assert {one.backend for one in models_module._candidates(models_module.WeightsInUse(weights), "auto", None)[1]} == {
        "torch"
    }


def test_the_converted_network_is_kept_and_changes_with_the_weights(
    weights: Path, generator: LoadedGenerator, cache: Path
) -> None:
    first = open_model(weights, backend="openvino", precision="fp32")
    assert len(list((cache / "models").glob("*/network.xml"))) == 1
    with torch.no_grad():
        assert generator.network.last.bias is not None
        generator.network.last.bias.add_(0.25)
    write_safetensors(weights, generator.network.state_dict(), generator.card)
    second = open_model(weights, backend="openvino", precision="fp32")
    assert first.sha256 != second.sha256
    tile = probe_picture(16)[None]
    np.testing.assert_allclose(second.backend.run(tile), first.backend.run(tile) + 0.25, atol=1e-5)


@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_exported_networks_are_run(suffix: str, generator: LoadedGenerator, tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    write_graph(path, generator)
    model = open_model(path, precision="fp32")
    assert model.card == generator.card
    with pytest.raises(UserError, match="torch does not run this kind of file"):
        open_model(path, backend="torch")
    if suffix == ".xml":
        with pytest.raises(UserError, match="onnxruntime does not read this kind of file"):
            open_model(path, backend="onnxruntime")
        path.with_suffix(".bin").unlink()
        with pytest.raises(UserError, match="it belongs beside mine"):
            open_model(path)


def test_blended_weights_lie_between(weights: Path, generator: LoadedGenerator, tmp_path: Path) -> None:
    with torch.no_grad():
        assert generator.network.last.bias is not None
        generator.network.last.bias.add_(0.2)
    other = tmp_path / "psnr.safetensors"
    write_safetensors(other, generator.network.state_dict(), generator.card.model_copy(update={"overlap": 31}))
    tile = probe_picture(16)[None]
    plain = open_model(weights, backend="torch", precision="fp32").backend.run(tile)
    for backend in ("torch", "openvino"):
        model = open_model(weights, backend=backend, precision="fp32", blend=(other, 0.25))
        np.testing.assert_allclose(model.backend.run(tile), plain + 0.15, atol=2e-5)
        assert model.card.overlap == 31


@pytest.mark.parametrize("backend", ["auto", "openvino", "onnxruntime"])
def test_torch_is_not_imported_when_all_is_in_the_cache(backend: str, weights: Path, tmp_path: Path) -> None:
    if backend == "auto":  # as if measured: a tiny network may well be fastest on torch
        choice = Choice(f"{models_module.WeightsInUse(weights).key} auto auto", [Candidate("openvino", "fp32")])
        choice.compare({Candidate("openvino", "fp32"): Tried(0.0, 0.0, 0.1, 1.0)})
    for name, channels in (("a", 3), ("b", 4)):
        write_image(tmp_path / f"{name}.png", np.resize(probe_picture(16), (channels, 16, 16)), bits=8)
    arguments = ["upscale", str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(weights)]
    arguments += ["--backend", backend]
    if backend == "openvino":
        arguments += ["--precision", "fp32"]
    code = (
        "import sys; from gramgan.cli.app import run; code = run(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(code)"
    )
    loaded = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env={**os.environ}, check=False
        )
        assert done.returncode == 0, done.stderr
        loaded.append(done.stdout.splitlines()[-1])
    assert loaded == ["True", "False"]
