import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import safetensors.torch
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.networks.build import load_generator
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


def _refused_in_little_memory(path: Path, expected: str) -> None:
    before = psutil.Process().memory_info().rss
    _refused(path, expected)
    assert psutil.Process().memory_info().rss < before + 2e8


def _rewritten(path: Path, content: bytes, compression: int) -> None:
    """The `.pth` at `path` with other bytes for its first storage, and compressed."""
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, old in parts.items():
            archive.writestr(name, content if name.endswith("/data/0") else old)


def test_a_deflated_pth_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"params": {"a": torch.zeros(1)}}, path)
    _rewritten(path, bytes(10**9), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6 + 10**5
    _refused_in_little_memory(path, "not plain PyTorch weights")


def test_parts_that_lie_in_one_another_are_refused(tmp_path: Path) -> None:
    """The archive's list names one part a hundred times."""
    path = tmp_path / "w.pth"
    torch.save({"params": {"a": torch.rand(100_000)}}, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, number = archive.start_dir, len(archive.infolist())
    end = data.rindex(b"PK\x05\x06")
    entries = (data[start:end].split(b"PK\x06\x06")[0]) * 100
    tail = bytearray(data[end:])
    tail[8:16] = struct.pack("<HHI", 100 * number, 100 * number, len(entries))
    tail[16:20] = struct.pack("<I", start)
    path.write_bytes(data[:start] + entries + tail)
    with zipfile.ZipFile(path) as archive:
        assert sum(part.file_size for part in archive.infolist()) > 90 * path.stat().st_size
    _refused(path, "not plain PyTorch weights")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_view_of_one_number_is_not_a_billion_weights(tmp_path: Path, legacy: bool) -> None:
    tensors = {"a": torch.zeros(1, dtype=torch.float16).expand(10**9)}
    torch.save(tensors, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    _refused_in_little_memory(tmp_path / "w.pth", "claim to be 4,000,000,000 bytes of weights")


def test_one_tensor_under_many_names_is_not_copied_for_each(tmp_path: Path) -> None:
    half = torch.zeros(10**5, dtype=torch.float16)
    torch.save({f"t{number}": half for number in range(10_000)}, tmp_path / "w.pth")
    _refused_in_little_memory(tmp_path / "w.pth", "claim to be")


ODD: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(3, device="meta"),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
}


@pytest.mark.parametrize("kind", list(ODD))
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_that_are_no_plain_numbers(tmp_path: Path, kind: str) -> None:
    torch.save({"params": {"ok": torch.ones(1), "odd": ODD[kind]()}}, tmp_path / "w.pth")
    _refused(tmp_path / "w.pth", "(odd)")


def test_integers_do_not_fit_a_network(tmp_path: Path, state: State) -> None:
    torch.save({name: (100 * tensor).to(torch.int8) for name, tensor in state.items()}, tmp_path / "w.pth")
    expected = r"w\.pth: 72 weights are integers \(conv_first\.weight, .*, …\), as quantised"
    with pytest.raises(UserError, match=expected):
        load_generator(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_more_blocks_than_any_network_has(tmp_path: Path, state: State, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    save = torch.save if suffix == ".pth" else safetensors.torch.save_file
    many = {f"body.{number}.x": torch.zeros(1) for number in range(25_000)}
    save(many, path)
    _refused(path, "25,000 tensors, more than 20,000")
    save(state | dict(list(many.items())[:5_000]), path)
    with pytest.raises(UserError, match=r"w\.[a-z]+: 5,000 blocks, but"):
        load_generator(path)


def test_one_long_name_makes_no_long_message(tmp_path: Path) -> None:
    torch.save({"x" * 10**6: 1}, tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "w.pth")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("length", [2**63, 10**9, 17 * 2**20, 2**24])
def test_safetensors_with_an_absurd_header(tmp_path: Path, length: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{" + b" " * 100)
    _refused(path, "not a safetensors file")


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}',
        '{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}',
        '{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}',
        '{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999]}',
        '{"dtype":"F32","shape":[1],"data_offsets":[4,0]}',
        '{"dtype":"F32","shape":[' + "2," * 5000 + '1],"data_offsets":[0,4]}',
    ],
)
def test_safetensors_with_absurd_entries(tmp_path: Path, entry: str) -> None:
    header = f'{{"a":{entry}}}'.encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    _refused(path, "not a safetensors file")
