"""What a run's weights say of themselves: the cards of its generators."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gramgan.config import Config
from gramgan.data.items import Item
from gramgan.networks.build import card_values
from gramgan.scientific.record import read_record
from gramgan.training.assemble import generator_config
from gramgan.training.databases import trained_on_databases
from gramgan.weights.card import SYNTHESISED_TEXTURE, Card, TrainedOn
from gramgan.weights.catalog import KNOWN
from gramgan.weights.locate import locate_generator


def card_of(
    config: Config,
    start: Card | None,
    guides: Sequence[Card],
    items: Sequence[Item],
    architecture: Mapping[str, int | str] | None = None,
) -> Card:
    """The card of the generator that is trained; scores are added when it is written.

    Args:
        config: the run's settings.
        start: the card of `generator.start`; its data and licences went into these weights as well.
        guides: the cards of `generator.teacher` and `generator.decoder` where there are such, likewise.
        items: the images trained on.
        architecture: of the generator, with its name as `network`; None: as the settings say.
    """
    own = sorted({item.licence for item in items})
    databases = trained_on_databases(config.texture) if config.uses_database else {}
    before = [*([start] if start is not None else []), *guides]
    trained_on = [
        *(data for card in before for data in card.trained_on),
        TrainedOn(name=config.data.photos.resolve().name, licence=", ".join(own), count=len(items)),
        *(
            TrainedOn(name=f"texture database {name}", licence=", ".join(held), count=sum(held.values()))
            for name, held in databases.items()
        ),
    ]
    licences = {*own, *(licence for held in databases.values() for licence in held)}
    generator = config.generator
    return Card(
        name=f"gramgan-x{generator.scale}",
        architecture=dict(architecture or card_values(generator_config(config))),
        licence=start.licence if start is not None else "as its training photographs allow",
        licences=sorted(licences.union(*(card.licences for card in before))),
        origin="trained with Gram-GAN",
        trained_on=[data for number, data in enumerate(trained_on) if data not in trained_on[:number]],
        started_from=_short(generator.start) if generator.start is not None else "",
        parents={_short(spec): locate_generator(spec).digest() for spec in generator.weights},
        losses=config.losses.weights if config.stages.adversarial else {"pixel": 1.0},
        settings={
            "preset": config.preset,
            "degradation": config.data.degradation,
            "iterations": config.stages.total,
            "batch_size": config.train.batch_size,
            **read_record(config.data.photos),
        },
        consistent=generator.consistent,
        overlap=start.overlap if start is not None else Card.model_fields["overlap"].default,
        notes=[SYNTHESISED_TEXTURE],
    )


def _short(spec: str) -> str:
    """Known weights by their name, a file by its folder's name and its own: a whole path would tell of the machine."""
    return spec if spec in KNOWN else "/".join(Path(spec).resolve().parts[-2:])


def psnr_card(config: Config, start: Card | None, card: Card) -> Card | None:
    """The card of the PSNR-oriented generator that the adversarial stage begins with; None if it is none or unknown."""
    stages = config.stages
    if not stages.adversarial:
        return None
    if stages.pretrain:
        settings = {**card.settings, "iterations": stages.pretrain}
        return card.model_copy(
            update={"name": f"{card.name}-psnr", "losses": {"pixel": 1.0}, "settings": settings, "notes": []}
        )
    return start if start is not None and set(start.losses) == {"pixel"} else None
