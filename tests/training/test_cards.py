"""Cards say whose weights and which data went into a generator, and nothing of the machine it was trained on."""

from pathlib import Path

from gramgan.config import Config, load_config
from gramgan.data.items import ImagePlace, Item
from gramgan.files import sha256
from gramgan.training.cards import card_of, psnr_card
from gramgan.weights.card import Card, TrainedOn

ITEMS = [Item("a.png", ImagePlace(Path("a.png")), licence="CC0-1.0"), Item("b.png", ImagePlace(Path("b.png")))]
DIV2K = TrainedOn(name="DIV2K", licence="research", count=800)


def settings(folder: Path, **overrides: object) -> Config:
    changes = {"data.photos": folder / "mine", "texture.candidates": "local", **overrides}
    return load_config("lite", overrides=[f"{name}={value}" for name, value in changes.items()])


def card(name: str, *data: TrainedOn, licence: str = "Apache-2.0", losses: dict[str, float] | None = None) -> Card:
    return Card(
        name=name,
        architecture={"network": "rrdb"},
        licence=licence,
        licences=[licence],
        trained_on=list(data),
        losses=losses or {},
        overlap=20,
    )


def test_from_noise_there_are_the_photographs_alone(tmp_path: Path) -> None:
    found = card_of(settings(tmp_path), None, [], ITEMS)
    assert found.trained_on == [TrainedOn(name="mine", licence="CC0-1.0, unknown", count=2)]
    assert found.licences == ["CC0-1.0", "unknown"]
    assert (found.started_from, found.parents) == ("", {})
    assert found.consistent
    assert not card_of(settings(tmp_path, **{"generator.consistent": False}), None, [], ITEMS).consistent


def test_start_teacher_and_decoder_bring_their_data_and_licences_once(tmp_path: Path) -> None:
    start, teacher, decoder = (tmp_path / name / "G.safetensors" for name in ("first", "second", "third"))
    for path in (start, teacher, decoder):
        path.parent.mkdir()
        path.write_bytes(path.parent.name.encode())
    changes = {"generator.start": start, "generator.from_nearest": False}
    changes |= {"generator.teacher": teacher, "generator.decoder": decoder}
    config = settings(tmp_path, **changes, **{"losses.teacher": 1, "losses.autoencoded": 1})
    mine = TrainedOn(name="mine", licence="CC0-1.0, unknown", count=2)
    guides = [card("b", DIV2K, mine, licence="BSD-3-Clause"), card("c", mine, licence="MIT")]
    found = card_of(config, card("a", mine), guides, ITEMS)
    assert found.trained_on == [mine, DIV2K]
    assert found.licences == ["Apache-2.0", "BSD-3-Clause", "CC0-1.0", "MIT", "unknown"]
    assert (found.licence, found.overlap) == ("Apache-2.0", 20)
    assert found.started_from == "first/G.safetensors"
    assert found.parents == {f"{path.parent.name}/G.safetensors": sha256(path) for path in (start, teacher, decoder)}
    assert str(tmp_path) not in found.model_dump_json()


def test_the_psnr_generator_is_the_start_where_that_knew_l_c_alone(tmp_path: Path) -> None:
    config = settings(tmp_path, **{"stages.pretrain": 0})
    own = card_of(config, None, [], ITEMS)
    start = card("start", losses={"pixel": 1.0})
    assert psnr_card(config, start, own) == start
    assert psnr_card(config, card("start", losses={"pixel": 1.0, "perceptual": 1.0}), own) is None
    assert psnr_card(config, None, own) is None
    pretrained = psnr_card(settings(tmp_path, **{"stages.pretrain": 7}), None, own)
    assert pretrained is not None
    assert (pretrained.name, pretrained.losses, pretrained.settings["iterations"]) == (
        "gramgan-x4-psnr",
        {"pixel": 1.0},
        7,
    )
