"""The one place where networks become a training step: for `train`, the fit into memory, and benchmarks."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from gramgan.config import Config
from gramgan.metrics.dists import Dists
from gramgan.metrics.lpips import Lpips
from gramgan.networks.build import AnyDiscriminator, Architecture, build_discriminator, build_generator
from gramgan.networks.discriminator import DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.span import SPAN, SPANConfig
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.texture.candidates import TargetSource
from gramgan.training.compiling import compile_networks
from gramgan.training.ema import averaged
from gramgan.training.objective import Distance, Guides, NamedLoss, Objective
from gramgan.training.optimizer import PRECISION_FLAG, build_optimizer, freeze
from gramgan.training.processes import Processes
from gramgan.training.step import TrainingStep
from gramgan.training.teacher import Teacher


@dataclass(frozen=True)
class Networks:
    """The networks of a training; None where its settings ask for none. `teacher` and `decoder` map LR to SR."""

    generator: nn.Module
    discriminator: nn.Module | None = None
    trunk: PerceptualTrunk | None = None
    teacher: nn.Module | None = None
    decoder: nn.Module | None = None
    distances: Mapping[str, Distance] = field(default_factory=dict)


@dataclass(frozen=True)
class Assembled:
    """Networks on their device, with optimisers and running average, and the step that moves them."""

    fabric: Fabric
    processes: Processes
    step: TrainingStep
    generator: nn.Module
    ema: AveragedModel
    generator_optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None
    discriminator_optimizer: torch.optim.Optimizer | None


def generator_config(config: Config) -> Architecture:
    """The generator that settings ask for."""
    shape = config.generator
    if shape.network == "span":
        return SPANConfig(shape.nf, shape.nb, shape.scale)
    return RRDBConfig.usual(shape.nf, shape.nb, shape.gc, shape.upsampler, shape.scale)


def new_networks(config: Config) -> Networks:
    """New networks with random weights: a step with them costs what one with trained weights costs.

    Teacher and decoder have the generator's architecture, as a teacher has that is the start, and a decoder that is the
    PSNR-oriented generator.
    """
    trunk = PerceptualTrunk(config.losses.trunk, config.losses.layers) if uses_trunk(config) else None
    return Networks(
        build_generator(generator_config(config)),
        new_discriminator(config, trunk),
        trunk,
        build_generator(generator_config(config)) if config.generator.teacher is not None else None,
        build_generator(generator_config(config)) if config.generator.decoder is not None else None,
        distances_of(config, {"dists": Dists, "lpips": lambda: Lpips("vgg")}),
    )


def new_discriminator(config: Config, trunk: PerceptualTrunk | None) -> AnyDiscriminator | None:
    """The discriminator that settings ask for, with random weights; None if no stage needs one.

    `trunk`: what a semantic one looks at.
    """
    if not config.uses_discriminator:
        return None
    settings = config.discriminator
    channels = trunk.channels if trunk is not None and settings.kind == "semantic" else 0
    return build_discriminator(DiscriminatorConfig(settings.spectral_norm, settings.width, settings.kind, channels))


def uses_trunk(config: Config) -> bool:
    """Whether a stage has a loss of feature maps, or a discriminator that looks at them."""
    if config.uses_discriminator and config.discriminator.kind == "semantic":
        return True
    return config.stages.adversarial > 0 and config.losses.looks_through_trunk


def distances_of(config: Config, makers: Mapping[str, Callable[[], Distance]]) -> dict[str, Distance]:
    """The learned distances that a stage has as losses, by the losses' names; each is made by its maker."""
    if not config.stages.adversarial:
        return {}
    return {name: make() for name, make in makers.items() if config.losses.weights[name]}


def assemble(
    config: Config,
    networks: Networks,
    targets: TargetSource | None = None,
    processes: Processes | None = None,
    own_losses: Mapping[str, NamedLoss] | None = None,
    own_weights: Mapping[str, float] | None = None,
) -> Assembled:
    """Put a step together: precision, memory format, average, optimisers.

    Args:
        config: resolved settings (`train.device`, `train.precision` and `train.memory_format` are not `auto`).
        networks: what takes part; they are moved to the device, and the trunk is cast where the run is in bf16.
        targets: where texture targets come from; None if L_PT takes no part.
        processes: those that train together; None: this one, alone on `train.device`.
        own_losses: losses of users' own, by name.
        own_weights: their weights.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision on the terminal
    processes = processes or Processes(torch.device(config.train.device))
    index = processes.device.index
    fabric = Fabric(
        accelerator=processes.device.type,
        devices=1 if index is None else [index],
        precision=PRECISION_FLAG[config.train.precision],  # pyright: ignore[reportArgumentType]
    )
    memory_format = torch.channels_last if config.train.memory_format == "channels_last" else torch.contiguous_format
    generator, discriminator, trunk = networks.generator, networks.discriminator, networks.trunk
    if trunk is not None and config.train.precision == "bf16":
        trunk.to(torch.bfloat16)  # once: autocast would cast the frozen weights again in every step
    for network in (generator, discriminator, trunk, networks.teacher, networks.decoder, *networks.distances.values()):
        if network is not None:
            network.to(fabric.device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    teacher = networks.teacher and Teacher(networks.teacher, consistent=config.data.degradation == "bicubic")
    decoder = networks.decoder and networks.decoder.eval().requires_grad_(False)
    for network in (generator, decoder):
        if isinstance(network, RRDBNet):
            network.checkpointing = config.train.activation_checkpointing
    freeze(generator, config.generator.freeze, "generator.freeze")
    if discriminator is not None:
        freeze(discriminator, config.discriminator.freeze, "discriminator.freeze")
    for network in (generator, discriminator):
        if network is not None:
            processes.equalise(network.state_dict().values())
    ema = averaged(generator, config.train.ema_decay)
    if config.train.compile and isinstance(generator, RRDBNet | SPAN):
        compile_networks(generator, trunk, fabric.device)
    chosen = config.train.optimizer, config.train.optimizer_options
    generator_optimizer = build_optimizer(generator, config.schedule.rate, *chosen)
    wrapped, stepped = fabric.setup(generator, generator_optimizer)
    discriminator_optimizer = None
    if discriminator is not None:
        discriminator_optimizer = build_optimizer(discriminator, config.schedule.rate_discriminator, *chosen)
    guides = Guides(trunk, targets, teacher, decoder, ema.module, networks.distances)
    objective = Objective(fabric, config, guides, own_losses, own_weights)
    step = TrainingStep(
        fabric,
        config,
        wrapped,
        stepped,
        discriminator,
        discriminator_optimizer,
        objective,
        processes,
    )
    return Assembled(
        fabric, processes, step, generator, ema, generator_optimizer, discriminator, discriminator_optimizer
    )
