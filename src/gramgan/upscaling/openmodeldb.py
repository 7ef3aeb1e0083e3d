"""An exported generator as a record of OpenModelDB, the community's list of upscaling models.

The fields are those of its `src/lib/schema.ts`; its `npm run validate-db` checks the file, once it is in `data/models`.
"""

import json
import logging
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.files import sha256, write_text
from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBConfig
from gramgan.weights.card import SYNTHESISED_TEXTURE, Card

_PLATFORMS = {"pth": "pytorch", "safetensors": "pytorch", "onnx": "onnx"}
_NUMBERS = {"trainingIterations": "iterations", "trainingBatchSize": "batch_size"}
_ID = re.compile(r"[a-z0-9][a-z0-9-]*")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """What a record says that a card does not.

    Args:
        author: the maker's id in OpenModelDB's list of users.
        urls: where the file can be downloaded.
        tags: what it is for, by OpenModelDB's ids.

    Raises:
        UserError: an id is not of the form that OpenModelDB has, or there is no address.
    """

    author: str
    urls: tuple[str, ...]
    tags: tuple[str, ...] = ("photo",)

    def __post_init__(self) -> None:
        for value in (self.author, *self.tags):
            if not _ID.fullmatch(value):
                raise UserError(f"{value!r}: OpenModelDB's ids are small letters, digits and hyphens: video-frame")
        if not self.urls or not self.tags:
            raise UserError("OpenModelDB wants an address of the file and a tag; give --url and --tag")

    def check(self, form: str, generator: LoadedGenerator) -> None:
        """Whether OpenModelDB lists such files at all.

        Raises:
            UserError: it does not.
        """
        if form not in _PLATFORMS:
            raise UserError(f"OpenModelDB does not list .{form} files; export .{', .'.join(_PLATFORMS)}")
        if isinstance(generator.config, RRDBConfig) and generator.config.upsampler != "nearest":
            raise UserError("OpenModelDB has no architecture with ESRGAN's blocks and sub-pixel upsampling")

    def write(self, file: Path, generator: LoadedGenerator) -> Path:
        """Write the record of an exported file, as `4x-NAME.json` beside it.

        Raises:
            UserError: see `check`; or it cannot be written.
        """
        form = file.suffix.lower().removeprefix(".")
        self.check(form, generator)
        card, config = generator.card, generator.config
        name = _without_scale(card.name, card.scale)
        licence = card.licence if _SPDX.fullmatch(card.licence) and card.licence != "unknown" else None
        if licence is None:
            _log.warning("%s: %r is no SPDX name, so the record says no licence; give --licence", file, card.licence)
        record = {
            "name": name,
            "author": self.author,
            "license": licence,
            "tags": sorted(set(self.tags)),
            "description": _description(card),
            "date": (card.created or datetime.now(UTC)).strftime("%Y-%m-%d"),
            "architecture": "esrgan" if isinstance(config, RRDBConfig) else config.network,
            "size": [f"{config.nf}nf", f"{config.nb}nb"],
            "scale": card.scale,
            "inputChannels": 3,
            "outputChannels": 3,
            "resources": [
                {
                    "platform": _PLATFORMS[form],
                    "type": form,
                    "size": file.stat().st_size,
                    "sha256": sha256(file),
                    "urls": list(self.urls),
                }
            ],
            **_training(card),
            "images": [],
        }
        target = file.with_name(f"{card.scale}x-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')}.json")
        write_text(target, json.dumps(record, indent=4, ensure_ascii=False))
        return target


def _without_scale(name: str, scale: int) -> str:
    """Their names leave out what the record says anyway: `gramgan-x4-lite` → `gramgan-lite`."""
    said = rf"(?:x{scale}|{scale}x)"
    return re.sub(rf"^{said}-|-{said}(?=-|$)", "", name, flags=re.IGNORECASE) or name


def _description(card: Card) -> str:
    lines = [f"Origin: {card.origin}."] if card.origin and not card.origin.endswith((".pth", ".safetensors")) else []
    if card.started_from:
        lines.append(f"Started from: {card.started_from}.")
    if card.consistent:
        lines.append(
            "In Gram-GAN its results are made to shrink to their input exactly; other programs do not do that."
        )
    lines += [note for note in card.notes if note != SYNTHESISED_TEXTURE]
    return "\n\n".join([*lines, SYNTHESISED_TEXTURE]).strip()


def _training(card: Card) -> dict[str, Any]:
    """What the card knows of the training. Numbers begin at 1 there; what is not known is left out."""
    said: dict[str, Any] = {key: card.settings.get(name) for key, name in _NUMBERS.items()}
    if card.trained_on:
        said["dataset"] = "; ".join(f"{each.name} ({each.licence})" for each in card.trained_on)
    counts = [each.count for each in card.trained_on if not each.name.startswith("texture database ")]
    if None not in counts:
        said["datasetSize"] = sum(count or 0 for count in counts)
    return {key: value for key, value in said.items() if value}
