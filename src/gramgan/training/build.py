"""The one place that puts the parts of a training run together."""

import logging
from dataclasses import dataclass
from typing import cast

import torch

from gramgan.config import Config
from gramgan.data.choice import Way, open_source, usual_workers
from gramgan.data.source import CropSource, Demand
from gramgan.degradation import Degradation
from gramgan.degradation import build as build_degradation
from gramgan.errors import UserError
from gramgan.hardware.device import resolve_device
from gramgan.hardware.probe import probe_training
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import load_trunk
from gramgan.progress import Progress, silent
from gramgan.texture.candidates import LocalSource, NearerSource, TargetSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.assemble import (
    Assembled,
    Networks,
    assemble,
    generator_config,
    new_discriminator,
    uses_trunk,
)
from gramgan.training.cards import card_of, psnr_card
from gramgan.training.databases import settled_entry, targets_from
from gramgan.training.images import images_of, settled_way
from gramgan.training.processes import Processes
from gramgan.training.validation import Validator
from gramgan.training.weights import PSNR_GENERATOR
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts(Assembled):
    """Everything that a training loop moves: the step with its networks, data, and the random generators behind it.

    `card` is the texture generator's; `psnr_card` that of the PSNR-oriented one it is trained from, where there is one.
    """

    source: CropSource
    degradation: Degradation
    validator: Validator
    texture_random: torch.Generator
    card: Card
    psnr_card: Card | None


def resolve(config: Config) -> Config:
    """Settle what `auto` and "newest" stand for on this machine, so that resuming re-decides nothing.

    Raises:
        UserError: a device that is not there, no texture database where one is needed, or no images.
    """
    train, texture = config.train, config.texture
    device = resolve_device(train.device)
    precision, memory_format = train.precision, train.memory_format
    if "auto" in (precision, memory_format):
        verdict = probe_training(device)
        log.info(
            "this machine trains in %s%s (%.1f times as fast as plain fp32 in the probe)",
            verdict.precision,
            ", channels last" if verdict.channels_last else "",
            verdict.speedup,
        )
        precision = verdict.precision if precision == "auto" else precision
        if memory_format == "auto":
            memory_format = "channels_last" if verdict.channels_last else "contiguous"
    if config.uses_database:
        settled = tuple(settled_entry(entry, texture) for entry in texture.databases)
        texture = texture.model_copy(update={"databases": settled})
    resolved = {"device": device, "precision": precision, "memory_format": memory_format}
    data = config.data.model_copy(update={"source": settled_way(config, device, train.devices)})
    return config.model_copy(update={"train": train.model_copy(update=resolved), "texture": texture, "data": data})


def build(config: Config, progress: Progress = silent, processes: Processes | None = None) -> Parts:
    """Build all parts from resolved settings (see `resolve`), in each of several processes.

    Raises:
        UserError: photographs, weights or the database are missing or do not fit.
    """
    torch.manual_seed(config.train.seed)
    processes = processes or Processes(torch.device(config.train.device))
    networks, start_card, teacher_card = _networks(config)
    images = images_of(config, progress)
    texture_random = torch.Generator().manual_seed(config.train.seed + 1)
    assembled = assemble(config, networks, _targets(config, texture_random, processes), processes)
    demand = Demand(
        crop=config.data.crop,
        batch=config.train.batch_size * config.train.accumulate,
        seed=config.train.seed,
        augment=config.data.augment,
        device=assembled.fabric.device,
        share=processes.share,
    )
    source = open_source(
        cast(Way, config.data.source),
        images.training,
        demand,
        workers=config.data.workers or usual_workers(config.train.devices),
        progress=progress,
    )
    degradation = build_degradation(config.data.degradation)
    card = card_of(config, start_card, teacher_card, source.items)
    partner = psnr_card(config, start_card, card)
    if partner is not None:
        card = card.model_copy(update={"psnr_partner": f"{PSNR_GENERATOR}.safetensors"})
    return Parts(
        **vars(assembled),
        source=source,
        degradation=degradation,
        validator=Validator(
            images.validation,
            images=config.log.validation_images,
            crop=config.log.validation_crop,
            degradation=degradation,
            consistent=config.generator.consistent,
            device=assembled.fabric.device,
            autocast=assembled.fabric.autocast,
        ),
        texture_random=texture_random,
        card=card,
        psnr_card=partner,
    )


def _networks(config: Config) -> tuple[Networks, Card | None, Card | None]:
    """The networks that settings ask for, from their files or new; the cards of the start and of the teacher."""
    generator, start_card = _generator(config)
    discriminator = new_discriminator(config)
    if discriminator is not None and config.discriminator.start is not None:
        load_strict(discriminator, read_weights(config.discriminator.start).state, config.discriminator.start)
    trunk = load_trunk(config.losses.trunk, config.losses.layers) if uses_trunk(config) else None
    teacher = load_generator(config.generator.teacher) if config.generator.teacher is not None else None
    networks = Networks(generator, discriminator, trunk, teacher and teacher.network)
    return networks, start_card, teacher and teacher.card


def _generator(config: Config) -> tuple[RRDBNet, Card | None]:
    wanted = generator_config(config)
    if config.generator.start is None:
        network = RRDBNet(wanted)
        if config.generator.from_nearest:
            network.start_as_nearest()
        return network, None
    start = load_generator(config.generator.start)
    if start.config != wanted:
        raise UserError(
            f"generator.start: {config.generator.start} is an RRDBNet with {_described(start.config)}, the settings "
            f"ask for {_described(wanted)}; set generator.nf, nb, gc and upsampler to those of the file"
        )
    return start.network.train(), start.card


def _described(config: RRDBConfig) -> str:
    return f"nf={config.nf} nb={config.nb} gc={config.gc} upsampler={config.upsampler}"


def _targets(config: Config, random: torch.Generator, processes: Processes) -> TargetSource | None:
    texture, share = config.texture, processes.share
    if not (config.stages.adversarial and config.losses.texture):
        return None
    if texture.candidates == "local":
        if texture.databases:
            log.warning(
                "texture.database is not used: texture.candidates=local stays within each photograph; both uses it"
            )
        return LocalSource(Descriptor.default(texture.descriptor, texture.k), random, texture.warp, share)
    source = targets_from(texture, random, processes)
    if texture.candidates == "database":
        return source
    return NearerSource(source, LocalSource(source.descriptor, random, texture.warp, share))
