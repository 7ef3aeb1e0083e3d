"""Networks out of weight files and settings: the one place that knows the architectures by name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.unet_discriminator import UNetDiscriminator
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_weights
from gramgan.weights.locate import HINT, locate_generator

_NEEDED = ("conv_first.weight", "body.0.rdb1.conv1.weight", "conv_up1.weight")


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator ready to run: network in evaluation mode, its architecture, and the card of its weights."""

    network: RRDBNet
    config: RRDBConfig
    card: Card


def load_generator(spec: str | Path, device: str | torch.device = "cpu") -> LoadedGenerator:
    """Build the generator of known weights (a name of `gramgan weights list`) or of a weight file.

    A name of the table wins over a file of the same name; write `./NAME` for the file. The architecture is read from
    the tensors' shapes and must agree with the card, where the file has one.

    Args:
        spec: name, or path of a `.safetensors`, `.pth`, `.pt`, `.param` or `.bin` file.
        device: where the network is to live.

    Raises:
        UserError: there is no such name or file, the known weights are not in the cache yet (the message says the
            command
            that brings them), or the weights are damaged, incomplete or of another architecture.
    """
    located = locate_generator(spec)
    path, known = located.path, located.known
    weights = read_weights(path)
    config = infer_rrdb(weights.state, path)
    described = known.card if known is not None else partial(_plain_card, path)
    card = weights.card or described(config.to_dict())
    _check_card(card, config, path)
    with torch.device("meta"):
        network = RRDBNet(config)
    load_strict(network, weights.state, path)
    return LoadedGenerator(network.eval().to(device), config, card)


def build_discriminator(config: DiscriminatorConfig) -> Discriminator | UNetDiscriminator:
    """A new discriminator of the kind that `config` names."""
    return UNetDiscriminator(config) if config.kind == "unet" else Discriminator(config)


def infer_rrdb(state: Mapping[str, Tensor], source: str | Path = "weights") -> RRDBConfig:
    """Read the architecture of an `RRDBNet` from the shapes of its state dict; `source` names it in messages.

    Only what decides the architecture is looked at; whether all the rest is there, `load_strict` says.

    Raises:
        UserError: the tensors are those of another network, or of an RRDBNet for another scale.
    """
    missing = [name for name in _NEEDED if name not in state or state[name].ndim != 4]
    if missing:
        raise UserError(
            f"{source}: not an RRDBNet generator: {', '.join(missing)} missing, it has {len(state)} others such as "
            f"{', '.join(list(state)[:3]) or 'none'}; {HINT}"
        )
    first, growth, up = (state[name] for name in _NEEDED)
    nf, gc = first.shape[0], growth.shape[0]
    if first.shape[1] != 3:
        raise UserError(
            f"{source}: takes {first.shape[1]} channels instead of RGB, as generators for ×1 and ×2 do; {HINT}"
        )
    upsamplers: dict[int, Literal["pixelshuffle", "nearest"]] = {4 * nf: "pixelshuffle", nf: "nearest"}
    upsampler = upsamplers.get(up.shape[0])
    if upsampler is None or nf < 1 or gc < 1:
        raise UserError(f"{source}: conv_up1 has {up.shape[0]} channels, neither {nf} nor {4 * nf}; {HINT}")
    blocks = {match[1] for match in (re.match(r"body\.(\d+)\.", name) for name in state) if match}
    return RRDBConfig(nf=nf, nb=len(blocks), gc=gc, upsampler=upsampler)


def _plain_card(path: Path, architecture: dict[str, int | str]) -> Card:
    return Card(
        name=path.stem,
        architecture={"network": "rrdb", **architecture},
        licence="unknown",
        origin=str(path),
        notes=["The file has no card: data, licence and overlap are not known."],
    )


def _check_card(card: Card, config: RRDBConfig, path: Path) -> None:
    if card.architecture["network"] != "rrdb":
        raise UserError(f"{path}: its card says {card.architecture['network']!r}, not a generator; {HINT}")
    for key, value in config.to_dict().items():
        if card.architecture.get(key, value) != value:
            raise UserError(
                f"{path}: its card says {key}={card.architecture[key]} and its tensors say {value}; get the file again"
            )
