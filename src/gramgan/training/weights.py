"""The weight files that a run leaves: generator and discriminator, each as safetensors with its card and as .pth."""

from pathlib import Path

from torch import nn

from gramgan import __version__
from gramgan.networks.discriminator import Discriminator
from gramgan.weights.card import Card
from gramgan.weights.formats import write_pth, write_safetensors

BEST_GENERATOR = "gramgan_G_best"
BEST_DISCRIMINATOR = "gramgan_G_best_D"


def write_best(folder: Path, card: Card, generator: nn.Module, discriminator: Discriminator | None) -> None:
    """Write `gramgan_G_best` and, where there is one, `gramgan_G_best_D`, in both formats.

    Raises:
        UserError: the disk is full or the folder not writable; earlier files stay.
    """
    card = card.model_copy(update={"gramgan_version": __version__})
    _write(folder / BEST_GENERATOR, card, generator)
    if discriminator is not None:
        architecture = {"network": "discriminator", **discriminator.config.to_dict()}
        _write(
            folder / BEST_DISCRIMINATOR,
            card.model_copy(
                update={"name": f"{card.name}-discriminator", "architecture": architecture, "scores": {}, "notes": []}
            ),
            discriminator,
        )


def _write(path: Path, card: Card, network: nn.Module) -> None:
    state = network.state_dict()
    write_safetensors(path.with_suffix(".safetensors"), state, card)
    write_pth(path.with_suffix(".pth"), state)
