"""The one place that puts the parts of a training run together."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import nn

from gramgan.config import Config
from gramgan.data.choice import Way, open_source, usual_workers
from gramgan.data.source import CropSource, Demand
from gramgan.degradation import Degradation, build_degradation
from gramgan.errors import UserError
from gramgan.hardware.device import resolve_device
from gramgan.hardware.probe import probe_training
from gramgan.metrics.dists import Dists
from gramgan.metrics.lpips import Lpips
from gramgan.networks.build import (
    Architecture,
    Generator,
    LoadedGenerator,
    build_generator,
    card_values,
    load_generator,
)
from gramgan.networks.rrdb import RRDBNet
from gramgan.networks.span import SPAN
from gramgan.networks.trunks import load_trunk
from gramgan.progress import Progress, silent
from gramgan.texture.candidates import LocalSource, NearerSource, TargetSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.assemble import (
    Assembled,
    Networks,
    assemble,
    distances_of,
    generator_config,
    new_discriminator,
    uses_trunk,
)
from gramgan.training.cards import card_of, psnr_card
from gramgan.training.databases import settled_entry, targets_from
from gramgan.training.images import Images, images_of, settled_way
from gramgan.training.own import NOTHING_OWN, OwnParts, Part
from gramgan.training.own_adapters import (
    OwnCrops,
    OwnDegradation,
    OwnDiscriminator,
    OwnLoss,
    OwnMetric,
    moved,
    own_network,
    try_discriminator,
    try_generator,
)
from gramgan.training.processes import Processes
from gramgan.training.validation import Validations, Validator
from gramgan.training.weights import PSNR_GENERATOR
from gramgan.weights.card import Card
from gramgan.weights.formats import load_partial, load_strict, read_weights
from gramgan.weights.locate import locate_generator

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts(Assembled):
    """Everything that a training loop moves: the step with its networks, data, and the random generators behind it.

    `card` is the texture generator's; `psnr_card` that of the PSNR-oriented one it is trained from, where there is one.
    """

    source: CropSource
    degradation: Degradation
    validator: Validator | Validations
    texture_random: torch.Generator
    card: Card
    psnr_card: Card | None
    own: OwnParts


def resolve(config: Config, own: OwnParts = NOTHING_OWN) -> Config:
    """Settle what `auto` and "newest" stand for on this machine, so that resuming re-decides nothing.

    Raises:
        UserError: a device that is not there, no texture database where one is needed, or no images.
    """
    train, texture = config.train, config.texture
    device = resolve_device(train.device)
    precision, memory_format = train.precision, train.memory_format
    if "auto" in (precision, memory_format):
        verdict = probe_training(device)
        _log.info(
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
    way = settled_way(config, device, train.devices) if own.crops is None else config.data.source
    data = config.data.model_copy(update={"source": way})
    return config.model_copy(update={"train": train.model_copy(update=resolved), "texture": texture, "data": data})


def build_training(
    config: Config, progress: Progress = silent, processes: Processes | None = None, own: OwnParts = NOTHING_OWN
) -> Parts:
    """Build all parts from resolved settings (see `resolve`) and those of the user's own, in each of several processes.

    Raises:
        UserError: photographs, weights or the database are missing or do not fit.
    """
    torch.manual_seed(config.train.seed)
    processes = processes or Processes(torch.device(config.train.device))
    networks, start_card, guide_cards = _networks(config, own)
    losses = {name: OwnLoss(part) for name, part in own.losses.items()}
    for loss in losses.values():
        loss.attempt(config.generator.scale)
    metrics = [OwnMetric.of(name, part) for name, part in own.metrics.items()]
    images = images_of(config, progress, own_crops=own.crops is not None)
    texture_random = torch.Generator().manual_seed(config.train.seed + 1)
    targets = _targets(config, texture_random, processes)
    assembled = assemble(config, networks, targets, processes, losses, own.weights)
    moved(own, assembled.fabric.device)
    demand = Demand(
        crop=config.data.crop,
        batch=config.train.batch_size * config.train.accumulate,
        seed=config.train.seed,
        augment=config.data.augment,
        device=assembled.fabric.device,
        share=processes.share,
        scale=config.generator.scale,
    )
    source = _source(config, own, images, demand, progress)
    degradation = _degradation(config, own)
    card = card_of(
        config,
        start_card,
        guide_cards,
        source.items,
        _architecture(config, networks.generator, own),
    )
    card = card.model_copy(
        update={"settings": {**card.settings, **own.record()}, "losses": card.losses | dict(own.weights)}
    )
    partner = psnr_card(config, start_card, card)
    if partner is not None:
        card = card.model_copy(update={"psnr_partner": f"{PSNR_GENERATOR}.safetensors"})
    validator = partial(
        Validator,
        images=config.log.validation_images,
        crop=config.log.validation_crop,
        degradation=degradation,
        consistent=config.generator.consistent,
        device=assembled.fabric.device,
        autocast=assembled.fabric.autocast,
        own_metrics=metrics,
    )
    further = {name: validator(items) for name, items in images.further.items()}
    return Parts(
        **vars(assembled),
        source=source,
        degradation=degradation,
        validator=Validations({"": validator(images.validation), **further})
        if further
        else validator(images.validation),
        texture_random=texture_random,
        card=card,
        psnr_card=partner,
        own=own,
    )


def _source(config: Config, own: OwnParts, images: Images, demand: Demand, progress: Progress) -> CropSource:
    if own.crops is not None:
        return OwnCrops(own.crops, demand)
    return open_source(
        cast(Way, config.data.source),
        images.training,
        demand,
        workers=config.data.workers or usual_workers(config.train.devices),
        progress=progress,
    )


def _degradation(config: Config, own: OwnParts) -> Degradation:
    if own.degradation is None:
        return build_degradation(config.data.degradation, config.generator.scale)
    made = OwnDegradation(own.degradation, config.generator.scale)
    made.attempt()
    return made


def _architecture(config: Config, generator: nn.Module, own: OwnParts) -> dict[str, int | str]:
    """What the card says of the generator."""
    if own.generator is not None:
        return {"network": "own", "build": own.generator.name, "scale": config.generator.scale}
    assert isinstance(generator, RRDBNet | SPAN)
    return card_values(generator.config)


def _networks(config: Config, own: OwnParts) -> tuple[Networks, Card | None, list[Card]]:
    """The networks that settings ask for, from their files or new; the start's card, those of teacher and decoder."""
    generator, start_card = _generator(config) if own.generator is None else _own_generator(config, own.generator)
    trunk = load_trunk(config.losses.trunk, config.losses.layers) if uses_trunk(config) else None
    discriminator = new_discriminator(config, trunk)
    if discriminator is not None and own.discriminator is not None:
        discriminator = OwnDiscriminator(own_network(own.discriminator), own.discriminator)
        try_discriminator(own.discriminator, discriminator.network, config)
    if discriminator is not None and config.discriminator.start is not None:
        load_strict(discriminator, read_weights(config.discriminator.start).state, config.discriminator.start)
    teacher = _guide(config, "teacher", config.generator.teacher)
    decoder = _guide(config, "decoder", config.generator.decoder)
    distances = distances_of(config, {"dists": Dists.load, "lpips": lambda: Lpips.load("vgg")})
    networks = Networks(
        generator, discriminator, trunk, teacher and teacher.network, decoder and decoder.network, distances
    )
    return networks, start_card, [guide.card for guide in (teacher, decoder) if guide is not None]


def _guide(config: Config, role: str, spec: str | None) -> LoadedGenerator | None:
    """The teacher or the decoder, where there is one.

    Raises:
        UserError: it cannot be read, or enlarges by another factor.
    """
    if spec is None:
        return None
    guide = load_generator(spec)
    if guide.config.scale != config.generator.scale:
        raise UserError(
            f"generator.{role}: {spec} enlarges {guide.config.scale} times, generator.scale is "
            f"{config.generator.scale}; name weights of that scale"
        )
    return guide


def _generator(config: Config) -> tuple[Generator, Card | None]:
    wanted = generator_config(config)
    network = build_generator(wanted)
    if config.generator.from_nearest and isinstance(network, RRDBNet):
        network.start_as_nearest()
    if config.generator.start is None:
        return network, None
    if config.generator.partial:
        return network, _partial_start(network, config.generator.start)
    start = load_generator(config.generator.start)
    if _described(start.config) != _described(wanted):
        raise UserError(
            f"generator.start: {config.generator.start} has {_described(start.config)}, the settings ask for "
            f"{_described(wanted)}; set generator.network, nf, nb, gc, upsampler and scale to those of the file"
        )
    return start.network.train(), start.card


def _own_generator(config: Config, part: Part) -> tuple[nn.Module, Card | None]:
    network = own_network(part)
    try_generator(part, network, config.generator.scale)
    spec = config.generator.start
    if spec is None:
        return network, None
    if config.generator.partial:
        return network, _partial_start(network, spec)
    weights = read_weights(locate_generator(spec).path)
    load_strict(network, weights.state, spec)
    return network, weights.card


def _partial_start(network: nn.Module, spec: str) -> Card | None:
    """Fill `network` with what fits of known weights or a file, and say what that was; the card of the weights."""
    located = locate_generator(spec)
    weights = read_weights(located.path)
    fitted, anew = load_partial(network, weights.state, spec)
    _log.info("generator.start: %s: %d tensors fit: %s", spec, len(fitted), ", ".join(fitted))
    if anew:
        _log.warning("generator.start: %s: %d tensors do not fit and begin anew: %s", spec, len(anew), ", ".join(anew))
    return weights.card


def _described(config: Architecture) -> str:
    """All but `unshuffle`: how x1 and x2 are made is the file's to say."""
    return " ".join(f"{key}={value}" for key, value in card_values(config).items() if key != "unshuffle")


def _targets(config: Config, random: torch.Generator, processes: Processes) -> TargetSource | None:
    texture, share = config.texture, processes.share
    if not (config.stages.adversarial and config.losses.texture):
        return None
    if texture.candidates == "local":
        if texture.databases:
            _log.warning(
                "texture.database is not used: texture.candidates=local stays within each photograph; both uses it"
            )
        return LocalSource(Descriptor.default(texture.descriptor, texture.k), random, texture.warp, share)
    source = targets_from(texture, random, processes)
    if texture.candidates == "database":
        return source
    return NearerSource(source, LocalSource(source.descriptor, random, texture.warp, share))
