"""The weight files that a run leaves: generator and discriminator, each as safetensors with its card and as .pth."""

import copy
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gramgan import __version__
from gramgan.networks.build import AnyDiscriminator
from gramgan.networks.context import MEASURED_SIDE, measure_overlap
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR, PSNR_GENERATOR
from gramgan.training.own import NOTHING_OWN, OwnParts
from gramgan.training.own_adapters import OwnDiscriminator
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_weights, write_pth, write_safetensors

_MEASURED_ON = 2  # images; each takes three passes of a generator in fp32

_log = logging.getLogger(__name__)


def write_best(
    folder: Path, card: Card, generator: nn.Module, discriminator: nn.Module | None, own: OwnParts = NOTHING_OWN
) -> None:
    """Write `gramgan_G_best` and, where there is one, `gramgan_G_best_D`, in both formats.

    Raises:
        UserError: the disk is full or the folder not writable; earlier files stay.
    """
    card = card.model_copy(update={"gramgan_version": __version__})
    _write(folder / BEST_GENERATOR, card, generator)
    if discriminator is not None:
        if isinstance(discriminator, OwnDiscriminator):
            assert own.discriminator is not None
            architecture: dict[str, Any] = {"network": "own discriminator", "build": own.discriminator.name}
            discriminator = discriminator.network
        else:
            assert isinstance(discriminator, AnyDiscriminator)
            architecture = {"network": "discriminator", **discriminator.config.to_dict()}
        _write(
            folder / BEST_DISCRIMINATOR,
            card.model_copy(
                update={
                    "name": f"{card.name}-discriminator",
                    "architecture": architecture,
                    "scores": {},
                    "psnr_partner": "",
                    "notes": [],
                }
            ),
            discriminator,
        )


def write_psnr(folder: Path, card: Card, generator: nn.Module) -> None:
    """Write `gramgan_G_psnr`, the PSNR-oriented generator that the texture generator beside it is trained from.

    `gramgan upscale --strength` goes from one to the other; the texture generator's card names this file.

    Raises:
        UserError: see `write_best`.
    """
    write_safetensors(folder / f"{PSNR_GENERATOR}.safetensors", generator.state_dict(), card)


def name_overlap(folder: Path, images: Iterable[np.ndarray], device: torch.device, like: nn.Module) -> None:
    """Measure how much context the best generator's tiles need, and write it into the card.

    The overlap of the weights that training began with is never gone below: it was measured on more images.

    Args:
        folder: the run's.
        images: photographs `[3, H, W]` in [0, 1]; the first that are large enough (`context.MEASURED_SIDE`) are used.
            Without one the card stays as it is.
        device: to run the generator on.
        like: a generator of its architecture.

    Raises:
        UserError: see `write_best`.
    """
    path = folder / f"{BEST_GENERATOR}.safetensors"
    large = [image for image in images if min(image.shape[1:]) >= MEASURED_SIDE][:_MEASURED_ON]
    if not large:
        _log.info(
            "overlap of tiles: no validation image has %dx%d pixels; %s keeps what it began with",
            MEASURED_SIDE,
            MEASURED_SIDE,
            path,
        )
        return
    _log.info("measuring the overlap that tiles need, on %d images", len(large))
    weights = read_weights(path)
    card = weights.card
    assert card is not None
    network = copy.deepcopy(like).to(device).eval()
    load_strict(network, weights.state, path)

    @torch.inference_mode()
    def run(tiles: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(np.ascontiguousarray(tiles)).to(device)).cpu().numpy()

    overlap = max(card.overlap if card.started_from else 0, measure_overlap(run, large))
    write_safetensors(path, network.cpu().state_dict(), card.model_copy(update={"overlap": overlap}))
    _log.info("tiles need an overlap of %d pixels", overlap)


def _write(path: Path, card: Card, network: nn.Module) -> None:
    state = network.state_dict()
    write_safetensors(path.with_suffix(".safetensors"), state, card)
    write_pth(path.with_suffix(".pth"), state)
