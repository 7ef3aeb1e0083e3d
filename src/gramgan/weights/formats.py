"""Weight files as state dicts of float32 tensors under one set of names, whatever wrote them.

Read are safetensors, PyTorch's `.pth`/`.pt` (`weights_only=True`: nothing in the file is ever run) and ncnn's
`.param`/`.bin`. The names of ESRGAN's older releases become those of `gramgan.networks.rrdb.RRDBNet`; other networks'
names stay as they are.
"""

import errno
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.errors import UserError, message_of
from gramgan.files import write_bytes
from gramgan.places import as_place
from gramgan.weights.card import Card, card_from_metadata
from gramgan.weights.locate import GRAPH_SUFFIXES, WEIGHT_SUFFIXES
from gramgan.weights.ncnn import read_ncnn
from gramgan.weights.packing import METADATA, is_packed, pack_weights, unpack
from gramgan.weights.pickled import DAMAGED, load_pickled

_WRAPPERS = ("params_ema", "params", "state_dict", "generator")
_SHOWN = 4
_LONGEST_NAME = 150
_MOST_TENSORS = 20_000
_LONGEST_HEADER = 16 * 2**20
_GROWTH = 8  # fp8 becomes fp32 and is shared by two names
_SMALL = 2**20


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds: float32 tensors by name, and the card where it has one."""

    path: Path
    state: dict[str, Tensor]
    card: Card | None


def read_weights(path: Path) -> WeightFile:
    """Read the weight file at `path`; its suffix decides how.

    Wrappers (`params_ema`, `params`, `state_dict`, `generator`) and prefixes (`module.`, `_orig_mod.`) are taken off,
    ESRGAN's old names are translated, half precision becomes float32.

    Raises:
        UserError: the file is missing, damaged, truncated, holds code or anything but tensors, or is of an unknown
            kind.
    """
    path = as_place(path)
    suffix = path.suffix.lower()
    if suffix in GRAPH_SUFFIXES:
        raise UserError(
            f"{path}: a whole network that can be run (gramgan upscale), not weights; give the file it was made from"
        )
    if suffix not in WEIGHT_SUFFIXES:
        raise UserError(f"{path}: not a kind of weight file that is read; give one of {', '.join(WEIGHT_SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    try:
        if suffix == ".safetensors":
            return _read_safetensors(path)
        if suffix in (".param", ".bin"):
            return WeightFile(path, read_ncnn(path), None)
        return WeightFile(path, _normalise(path, _tensors(path, _read_pickle(path))), None)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of the weight file at `path` alone (see `read_weights`)."""
    return read_weights(path).state


def write_safetensors(path: Path, state: Mapping[str, Tensor], card: Card, *, half: bool = False) -> None:
    """Write `state` with its card to `path`, atomically; `half` stores floating-point tensors as fp16.

    Raises:
        UserError: the file cannot be written.
    """
    dtype = torch.float16 if half else None
    tensors = {name: _detached(tensor, dtype) for name, tensor in state.items()}
    write_bytes(as_place(path), safetensors.torch.save(tensors, {"format": "pt", **card.to_metadata()}))


def write_packed(path: Path, state: Mapping[str, Tensor], card: Card) -> None:
    """Write `state` in 8 bits (see `packing`) with its card to `path`, atomically: for files of the package.

    Raises:
        UserError: the file cannot be written.
    """
    tensors = {name: _detached(tensor) for name, tensor in pack_weights(state).items()}
    write_bytes(as_place(path), safetensors.torch.save(tensors, {"format": "pt", **METADATA, **card.to_metadata()}))


def write_pth(path: Path, state: Mapping[str, Tensor], *, half: bool = False) -> None:
    """Write `state` to `path` atomically as the community's programs expect it: `{"params_ema": state}`.

    The names are RRDBNet's, which for the `nearest` variant are ESRGAN's own; under the names of `old_esrgan_names` the
    tensors stand by themselves, as that release had them. The card does not fit into this format. `half` stores
    floating-point tensors as fp16.

    Raises:
        UserError: the file cannot be written.
    """
    buffer = io.BytesIO()
    dtype = torch.float16 if half else None
    tensors = {name: _detached(tensor, dtype) for name, tensor in state.items()}
    torch.save(tensors if "model.0.weight" in tensors else {"params_ema": tensors}, buffer)
    write_bytes(as_place(path), buffer.getvalue())


def load_strict(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Put `state` into `network`: every name and every shape must fit. `source` names the weights in messages.

    A network built on the device `meta` takes the tensors over as they are; any other keeps its device and parameters.

    Raises:
        UserError: names are missing, unexpected, or have other shapes; the first of each kind are listed. Or integers
            stand where the network has fractions.
    """
    own = network.state_dict()
    check_state({name: tuple(tensor.shape) for name, tensor in own.items()}, state, source)
    whole = [name for name in own if own[name].is_floating_point() and not state[name].is_floating_point()]
    if whole:
        raise UserError(
            f"{source}: {len(whole)} weights are integers ({_some(whole)}), as quantised ones are; give fp32, fp16 or "
            "bf16 weights"
        )
    on_meta = any(parameter.is_meta for parameter in network.parameters())
    network.load_state_dict(dict(state), strict=True, assign=on_meta)


def check_state(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor], source: str | Path) -> None:
    """Compare `state` with the expected names and shapes.

    Raises:
        UserError: they differ; one line with the counts and the first names of what is missing, unexpected or mis-
            shaped.
    """
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} is {_shape(state[name].shape)} instead of {_shape(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    problems = [
        f"{len(names)} {kind} ({_some(names)})"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", shapes))
        if names
    ]
    if problems:
        raise UserError(
            f"{source}: the weights do not fit the network: {'; '.join(problems)}; give weights of this architecture"
        )


def load_partial(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> tuple[list[str], list[str]]:
    """Fill `network` with those tensors of `state` whose name and shape fit; the others stay as they are.

    Returns:
        The network's tensors that were filled, and those that were not.

    Raises:
        UserError: none fits. `source` names the weights in the message.
    """
    own = network.state_dict()
    fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
    if not fitting:
        raise UserError(
            f"{source}: none of its {len(state)} tensors fits the network, such as {', '.join(list(state)[:_SHOWN])}; "
            "give weights of a like architecture"
        )
    network.load_state_dict(own | fitting)
    return list(fitting), [name for name in own if name not in fitting]


def _shape(shape: tuple[int, ...] | torch.Size) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _detached(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A contiguous copy on the CPU that shares memory with nothing."""
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", wanted, copy=True, memory_format=torch.contiguous_format)


def _read_safetensors(path: Path) -> WeightFile:
    with path.open("rb") as raw:
        header = int.from_bytes(raw.read(8), "little")
    if header > _LONGEST_HEADER:
        raise UserError(f"{path}: not a safetensors file (a header of {header:,} bytes); get the file again")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata()
            _check_count(path, len(file.keys()))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — not a mapping
    except (safetensors.SafetensorError, *DAMAGED) as error:
        raise UserError(
            f"{path}: truncated or not a safetensors file ({message_of(error, _LONGEST_NAME)}); get the file again"
        ) from None
    card = card_from_metadata(metadata, str(path))
    if is_packed(metadata):
        return WeightFile(path, _normalise(path, unpack(state, str(path)), packed=True), card)
    return WeightFile(path, _normalise(path, state, copy=True), card)


def _read_pickle(path: Path) -> Any:
    try:
        return load_pickled(path)
    except pickle.UnpicklingError as error:
        # torch names what it refused to call; other messages mean that the bytes make no sense to it.
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise UserError(
                f"{path}: holds more than tensors ({found[1]}), which could run code, so it is refused; "
                "give a file with weights alone, best as .safetensors"
            ) from None
        raise _damaged(path) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # torch's zip reader seeks to before the start of a truncated file
            raise _damaged(path) from None
        raise
    except DAMAGED:
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: truncated, or not plain PyTorch weights; get the file again or give another")


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """Take the wrappers off and make sure that what is inside is names and tensors."""
    for _ in _WRAPPERS:
        inner = next((content[key] for key in _WRAPPERS if key in content), None) if isinstance(content, dict) else None
        if not isinstance(inner, dict):
            break
        content = inner
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict, but {type(content).__name__}; give a file with weights")
    other = [str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if other:
        raise UserError(
            f"{path}: {len(other)} of {len(content)} entries are no tensors ({_some(other)}); "
            f"give the weights alone or under one of the keys {', '.join(_WRAPPERS)}"
        )
    _check_count(path, len(content))
    return content


def _check_count(path: Path, count: int) -> None:
    if count > _MOST_TENSORS:
        raise UserError(f"{path}: {count:,} tensors, more than {_MOST_TENSORS:,}; give the weights of a network")


def _check_kinds(path: Path, state: Mapping[str, Tensor]) -> None:
    """Weights are plain numbers, and as many as the file has room for: a view shows one number a billion times."""
    odd = [name for name, tensor in state.items() if not _is_plain(tensor)]
    if odd:
        raise UserError(
            f"{path}: {len(odd)} tensors are sparse, quantised, nested, complex or without values ({_some(odd)}); "
            "give plain fp32, fp16 or bf16 weights"
        )
    room = path.stat().st_size
    needed = sum(tensor.numel() for tensor in state.values()) * torch.float32.itemsize
    if needed > _GROWTH * room + _SMALL:
        raise UserError(f"{path}: {room:,} bytes that claim to be {needed:,} bytes of weights; get the file again")


def _is_plain(tensor: Tensor) -> bool:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    return plain and not (tensor.is_quantized or tensor.is_complex())


def _some(names: list[str]) -> str:
    """The first few of `names`, each cut to a readable length."""
    shown = ", ".join(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in names[:_SHOWN])
    return f"{shown}{', …' if len(names) > _SHOWN else ''}"


def _normalise(
    path: Path, state: Mapping[str, Tensor], *, copy: bool = False, packed: bool = False
) -> dict[str, Tensor]:
    if not packed:  # what was packed is plain and has been counted
        _check_kinds(path, state)
    names = [name.replace("_orig_mod.", "") for name in state]
    while names and all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    try:
        return {new: _float32(tensor, copy) for new, tensor in zip(_esrgan_names(names), state.values(), strict=True)}
    except DAMAGED as error:  # a type that PyTorch knows and cannot convert, such as four bits
        raise UserError(
            f"{path}: cannot become fp32 ({message_of(error, _LONGEST_NAME)}); give fp32, fp16 or bf16 weights"
        ) from None


def _float32(tensor: Tensor, copy: bool) -> Tensor:
    # A tensor of a mapped file is copied: the file may be replaced while the network lives.
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(dtype, copy=copy)


_TRUNK_NAMES = {"trunk_conv": "conv_body", "HRconv": "conv_hr"}


def _esrgan_names(names: list[str]) -> list[str]:
    """Translate the names of ESRGAN's two older releases, told apart by what only they have."""
    if any(name.startswith("RRDB_trunk.") for name in names):
        return [_from_trunk(name) for name in names]
    if any(name.startswith("model.1.sub.") for name in names):
        outside = {int(found[1]) for found in (re.match(r"model\.(\d+)\.(?!sub)", name) for name in names) if found}
        ups = max(0, len(outside) - 3)  # besides the first, the one at full size and the last
        return [_from_sequential(name, _sequential_names(ups)) for name in names]
    return names


def _from_trunk(name: str) -> str:
    block = re.fullmatch(r"RRDB_trunk\.(\d+)\.RDB([123])\.(conv\d\.\w+)", name)
    if block:
        return f"body.{block[1]}.rdb{block[2]}.{block[3]}"
    head, _, tail = name.partition(".")
    return f"{_TRUNK_NAMES.get(head, head).replace('upconv', 'conv_up')}.{tail}"


def _sequential_names(ups: int) -> dict[str, str]:
    """The places that convolutions outside of the blocks had in ESRGAN's first release, with so many steps ×2."""
    steps = {str(3 * number): f"conv_up{number}" for number in range(1, ups + 1)}
    return {"0": "conv_first", **steps, str(3 * ups + 2): "conv_hr", str(3 * ups + 4): "conv_last"}


def _from_sequential(name: str, outside: Mapping[str, str]) -> str:
    block = re.fullmatch(r"model\.1\.sub\.(\d+)\.RDB([123])\.(conv\d)\.0\.(\w+)", name)
    if block:
        return f"body.{block[1]}.rdb{block[2]}.{block[3]}.{block[4]}"
    trunk = re.fullmatch(r"model\.1\.sub\.\d+\.(weight|bias)", name)
    if trunk:
        return f"conv_body.{trunk[1]}"
    single = re.fullmatch(r"model\.(\d+)\.(weight|bias)", name)
    return f"{outside[single[1]]}.{single[2]}" if single and single[1] in outside else name


def old_esrgan_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` of a `nearest` RRDBNet under the names of ESRGAN's first release (`model.1.sub.0.RDB1.conv1.0.…`)."""
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("body."))
    ups = sum(bool(re.fullmatch(r"conv_up\d\.weight", name)) for name in state)
    outside = {name: number for number, name in _sequential_names(ups).items()} | {"conv_body": f"1.sub.{blocks}"}

    def old(name: str) -> str:
        conv, _, kind = name.rpartition(".")
        if conv in outside:
            return f"model.{outside[conv]}.{kind}"
        _, block, dense, last = conv.split(".")
        return f"model.1.sub.{block}.{dense.upper()}.{last}.0.{kind}"

    return {old(name): tensor for name, tensor in state.items()}


COMMON_GROWTH = 32
"""Growth channels of a dense block in all of ESRGAN's generators; other programs take no others."""


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` of an RRDBNet with `COMMON_GROWTH` growth channels: the new ones are 0 and add nothing.

    Networks that have as many, or more, stay as they are.
    """
    gc = state["body.0.rdb1.conv1.weight"].shape[0]
    if gc >= COMMON_GROWTH:
        return dict(state)
    nf = state["conv_body.weight"].shape[0]

    def wide(name: str, tensor: Tensor) -> Tensor:
        found = re.fullmatch(r"body\.\d+\.rdb\d\.conv(\d)\.(weight|bias)", name)
        if not found:
            return tensor
        number = int(found[1])
        outputs = COMMON_GROWTH if number < 5 else nf
        if found[2] == "bias":
            return F.pad(tensor, (0, outputs - len(tensor)))
        made = tensor.new_zeros(outputs, nf + (number - 1) * COMMON_GROWTH, *tensor.shape[2:])
        made[: len(tensor), :nf] = tensor[:, :nf]
        for earlier in range(number - 1):
            old, new = nf + earlier * gc, nf + earlier * COMMON_GROWTH
            made[: len(tensor), new : new + gc] = tensor[:, old : old + gc]
        return made

    return {name: wide(name, tensor) for name, tensor in state.items()}
