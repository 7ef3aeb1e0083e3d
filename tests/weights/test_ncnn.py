import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.formats import read_state

LEAKY = "9=2 -23310=1,2.000000e-01"


def _layers(config: RRDBConfig) -> list[str]:
    """The lines of a .param file of this network, as ncnn's converter writes them (blob names do not matter)."""
    lines = ["Input in 0 1 data"]

    def conv(inputs: int, outputs: int, active: bool = True) -> None:
        size = inputs * outputs * 9
        lines.append(f"Convolution c{len(lines)} 1 1 a b 0={outputs} 1=3 4=1 5=1 6={size} {LEAKY if active else ''}")

    nf, gc = config.nf, config.gc
    conv(3, nf, False)
    lines.append("Split s 1 2 b b_0 b_1")
    for _ in range(config.nb):
        for _ in range(3):
            for index in range(4):
                conv(nf + index * gc, gc)
                lines.append("Concat k 2 1 b_0 b_1 d")
            conv(nf + 4 * gc, nf, False)
            lines.append("Eltwise e 2 1 a b c 0=1 -23301=2,2.000000e-01,1.000000e+00")
        lines.append("Eltwise e 2 1 a b c 0=1 -23301=2,2.000000e-01,1.000000e+00")
    conv(nf, nf, False)
    lines.append("BinaryOp add 2 1 a b c")
    for _ in range(2):
        lines.append("Interp up 1 1 a b 0=1 1=2.0 2=2.000000e+00")
        conv(nf, nf)
    conv(nf, nf)
    conv(nf, 3, False)
    return lines


def _write(path: Path, config: RRDBConfig, state: dict[str, Tensor], half: bool = True) -> Path:
    lines = _layers(config)
    path.with_suffix(".param").write_text("\n".join(["7767517", f"{len(lines)} 99", *lines, ""]))
    data = b""
    for name in (name for name in state if name.endswith(".weight")):
        weight = state[name].numpy().astype("<f2" if half else "<f4").tobytes()
        data += struct.pack("<I", 0x01306B47 if half else 0) + weight + b"\0" * (-len(weight) % 4)
        data += state[name.replace("weight", "bias")].numpy().astype("<f4").tobytes()
    path.with_suffix(".bin").write_bytes(data)
    return path.with_suffix(".param")


def _network(config: RRDBConfig) -> dict[str, Tensor]:
    torch.manual_seed(1)
    state = RRDBNet(config).state_dict()
    for name in state:
        if name.endswith("bias"):
            state[name].normal_()
    return state


# nf = 5 and gc = 3 make odd counts, so that the padding to four bytes matters.
CONFIG = RRDBConfig(nf=5, nb=2, gc=3, upsampler="nearest")


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_round_trip(tmp_path: Path, half: bool, suffix: str) -> None:
    state = _network(CONFIG)
    found = read_state(_write(tmp_path / "w", CONFIG, state, half).with_suffix(suffix))
    assert list(found) == list(state)
    for name, tensor in state.items():
        wanted = tensor.half().float() if half and name.endswith("weight") else tensor
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], wanted)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("9=2 -23310=1,2.000000e-01", "9=2 -23310=1,1.000000e-01", "leaky ReLU of slope 0.2"),
        ("9=2 -23310=1,2.000000e-01", "9=1", "wrong activation"),
        ("-23301=2,2.000000e-01,1.000000e+00", "-23301=2,1.0,1.0", "not scaled by 0.2"),
        ("1=2.0 2=2.0", "1=4.0 2=4.0", "not twice nearest-neighbour"),
        ("Interp up 1 1 a b 0=1", "Interp up 1 1 a b 0=2", "not twice nearest-neighbour"),
        ("Interp", "Deconvolution", "not in the order"),
        ("1=3 4=1 5=1", "1=5 4=2 5=1", "3×3 convolution"),
        ("1=3 4=1", "1=3 3=2 4=1", "stride"),
        ("0=5 1=3", "0=6 1=3", "output channels"),
        ("7767517", "7767518", "not an ncnn .param file"),
        ("0=5", "0=inf", "damaged"),
        ("1 1 a b", "one 1 a b", "line 4 is damaged"),
    ],
)
def test_other_networks_and_damaged_text_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    _refused(path, expected)


def _refused(path: Path, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_state(path)
    assert expected in str(caught.value)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_text(tmp_path: Path) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG))
    path.write_text("\n".join(path.read_text().split("\n")[:20]))
    _refused(path, "truncated, it has 18 of")


def test_truncated_and_overlong_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG)).with_suffix(".bin")
    data = path.read_bytes()
    for length in (0, 2, 4, 1000, len(data) - 1):
        path.write_bytes(data[:length])
        _refused(path, "truncated in")
    path.write_bytes(data + b"\0\0\0\0")
    _refused(path, "4 bytes too many")


def test_quantised_numbers(tmp_path: Path) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG)).with_suffix(".bin")
    path.write_bytes(struct.pack("<I", 0x000D4B38) + path.read_bytes()[4:])
    _refused(path, "conv_first is quantised")


def test_one_file_of_the_pair_is_missing(tmp_path: Path) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG))
    path.with_suffix(".bin").unlink()
    _refused(path, "w.bin: not there")


def test_binary_param(tmp_path: Path) -> None:
    path = _write(tmp_path / "w", CONFIG, _network(CONFIG))
    path.write_bytes(np.arange(200, 255, dtype=np.uint8).tobytes())
    _refused(path, "not an ncnn .param text file")


@pytest.mark.network
def test_published_weights_have_their_known_architecture(real_esrgan_path: Path) -> None:
    state = read_state(real_esrgan_path)
    with torch.device("meta"):
        wanted = RRDBNet(RRDBConfig(upsampler="nearest")).state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == {name: t.shape for name, t in wanted.items()}
    assert sum(tensor.double().square().sum().item() for tensor in state.values()) < 1e6  # finite, and of a sane size
