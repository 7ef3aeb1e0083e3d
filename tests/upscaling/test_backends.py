"""Every backend gives what torch gives in fp32, says what it cannot do, and rescues what is not finite."""

import importlib
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.errors import UserError
from gramgan.hardware.precision import Precision
from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.upscaling.backends import Backend, OutOfMemory
from gramgan.upscaling.backends.onnxruntime_backend import OnnxRuntimeBackend
from gramgan.upscaling.backends.openvino_backend import OpenVinoBackend, supported_precisions
from gramgan.upscaling.backends.torch_backend import TorchBackend
from gramgan.upscaling.choice import difference, probe_picture
from gramgan.upscaling.convert import read_graph_card, require, write_graph


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def open_backend(kind: str, generator: LoadedGenerator, folder: Path, precision: Precision = "fp32") -> Backend:
    name = generator.card.name
    if kind == "torch":
        return TorchBackend(generator.network, name, precision, "cpu")
    path = folder / ("network.xml" if kind == "openvino" else "network.onnx")
    write_graph(path, generator)
    if kind == "openvino":
        return OpenVinoBackend(path, name, precision, 100, folder / "blobs")
    return OnnxRuntimeBackend(path, name, 100)


@pytest.mark.parametrize("upsampler", ["nearest", "pixelshuffle"])
@pytest.mark.parametrize("kind", ["torch", "openvino", "onnxruntime"])
def test_every_backend_is_the_network(kind: str, upsampler: str, generator: LoadedGenerator, tmp_path: Path) -> None:
    if upsampler == "pixelshuffle":
        torch.manual_seed(1)
        config = RRDBConfig(nf=8, nb=2, gc=4, upsampler="pixelshuffle")
        generator = LoadedGenerator(RRDBNet(config).eval(), config, generator.card)
    backend = open_backend(kind, generator, tmp_path)
    tiles = picture(3, 3, 17, 26)
    with torch.inference_mode():
        expected = generator.network(torch.from_numpy(tiles)).numpy()
    found = backend.run(tiles)
    assert found.shape == (3, 3, 68, 104)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    other = picture(1, 3, 20, 9)  # another shape after the first one
    with torch.inference_mode():
        np.testing.assert_allclose(backend.run(other), generator.network(torch.from_numpy(other)).numpy(), atol=2e-5)
    np.testing.assert_array_equal(backend.run(tiles), found)
    assert backend.name.startswith(kind)
    assert backend.bytes_per_pixel > 0
    assert backend.free_bytes() > 0


def test_openvino_in_bf16_has_more_than_8_bits(generator: LoadedGenerator, tmp_path: Path) -> None:
    assert isinstance(generator.network, RRDBNet)
    if "bf16" not in supported_precisions():
        pytest.skip("this processor has no bf16")
    with torch.no_grad():
        for parameter in generator.network.body.parameters():
            parameter.mul_(0.03)  # as gentle as trained weights
    backend = open_backend("openvino", generator, tmp_path, "bf16")
    tile = probe_picture(48)[None]
    result = backend.run(tile)
    with torch.inference_mode():
        truth = generator.network(torch.from_numpy(tile)).numpy()
    assert 0 < difference(result, truth)[1] < 0.02
    in_bf16 = (result.view(np.uint32) & 0xFFFF) == 0
    assert in_bf16.mean() < 0.01, "the last convolution's result was rounded to 8 bits"


def test_a_compiled_network_is_kept_and_used_again(generator: LoadedGenerator, tmp_path: Path) -> None:
    tile = picture(1, 3, 16, 16)
    backend = open_backend("openvino", generator, tmp_path)
    found = backend.run(tile)
    (blob,) = (tmp_path / "blobs").iterdir()
    again = OpenVinoBackend(tmp_path / "network.xml", "tiny", "fp32", 100, tmp_path / "blobs")
    again._read = lambda *_: pytest.fail("compiled again")  # type: ignore[method-assign]
    np.testing.assert_array_equal(again.run(tile), found)
    blob.write_bytes(b"damaged" * 100)
    third = OpenVinoBackend(tmp_path / "network.xml", "tiny", "fp32", 100, tmp_path / "blobs")
    np.testing.assert_array_equal(third.run(tile), found)
    for width in range(17, 24):
        third.run(picture(1, 3, 16, width))
    assert len(list((tmp_path / "blobs").iterdir())) == 4


@pytest.mark.parametrize("kind", ["openvino", "onnxruntime"])
def test_weights_that_are_never_finite_are_named(kind: str, generator: LoadedGenerator, tmp_path: Path) -> None:
    assert isinstance(generator.network, RRDBNet)
    with torch.no_grad():
        generator.network.conv_body.weight[0, 0, 0, 0] = torch.nan
    backend = open_backend(kind, generator, tmp_path)
    with pytest.raises(UserError, match="tiny: these weights give values that are not finite"):
        backend.run(picture(1, 3, 16, 16))


def test_what_overflows_in_fp16_is_computed_again(
    generator: LoadedGenerator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(generator.network, RRDBNet)
    if "fp16" not in supported_precisions():
        pytest.skip("this processor has no fp16")
    with torch.no_grad():
        generator.network.conv_hr.weight.mul_(1e9)
        generator.network.conv_last.weight.mul_(1e-9)
    backend = open_backend("openvino", generator, tmp_path, "fp16")
    tile = picture(1, 3, 16, 16)
    with caplog.at_level(logging.WARNING, "gramgan"), torch.inference_mode():
        np.testing.assert_allclose(backend.run(tile), generator.network(torch.from_numpy(tile)).numpy(), atol=1e-4)
    assert "tiny: not finite in fp16 on this tile" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Exception from src/…: std::bad_alloc")])
def test_out_of_memory_is_known(
    error: Exception, generator: LoadedGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend("openvino", generator, tmp_path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(backend, "_network", fail)
    with pytest.raises(OutOfMemory):
        backend.run(picture(1, 3, 16, 16))
    monkeypatch.setattr(backend, "_network", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backend.run(picture(1, 3, 16, 16))


def test_a_precision_that_the_processor_has_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, generator: LoadedGenerator, tmp_path: Path
) -> None:
    module = importlib.import_module("gramgan.upscaling.backends.openvino_backend")
    monkeypatch.setattr(module, "supported_precisions", lambda: ("fp32",))
    with pytest.raises(UserError, match="precision 'bf16': OpenVINO does not compute in it on this processor"):
        open_backend("openvino", generator, tmp_path, "bf16")


@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_the_card_travels_with_the_network(suffix: str, generator: LoadedGenerator, tmp_path: Path) -> None:
    path = tmp_path / f"network{suffix}"
    write_graph(path, generator)
    assert read_graph_card(path) == generator.card


@pytest.mark.parametrize("name", ["w.xml", "w.onnx"])
def test_damaged_networks_are_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no network at all")
    with pytest.raises(UserError, match="cannot read this network") as caught:
        read_graph_card(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.upscaling.convert.is_installed", lambda _: False)
    with pytest.raises(UserError, match=r"openvino runs networks fast on CPUs .* `pip install 'gramgan\[openvino\]'`"):
        require("openvino")
    with pytest.raises(UserError, match=r"pip install 'gramgan\[onnx\]'"):
        require("onnxruntime")
