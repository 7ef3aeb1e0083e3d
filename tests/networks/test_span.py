"""The small generator: its files, ours and the community's, are one network on every backend."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.hardware.casting import in_precision
from gramgan.installed import is_installed
from gramgan.networks.build import card_values, load_generator
from gramgan.networks.foreign import import_spandrel
from gramgan.networks.span import SPAN, SPANConfig, with_training_branches
from gramgan.upscaling.export import export_generator
from gramgan.weights.card import Card
from gramgan.weights.formats import read_state, write_pth, write_safetensors

CONFIG = SPANConfig(8, 2, 4)
MEAN = (0.4488, 0.4371, 0.4040)


def _network(config: SPANConfig = CONFIG) -> SPAN:
    torch.manual_seed(3)
    network = SPAN(config).eval()
    with torch.no_grad():  # results as large as those of trained weights
        network.last.weight.mul_(0.03)
    return network


def _card(config: SPANConfig = CONFIG) -> Card:
    return Card(name="small", architecture=dict(card_values(config)), licence="CC0-1.0", overlap=9)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_files_say_the_architecture(scale: int, tmp_path: Path) -> None:
    config = SPANConfig(8, 3, scale)
    network = _network(config)
    write_safetensors(tmp_path / "w.safetensors", network.state_dict(), _card(config))
    write_pth(tmp_path / "w.pth", network.state_dict())
    picture = torch.rand(2, 3, 5, 7)
    for name in ("w.safetensors", "w.pth"):
        loaded = load_generator(tmp_path / name)
        assert loaded.config == config
        with torch.no_grad():
            assert torch.equal(loaded.network(picture), network(picture))
            assert loaded.network(picture).shape == (2, 3, 5 * scale, 7 * scale)
    assert loaded.card.architecture == {"network": "span", "nf": 8, "nb": 3, "scale": scale}


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, _network().state_dict(), _card(SPANConfig(8, 3, 4)))
    with pytest.raises(UserError, match="its card says nb=3 and its tensors say 2"):
        load_generator(path)
    other = _card().model_copy(update={"architecture": {"network": "rrdb"}})
    write_safetensors(path, _network().state_dict(), other)
    with pytest.raises(UserError, match="its card says 'rrdb' and its tensors are those of 'span'"):
        load_generator(path)


def _of_spandrel() -> nn.Module:
    if not is_installed("spandrel"):
        pytest.skip("spandrel is not installed")
    import_spandrel()
    from spandrel.architectures import SPAN as theirs  # noqa: N811  a module

    torch.manual_seed(4)
    return theirs.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2).eval()


def test_a_community_file_is_the_network_that_spandrel_makes_of_it(tmp_path: Path) -> None:
    theirs = _of_spandrel()
    picture = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        wanted = theirs(picture)
    write_pth(tmp_path / "w.pth", theirs.state_dict())
    loaded = load_generator(tmp_path / "w.pth")
    assert loaded.config == SPANConfig(8, 6, 2)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(picture), wanted, atol=1e-4, rtol=0)
    # Without the subtraction of a mean it is another network.
    write_pth(tmp_path / "other.pth", {**theirs.state_dict(), "no_norm": torch.zeros(1)})
    with pytest.raises(UserError, match="not an RRDBNet generator"):
        load_generator(tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_an_exported_file_is_the_same_network_in_spandrel(suffix: str, tmp_path: Path) -> None:
    if not is_installed("spandrel"):
        pytest.skip("spandrel is not installed")
    config = SPANConfig(8, 6, 4)
    network = _network(config)
    write_safetensors(tmp_path / "w.safetensors", network.state_dict(), _card(config))
    done = export_generator(tmp_path / "w.safetensors", tmp_path / f"theirs.{suffix}")
    found = import_spandrel().ModelLoader(device="cpu").load_from_file(done.path)
    picture = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        torch.testing.assert_close(found.eval()(picture).clamp(0, 1), network(picture).clamp(0, 1), atol=1e-5, rtol=0)
    assert load_generator(done.path).config == config


@pytest.mark.parametrize("gone", ["block_1.c2_r.conv.1.weight", "conv_2.sk.bias"])
def test_a_layer_without_one_of_its_branches(gone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = with_training_branches(_network().state_dict())
    del state[gone]
    write_pth(tmp_path / "w.pth", state)
    assert run(["export", str(tmp_path / "w.pth"), "-o", str(tmp_path / "x.onnx")]) == 2
    assert f"a SPAN whose layers are incomplete ('{gone}')" in capsys.readouterr().err


@torch.no_grad()
def test_onnx_and_openvino_are_the_same_network() -> None:
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    from gramgan.networks.onnx_graph import onnx_model

    network, picture = _network(), torch.rand(1, 3, 8, 12)
    wanted = network(picture).numpy()
    graph = onnx_model(CONFIG, network.state_dict(), _card()).SerializeToString()
    found = onnxruntime.InferenceSession(graph).run(None, {"lr": picture.numpy()})[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(picture.numpy())[0], wanted, atol=1e-4)
    half = onnx_model(CONFIG, network.state_dict(), _card(), half=True).SerializeToString()
    found = onnxruntime.InferenceSession(half).run(None, {"lr": picture.numpy()})[0]
    np.testing.assert_allclose(found, wanted, atol=0.02)


@torch.no_grad()
def test_bf16_has_more_than_8_bits() -> None:
    network = _network()
    picture = torch.rand(1, 3, 16, 16)
    result = in_precision(network, "bf16", channels_last=True)(picture.bfloat16())
    assert result.dtype == torch.float32
    assert not torch.equal(result, result.bfloat16().float())
    assert (result - network(picture)).abs().mean() < 0.02


def _ncnn(path: Path, network: SPAN) -> list[str]:
    """Write the pair of files as ncnn's converter does; the lines of the text (blob names do not matter)."""
    lines = ["Input in 0 1 a", "MemoryData m 0 1 b 0=1 1=1 2=3", "BinaryOp s 2 1 a b c 0=1"]
    lines += ["BinaryOp r 1 1 c d 0=2 1=1 2=2.550000e+02"]
    data = struct.pack("<3f", *MEAN)

    def conv(name: str) -> None:
        nonlocal data
        weight, bias = (network.state_dict()[f"{name}.{kind}"].numpy() for kind in ("weight", "bias"))
        outputs, _, side, _ = weight.shape
        padding = " 4=1" if side > 1 else ""
        lines.append(f"Convolution c{len(lines)} 1 1 a b 0={outputs} 1={side}{padding} 5=1 6={weight.size}")
        stored = weight.astype("<f2").tobytes()
        data += struct.pack("<I", 0x01306B47) + stored + b"\0" * (-len(stored) % 4) + bias.astype("<f4").tobytes()

    conv("conv_1")
    for number in range(1, network.config.nb + 1):
        for layer in (1, 2, 3):
            conv(f"block_{number}.c{layer}_r")
            lines.append("Swish w 1 1 a b" if layer < 3 else "Sigmoid g 1 1 a b")
        lines += ["BinaryOp h 1 1 a b 0=1 1=1 2=5.000000e-01", "BinaryOp p 2 1 a b c 0=0", "BinaryOp q 2 1 a b c 0=2"]
    conv("conv_2")
    lines.append("Concat k 4 1 a b c d e")
    conv("conv_cat")
    conv("upsampler.0")
    lines.append(f"PixelShuffle u 1 1 a b 0={network.config.scale}")
    path.with_suffix(".bin").write_bytes(data)
    _write_lines(path, lines)
    return lines


def _write_lines(path: Path, lines: list[str]) -> None:
    path.with_suffix(".param").write_text("\n".join(["7767517", f"{len(lines)} 99", *lines, ""]))


def _rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half().float() if name.endswith("weight") else tensor for name, tensor in state.items()}


def test_ncnn_s_pair_of_files(tmp_path: Path) -> None:
    network = _network()
    _ncnn(tmp_path / "w.param", network)
    found = read_state(tmp_path / "w.bin")
    wanted = _rounded(network.state_dict())
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Swish", "ReLU", "not in the order of a SPAN"),
        ("2=5.000000e-01", "2=1.000000e+00", "its sums and products"),
        ("0=2 1=1 2=2.550000e+02", "0=2 1=1 2=1.0", "its sums and products"),
        ("1=1 5=1", "1=1 4=1 5=1", r"conv_cat should be a 1×1 convolution with padding 0"),
        ("6=576", "6=577", r"block_1.c1_r should have 8 input and 8 output channels"),
    ],
)
def test_other_networks_of_ncnn_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    lines = _ncnn(tmp_path / "w.param", _network())
    _write_lines(tmp_path / "w.param", [line.replace(old, new) for line in lines])
    with pytest.raises(UserError, match=message):
        read_state(tmp_path / "w.param")
