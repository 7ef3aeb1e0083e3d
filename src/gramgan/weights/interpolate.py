"""Network interpolation: one generator between a PSNR-oriented and a texture generator (ESRGAN, ECCVW 2018, eq. 4)."""

import logging
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.errors import UserError
from gramgan.places import as_place
from gramgan.weights.card import card_from_metadata
from gramgan.weights.catalog import KNOWN

RELATED = 0.8
"""Cosine similarity of all parameters from which two networks count as trained from one another.

Measured: two published ESRGAN-class generators that were trained apart (Real-ESRGAN, RealSR) have 0.37, and half-way
between them are wrong colours and blur; generators that were trained from one another stay near 1.
"""

_log = logging.getLogger(__name__)


def check_strength(strength: float) -> float:
    """`strength` itself if it can be used.

    Raises:
        UserError: it is outside of [0, 1] or not a number.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"strength: {strength} is outside of 0 to 1; 0 is the PSNR-oriented generator, 1 all texture")
    return strength


def interpolate(
    psnr: Mapping[str, Tensor], texture: Mapping[str, Tensor], strength: float, names: tuple[str, str]
) -> dict[str, Tensor]:
    """The parameters (1 - strength) · psnr + strength · texture.

    Makes sense for networks of which one was trained from the other; a warning says so where they are not (`RELATED`).

    Args:
        psnr: state dict of the PSNR-oriented generator.
        texture: state dict of the texture generator.
        strength: 0 (all PSNR) to 1 (all texture).
        names: of the two, for messages.

    Returns:
        A new state dict in the order of `texture`.

    Raises:
        UserError: `strength` is outside of [0, 1], or the two have different architectures.
    """
    check_strength(strength)
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in (psnr, texture)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{names[0]}: its network is another than that of {names[1]}, nothing lies between them; "
            "give PSNR-oriented weights of the same architecture"
        )
    if 0 < strength < 1:
        likeness = similarity(psnr, texture)
        if likeness < RELATED:
            _log.warning(
                "%s and %s were not trained from one another (similarity %.2f): what lies between them "
                "may have wrong colours and blur",
                *names,
                likeness,
            )
    return {name: torch.lerp(psnr[name].float(), tensor.float(), strength) for name, tensor in texture.items()}


def similarity(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Cosine similarity of all parameters of two state dicts of the same shapes, in [-1, 1]."""
    first = torch.cat([one[name].double().flatten() for name in one])  # 17 million terms: too many for float32
    second = torch.cat([other[name].double().flatten() for name in one])
    return float(F.cosine_similarity(first, second, dim=0))


def find_partner(spec: str | Path) -> str | Path:
    """The PSNR-oriented generator that the weights `spec` were trained from: known weights, or a file.

    The table of known weights says it, or the card in the file.

    Args:
        spec: a name of `gramgan weights list` or a weight file.

    Raises:
        UserError: the card names none, there is no card, or the file that it names is not beside the weights.
    """
    path, known, partner = as_place(spec), KNOWN.get(str(spec)), ""
    if known is not None:
        partner = known.psnr_partner
    elif path.suffix.lower() == ".safetensors" and path.is_file():
        try:
            with safetensors.safe_open(path, framework="np") as file:
                card = card_from_metadata(file.metadata(), str(path))
        except safetensors.SafetensorError:
            raise UserError(f"{path}: truncated or not a safetensors file; get the file again") from None
        partner = card.psnr_partner if card is not None else ""
    if not partner:
        raise UserError(
            f"{spec}: these weights name no PSNR-oriented generator that they were trained from; give one with "
            "--psnr-model, or leave --strength out"
        )
    if partner in KNOWN:
        return partner
    beside = path.parent / partner
    if not beside.is_file():
        raise UserError(f"{spec}: the PSNR-oriented {beside} is not there; put it there or name one with --psnr-model")
    return beside
