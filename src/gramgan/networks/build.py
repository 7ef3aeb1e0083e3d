"""Networks out of weight files and settings: the one place that knows the architectures by name."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gramgan.arguments import checked, expect
from gramgan.errors import UserError, message_of
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet, Upsampler
from gramgan.networks.semantic_discriminator import SemanticDiscriminator
from gramgan.networks.span import SPAN, SPANConfig, infer_span, is_span, without_training_branches
from gramgan.networks.unet_discriminator import UNetDiscriminator
from gramgan.places import as_place
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_weights
from gramgan.weights.locate import HINT, locate_generator

_NEEDED = ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_hr.weight")
_TENSORS_PER_BLOCK = 30

Architecture = RRDBConfig | SPANConfig
Generator = RRDBNet | SPAN
AnyDiscriminator = Discriminator | UNetDiscriminator | SemanticDiscriminator


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready to run: network in evaluation mode, its architecture, and the card of its weights."""

    network: Generator
    config: Architecture
    card: Card


@checked
def load_generator(spec: str | Path, device: str | torch.device = "cpu") -> LoadedGenerator:
    """Build the generator of known weights (a name of `gramgan weights list`) or of a weight file.

    A name of the table wins over a file of the same name; write `./NAME` for the file. The architecture is read from
    the tensors' shapes and must agree with the card, where the file has one.

    Args:
        spec: name, or path of a `.safetensors`, `.pth`, `.pt`, `.param` or `.bin` file.
        device: where the network is to live.

    Raises:
        UserError: there is no such name or file, the known weights are not in the cache yet (the message says the
            command that brings them), the weights are damaged, incomplete or of another architecture, or there is no
            such device.
    """
    located = locate_generator(spec)
    path, known = located.path, located.known
    weights = read_weights(path)
    if weights.card is not None and weights.card.architecture["network"] == "own":
        raise UserError(
            f"{path}: a generator of its maker's own ({weights.card.architecture.get('build')}); in Python, fill that "
            "one with gramgan.load_own_generator(path, network)"
        )
    state = _deployed(weights.state, path)
    config = infer_architecture(state, path)
    described = known.card if known is not None else partial(_plain_card, path)
    card = weights.card or described(card_values(config))
    _check_card(card, config, path)
    with torch.device("meta"):
        network = build_generator(config)
    load_strict(network, state, path)
    try:
        network = network.eval().to(device)
    except (AssertionError, RuntimeError) as error:  # whatever torch lacks for it
        raise UserError(f"device {str(device)!r}: {message_of(error)}; use cpu, or another one") from None
    return LoadedGenerator(network, config, card)


@dataclass(frozen=True)
class OwnGenerator:
    """A generator of a user's own, ready to run: network in evaluation mode, and the card of its weights."""

    network: nn.Module
    card: Card


@checked
def load_own_generator(path: str | Path, network: nn.Module | Callable[[], nn.Module]) -> OwnGenerator:
    """Fill a generator of your own with the weights that a training left (`gramgan_G_best.safetensors`).

    Args:
        path: the file.
        network: the module, or what makes it, as it was given to `gramgan.train`.

    Raises:
        UserError: the file is missing or damaged, has no card, or its tensors are not the network's.
    """
    weights = read_weights(as_place(path))
    if weights.card is None:
        raise UserError(f"{path}: has no card that says its scale; give the .safetensors file that the training left")
    made = network if isinstance(network, nn.Module) else network()
    expect("network", made, nn.Module)
    load_strict(made, weights.state, path)
    return OwnGenerator(made.eval(), weights.card)


def build_generator(config: Architecture) -> Generator:
    """A new generator with random weights."""
    return SPAN(config) if isinstance(config, SPANConfig) else RRDBNet(config)


def card_values(config: Architecture) -> dict[str, int | str]:
    """What cards say of an architecture."""
    return {"network": config.network, **config.to_dict()}


def build_discriminator(config: DiscriminatorConfig) -> AnyDiscriminator:
    """A new discriminator of the kind that `config` names."""
    kinds = {"classifier": Discriminator, "unet": UNetDiscriminator, "semantic": SemanticDiscriminator}
    return kinds[config.kind](config)


def is_own(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors have the names of one of our generators."""
    return is_span(state) or all(name in state for name in _NEEDED)


def infer_architecture(state: Mapping[str, Tensor], source: str | Path = "weights") -> Architecture:
    """Read the architecture of a generator from its tensors; `source` names it in messages.

    Raises:
        UserError: the tensors are those of no generator of ours.
    """
    if not is_span(state):
        return infer_rrdb(state, source)
    try:
        return infer_span(state)
    except ValueError as error:
        raise UserError(f"{source}: {error}; {HINT}") from None


def _deployed(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    if not is_span(state):
        return state
    try:
        return without_training_branches(state)
    except (KeyError, IndexError, RuntimeError) as error:
        said = message_of(error, 120)
        raise UserError(f"{path}: a SPAN whose layers are incomplete ({said}); get the file again") from None


def infer_rrdb(state: Mapping[str, Tensor], source: str | Path = "weights") -> RRDBConfig:
    """Read the architecture of an `RRDBNet` from the shapes of its state dict; `source` names it in messages.

    Only what decides the architecture is looked at; whether all the rest is there, `load_strict` says.

    Raises:
        UserError: the tensors are those of another network.
    """
    missing = [name for name in _NEEDED if name not in state or state[name].ndim != 4]
    if missing:
        raise UserError(
            f"{source}: not an RRDBNet generator: {', '.join(missing)} missing, it has {len(state)} others such as "
            f"{', '.join(list(state)[:3]) or 'none'}; {HINT}"
        )
    first, growth = (state[name] for name in _NEEDED[:2])
    nf, gc, unshuffle = first.shape[0], growth.shape[0], math.isqrt(first.shape[1] // 3)
    if first.shape[1] != 3 * unshuffle**2 or min(unshuffle, nf, gc) < 1:
        raise UserError(
            f"{source}: takes {first.shape[1]} channels, neither RGB nor RGB in blocks of 2×2 or 4×4; {HINT}"
        )
    ups = sorted({name.partition(".")[0] for name in state if name.startswith("conv_up")})
    enlarged = 3 if "conv_up_x3" in ups else 2 ** len(ups)
    channels = next((state[f"{name}.weight"].shape[0] for name in ups if f"{name}.weight" in state), nf)
    step = 3 if enlarged == 3 else 2
    upsamplers: dict[int, Upsampler] = {step**2 * nf: "pixelshuffle", nf: "nearest"}
    upsampler = upsamplers.get(channels)
    if upsampler is None:
        raise UserError(f"{source}: conv_up1 has {channels} channels, neither {nf} nor {step**2 * nf}; {HINT}")
    blocks = {match[1] for match in (re.match(r"body\.(\d+)\.", name) for name in state) if match}
    if len(blocks) * _TENSORS_PER_BLOCK > len(state):  # said before so many are built
        raise UserError(f"{source}: {len(blocks):,} blocks, but {len(state):,} tensors in all; {HINT}")
    try:
        return RRDBConfig(nf, len(blocks), gc, upsampler, enlarged // unshuffle, unshuffle)
    except ValueError as error:
        raise UserError(f"{source}: {error}; {HINT}") from None


def _plain_card(path: Path, architecture: dict[str, int | str]) -> Card:
    return Card(
        name=path.stem,
        architecture=dict(architecture),
        licence="unknown",
        origin=str(path),
        notes=["The file has no card: data, licence and overlap are not known."],
    )


def _check_card(card: Card, config: Architecture, path: Path) -> None:
    if card.architecture["network"] != config.network:
        raise UserError(
            f"{path}: its card says {card.architecture['network']!r} and its tensors are those of {config.network!r}; "
            f"{HINT}"
        )
    for key, value in config.to_dict().items():
        if card.architecture.get(key, value) != value:
            raise UserError(
                f"{path}: its card says {key}={card.architecture[key]} and its tensors say {value}; get the file again"
            )
