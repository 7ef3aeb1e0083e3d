"""Weights in 8 bits: how near they stay, and that damaged files are refused."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from gramgan.errors import UserError
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import read_weights, write_packed
from gramgan.weights.packing import METADATA, is_packed, pack_weights, unpack

CARD = Card(name="packed", architecture={"network": "rrdb"}, licence="Apache-2.0")


def small() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return RRDBNet(RRDBConfig(8, 1, 4, "nearest")).state_dict()


def test_every_weight_is_within_half_a_step_of_its_group() -> None:
    state = small()
    back = unpack(pack_weights(state), "x")
    assert list(back) == list(state)
    for name, tensor in state.items():
        if tensor.ndim != 4:
            torch.testing.assert_close(back[name], tensor.half().float(), atol=0, rtol=0)
            continue
        for row, wanted in zip(back[name].flatten(1), tensor.flatten(1), strict=True):
            for part, expected in zip(row.split(32), wanted.split(32), strict=True):
                step = expected.abs().max() / 127
                # fp16 holds the scale to 2⁻¹¹, which at the largest weight is 127 · 2⁻¹¹ of a step.
                assert float((part - expected).abs().max()) <= float(step) * (0.5 + 127 / 2048) + 1e-7


def test_weights_of_zero_stay_zero() -> None:
    assert torch.equal(unpack(pack_weights({"a": torch.zeros(2, 3, 3, 3)}), "x")["a"], torch.zeros(2, 3, 3, 3))


def test_a_packed_file_is_read_like_any_other_and_is_half_as_large(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RRDBNet(RRDBConfig(64, 1, 32, "nearest"))
    path = tmp_path / "packed.safetensors"
    write_packed(
        path,
        network.state_dict(),
        CARD.model_copy(update={"architecture": {"network": "rrdb", **network.config.to_dict()}}),
    )
    assert path.stat().st_size < 1.1 * sum(parameter.numel() for parameter in network.parameters())
    loaded = load_generator(path)
    assert loaded.card.name == "packed"
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        difference = (loaded.network(x) - network.eval()(x)).abs().max()
    assert 0 < float(difference) < 5e-3


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_damaged_scales_are_one_line(damage: str, tmp_path: Path) -> None:
    tensors = pack_weights(small())
    name = "conv_first.weight.scale"
    tensors[name] = tensors[name][:-1]
    if damage == "missing":
        del tensors[name]
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()}, METADATA))
    with pytest.raises(UserError, match=r"damaged\.safetensors: damaged: conv_first\.weight has no scales that fit"):
        read_weights(path)


def test_other_files_are_not_taken_for_packed() -> None:
    assert not is_packed(None)
    assert not is_packed({"format": "pt"})
    assert is_packed({"format": "pt", **METADATA})
