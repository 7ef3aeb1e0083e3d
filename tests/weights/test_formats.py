import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_state, read_weights, write_pth, write_safetensors

CONFIG = RRDBConfig(nf=8, nb=2, gc=4, upsampler="nearest")
CARD = Card(name="tiny", architecture={"network": "rrdb", **CONFIG.to_dict()}, licence="Apache-2.0")

State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    return RRDBNet(CONFIG).state_dict()


def _equal(found: State, wanted: State) -> None:
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) and found[name].dtype == torch.float32 for name in wanted)


def _sequential(name: str) -> str:
    """ESRGAN's first names."""
    conv, _, kind = name.rpartition(".")
    if conv.startswith("body."):
        _, block, dense, last = conv.split(".")
        return f"model.1.sub.{block}.{dense.upper()}.{last}.0.{kind}"
    top = {"conv_first": "0", "conv_body": f"1.sub.{CONFIG.nb}", "conv_up1": "3", "conv_up2": "6", "conv_hr": "8"}
    return f"model.{top.get(conv, '10')}.{kind}"


def _trunk(name: str) -> str:
    """The names of ESRGAN's own repository."""
    conv, _, kind = name.rpartition(".")
    if conv.startswith("body."):
        return f"RRDB_trunk.{conv.removeprefix('body.').replace('rdb', 'RDB')}.{kind}"
    top = {"conv_body": "trunk_conv", "conv_up1": "upconv1", "conv_up2": "upconv2", "conv_hr": "HRconv"}
    return f"{top.get(conv, conv)}.{kind}"


def test_the_old_names_in_this_test_are_the_published_ones() -> None:
    assert _sequential("body.1.rdb2.conv3.weight") == "model.1.sub.1.RDB2.conv3.0.weight"
    assert _sequential("conv_body.bias") == "model.1.sub.2.bias"
    assert _sequential("conv_last.bias") == "model.10.bias"
    assert _trunk("body.1.rdb2.conv3.weight") == "RRDB_trunk.1.RDB2.conv3.weight"
    assert _trunk("conv_first.weight") == "conv_first.weight"


@pytest.mark.parametrize("rename", [str, _sequential, _trunk])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "params_ema", "params", "state_dict", "generator"])
def test_pth_names_prefixes_and_wrappers(
    tmp_path: Path, state: State, rename: Callable[[str], str], prefix: str, wrapper: str | None
) -> None:
    content: object = {prefix + rename(name): tensor for name, tensor in state.items()}
    if wrapper:
        content = {wrapper: content, "iteration": 7}
    torch.save(content, tmp_path / "w.pth")
    weights = read_weights(tmp_path / "w.pth")
    _equal(weights.state, state)
    assert weights.card is None


def test_ema_weights_are_preferred(tmp_path: Path, state: State) -> None:
    torch.save({"params": {"a": torch.zeros(1)}, "params_ema": state}, tmp_path / "w.pth")
    _equal(read_state(tmp_path / "w.pth"), state)


def test_other_networks_keep_their_names(tmp_path: Path) -> None:
    content = {"features.0.weight": torch.ones(2), "model.0.weight": torch.ones(1), "count": torch.tensor(3)}
    torch.save(content, tmp_path / "w.pt")
    found = read_state(tmp_path / "w.pt")
    assert list(found) == list(content)
    assert found["count"].dtype == torch.int64


@pytest.mark.parametrize("legacy", [False, True])
def test_half_precision_becomes_float32(tmp_path: Path, state: State, legacy: bool) -> None:
    half = {name: tensor.half() for name, tensor in state.items()}
    torch.save(half, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    _equal(read_state(tmp_path / "w.pth"), {name: tensor.float() for name, tensor in half.items()})


def test_safetensors_round_trip_with_card(tmp_path: Path, state: State) -> None:
    write_safetensors(tmp_path / "new" / "w.safetensors", state, CARD)
    weights = read_weights(tmp_path / "new" / "w.safetensors")
    _equal(weights.state, state)
    assert weights.card == CARD
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["w.safetensors"]


def test_safetensors_in_half_precision(tmp_path: Path, state: State) -> None:
    write_safetensors(tmp_path / "full.safetensors", state, CARD)
    write_safetensors(tmp_path / "half.safetensors", state, CARD, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.75 * (tmp_path / "full.safetensors").stat().st_size
    with safetensors.safe_open(tmp_path / "half.safetensors", framework="pt") as file:
        assert file.get_tensor("conv_first.weight").dtype == torch.float16
    _equal(read_state(tmp_path / "half.safetensors"), {name: tensor.half().float() for name, tensor in state.items()})


def test_what_was_read_survives_the_files_replacement(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, state, CARD)
    found = read_state(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    _equal(found, state)


def test_channels_last_and_shared_tensors_are_written(tmp_path: Path) -> None:
    tensor = torch.rand(4, 3, 3, 3)
    shared = {"a": tensor.to(memory_format=torch.channels_last), "b": tensor, "c": tensor[:2]}
    write_safetensors(tmp_path / "w.safetensors", shared, CARD)
    _equal(read_state(tmp_path / "w.safetensors"), shared)


def test_pth_is_written_as_other_programs_read_it(tmp_path: Path, state: State) -> None:
    write_pth(tmp_path / "w.pth", state)
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(content) == ["params_ema"]
    _equal(content["params_ema"], state)
    _equal(read_state(tmp_path / "w.pth"), state)


def _refused(path: Path, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("kind", ["plain", "plain-4", "torch", "wrapped"])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, state: State, kind: str) -> None:
    evil = Evil(tmp_path / "ran")
    path = tmp_path / "w.pth"
    if kind.startswith("plain"):
        path.write_bytes(pickle.dumps(evil, protocol=4 if kind == "plain-4" else 2))
    else:
        torch.save(evil if kind == "torch" else {"params": state, "hook": evil}, path)
    _refused(path, "not plain PyTorch weights" if kind == "plain-4" else "could run code, so it is refused")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_pth(tmp_path: Path, state: State, share: float, legacy: bool) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not legacy)
    data = buffer.getvalue()
    (tmp_path / "w.pth").write_bytes(data[: int(len(data) * share)])
    _refused(tmp_path / "w.pth", "truncated")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_safetensors(tmp_path: Path, state: State, share: float) -> None:
    write_safetensors(tmp_path / "w.safetensors", state, CARD)
    data = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(data[: int(len(data) * share)])
    _refused(tmp_path / "w.safetensors", "truncated")


def test_not_weights_at_all(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("hello, I am a text file")
    _refused(tmp_path / "w.pth", "not plain PyTorch weights")
    _refused(tmp_path / "absent.pth", "no such file")
    (tmp_path / "w.jpg").write_bytes(b"")
    _refused(tmp_path / "w.jpg", "give one of .safetensors, .pth")
    torch.save(torch.zeros(3), tmp_path / "t.pth")
    _refused(tmp_path / "t.pth", "holds no state dict, but Tensor")
    torch.save({"iteration": 7, "weights": [torch.zeros(1)]}, tmp_path / "d.pth")
    _refused(tmp_path / "d.pth", "2 of 2 entries are no tensors (iteration, weights)")


def test_load_strict_fills_a_network_without_memory(state: State) -> None:
    with torch.device("meta"):
        network = RRDBNet(CONFIG)
    load_strict(network, state, "w")
    _equal(network.state_dict(), state)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_load_strict_keeps_the_parameters_of_a_built_network(state: State) -> None:
    network = RRDBNet(CONFIG)
    before = list(network.parameters())
    load_strict(network, state, "w")
    assert all(a is b for a, b in zip(before, network.parameters(), strict=True))
    _equal(network.state_dict(), state)


def test_load_strict_lists_what_does_not_fit_and_changes_nothing(state: State) -> None:
    network = RRDBNet(CONFIG)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wrong = dict(state)
    for index in range(1, 6):
        del wrong[f"body.0.rdb1.conv{index}.bias"]
    wrong["extra.weight"] = torch.zeros(1)
    wrong["conv_last.weight"] = torch.zeros(3, 9, 3, 3)
    with pytest.raises(UserError) as caught:
        load_strict(network, wrong, "w.pth")
    assert str(caught.value) == (
        "w.pth: the weights do not fit the network: 5 missing (body.0.rdb1.conv1.bias, body.0.rdb1.conv2.bias, "
        "body.0.rdb1.conv3.bias, body.0.rdb1.conv4.bias, …); 1 unexpected (extra.weight); 1 mis-shaped "
        "(conv_last.weight is 3×9×3×3 instead of 3×8×3×3); give weights of this architecture"
    )
    _equal(network.state_dict(), before)
