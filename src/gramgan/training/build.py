"""The one place that puts the parts of a training run together."""

import logging
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from gramgan.config import Config
from gramgan.data.choice import Way, open_source, usual_workers
from gramgan.data.source import Demand, Source
from gramgan.degradation import Degradation
from gramgan.degradation import build as build_degradation
from gramgan.errors import UserError
from gramgan.hardware.device import resolve_device
from gramgan.hardware.probe import probe_training
from gramgan.networks.build import build_discriminator, load_generator
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import load_trunk
from gramgan.networks.unet_discriminator import UNetDiscriminator
from gramgan.progress import Progress, silent
from gramgan.texture.candidates import LocalSource, NearerSource, TargetSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.cards import card_of, psnr_card
from gramgan.training.compiling import compile_networks
from gramgan.training.databases import settled_entry, targets_from
from gramgan.training.ema import averaged
from gramgan.training.images import images_of, settled_way
from gramgan.training.optimizer import PRECISION_FLAG, build_optimizer
from gramgan.training.processes import Processes
from gramgan.training.step import TrainingStep
from gramgan.training.teacher import Teacher
from gramgan.training.validation import Validator
from gramgan.training.weights import PSNR_GENERATOR
from gramgan.weights.card import Card
from gramgan.weights.formats import load_strict, read_weights

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """Everything that a training loop moves: networks, optimisers, data, and the random generators behind it.

    `card` is the texture generator's; `psnr_card` that of the PSNR-oriented one it is trained from, where there is one.
    """

    fabric: Fabric
    processes: Processes
    step: TrainingStep
    generator: RRDBNet
    ema: AveragedModel
    generator_optimizer: torch.optim.Optimizer
    discriminator: Discriminator | UNetDiscriminator | None
    discriminator_optimizer: torch.optim.Optimizer | None
    source: Source
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
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision on the terminal
    torch.manual_seed(config.train.seed)
    processes = processes or Processes(torch.device(config.train.device))
    index = processes.device.index
    fabric = Fabric(
        accelerator=processes.device.type,
        devices=1 if index is None else [index],
        precision=PRECISION_FLAG[config.train.precision],  # pyright: ignore[reportArgumentType]
    )
    memory_format = torch.channels_last if config.train.memory_format == "channels_last" else torch.contiguous_format

    generator, start_card = _generator(config)
    discriminator = _discriminator(config)
    trunk = (
        load_trunk(config.losses.trunk, config.losses.layers)
        if config.stages.adversarial and config.losses.perceptual
        else None
    )
    if trunk is not None and config.train.precision == "bf16":
        trunk.to(torch.bfloat16)  # once: autocast would cast the frozen weights again in every step
    for network in (generator, discriminator, trunk):
        if network is not None:
            network.to(fabric.device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    teacher, teacher_card = _teacher(config, fabric.device, memory_format)
    generator.checkpointing = config.train.activation_checkpointing
    for network in (generator, discriminator):
        if network is not None:
            processes.equalise(network.state_dict().values())
    ema = averaged(generator, config.train.ema_decay)
    if config.train.compile:
        compile_networks(generator, trunk, fabric.device)

    generator_optimizer = build_optimizer(generator, config.schedule.rate)
    g_wrapped, g_optimizer = fabric.setup(generator, generator_optimizer)
    discriminator_optimizer = None
    if discriminator is not None:
        discriminator_optimizer = build_optimizer(discriminator, config.schedule.rate_discriminator)

    images = images_of(config, progress)
    texture_random = torch.Generator().manual_seed(config.train.seed + 1)
    demand = Demand(
        crop=config.data.crop,
        batch=config.train.batch_size * config.train.accumulate,
        seed=config.train.seed,
        augment=config.data.augment,
        device=fabric.device,
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
        fabric=fabric,
        processes=processes,
        step=TrainingStep(
            fabric,
            config,
            g_wrapped,
            g_optimizer,
            discriminator,
            discriminator_optimizer,
            trunk,
            _targets(config, texture_random, processes),
            processes,
            teacher,
            ema.module,
        ),
        generator=generator,
        ema=ema,
        generator_optimizer=generator_optimizer,
        discriminator=discriminator,
        discriminator_optimizer=discriminator_optimizer,
        source=source,
        degradation=degradation,
        validator=Validator(
            images.validation,
            images=config.log.validation_images,
            crop=config.log.validation_crop,
            degradation=degradation,
            consistent=config.generator.consistent,
            device=fabric.device,
            autocast=fabric.autocast,
        ),
        texture_random=texture_random,
        card=card,
        psnr_card=partner,
    )


def _generator(config: Config) -> tuple[RRDBNet, Card | None]:
    wanted = RRDBConfig(config.generator.nf, config.generator.nb, config.generator.gc, config.generator.upsampler)
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


def _teacher(
    config: Config, device: torch.device, memory_format: torch.memory_format
) -> tuple[Teacher | None, Card | None]:
    if config.generator.teacher is None:
        return None, None
    loaded = load_generator(config.generator.teacher)
    network = loaded.network.to(device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    return Teacher(network, consistent=config.data.degradation == "bicubic"), loaded.card


def _described(config: RRDBConfig) -> str:
    return f"nf={config.nf} nb={config.nb} gc={config.gc} upsampler={config.upsampler}"


def _discriminator(config: Config) -> Discriminator | UNetDiscriminator | None:
    if not config.uses_discriminator:
        return None
    settings = config.discriminator
    network = build_discriminator(DiscriminatorConfig(settings.spectral_norm, settings.width, settings.kind))
    if config.discriminator.start is not None:
        load_strict(network, read_weights(config.discriminator.start).state, config.discriminator.start)
    return network


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
