"""What other programs offer too: named validation sets, early stopping, optimisers, freezing, partly fitting starts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gramgan.config import Config, load_config
from gramgan.errors import UserError
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.span import SPANConfig
from gramgan.reports.run import write_run_report
from gramgan.training.checkpoint import load_checkpoint
from gramgan.training.folder import read_log
from gramgan.training.run import train
from gramgan.weights.formats import write_pth

Tiny = Callable[..., Config]


def test_several_named_validation_sets(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    result = train(tiny(data={"validation": {"own": str(photos), "other": str(photos)}}), tmp_path / "run")
    validations = [record for record in read_log(result.folder) if record["event"] == "validation"]
    assert {record["of"] for record in validations} == {"bicubic", "start", "generator"}
    for record in validations:
        assert record["scores"]["other/psnr_y"] == pytest.approx(record["scores"]["psnr_y"])
    result = train(
        tiny(data={"validation": {"own": str(photos), "other": str(photos)}}, log={"best_by": "other/psnr_y"}),
        tmp_path / "another",
    )
    assert "other/psnr_y" in result.scores


def test_a_run_without_progress_ends_early(tiny: Tiny, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    still = {"rate_pretrain": 1e-12, "minimum": 0}
    stages = {"pretrain": 20, "warm_discriminator": 0, "adversarial": 0}
    config = tiny(stages=stages, schedule=still, log={"validate_every": 1, "patience": 2})
    result = train(config, tmp_path / "run")
    assert result.finished
    assert result.iteration == 3  # the best, and two that are not better
    assert "no better psnr_y in 2 validations (log.patience): the run ends at iteration 3" in messages.text
    assert train(config, tmp_path / "run", resume=True).iteration == 3
    more = tiny(stages=stages, schedule=still, log={"validate_every": 1, "patience": 4})
    assert train(more, tmp_path / "run", resume=True).iteration == 5


@pytest.mark.parametrize(
    ("name", "options"),
    [("AdamW", {"weight_decay": 0.01, "betas": [0.9, 0.99]}), ("RMSprop", {}), ("SGD", {"momentum": 0.9})],
)
def test_optimisers_by_torchs_names(name: str, options: dict[str, float], tiny: Tiny, tmp_path: Path) -> None:
    result = train(tiny(train={"optimizer": name, "optimizer_options": options}), tmp_path / "run")
    assert result.finished
    group = load_checkpoint(result.folder / "checkpoints")["generator_optimizer"]["param_groups"][0]
    for key, value in options.items():
        assert group[key] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "Adamw"}, "train.optimizer: torch.optim has no Adamw .*; did you mean AdamW"),
        ({"optimizer": "LBFGS"}, "train.optimizer: torch.optim has no LBFGS that can be used here"),
        ({"optimizer_options": {"momentum": 0.9}}, "train.optimizer_options: Adam has no momentum to set here; it has"),
        ({"optimizer_options": {"lr": 0.9}}, "train.optimizer_options: Adam has no lr to set here"),
        ({"optimizer_options": {"eps": -1}}, "train.optimizer_options: Adam refuses them .Invalid epsilon"),
    ],
)
def test_optimisers_that_cannot_be(changes: dict[str, object], message: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny(train=changes), tmp_path / "run")


def test_what_is_frozen_stays(tiny: Tiny, tmp_path: Path) -> None:
    frozen = {"freeze": ["body.*", "conv_first.*"]}
    result = train(tiny(generator=frozen, log={"keep": 9}), tmp_path / "run")
    first, last = (
        torch.load(result.folder / "checkpoints" / f"{number:07d}.pt", weights_only=True)["generator"]
        for number in (0, 6)
    )
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("body.", "conv_first."))]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["head.*"], r"generator.freeze: head\.\* matches no parameter; .* conv_first.weight"),
        (["*"], "nothing is left"),
    ],
)
def test_freezing_that_cannot_be(patterns: list[str], message: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        train(tiny(generator={"freeze": patterns}), tmp_path / "run")


def test_a_start_that_fits_in_part(tiny: Tiny, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    start = RRDBNet(RRDBConfig(8, 2, 4, "nearest"))
    write_pth(tmp_path / "start.pth", start.state_dict())
    generator = {"start": str(tmp_path / "start.pth"), "partial": True, "scale": 2}
    train(tiny(generator=generator, log={"keep": 9}), tmp_path / "run")
    assert "1 tensors do not fit and begin anew: conv_first.weight" in messages.text
    assert "tensors fit: conv_first.bias, body.0.rdb1.conv1.weight" in messages.text
    begun = torch.load(tmp_path / "run" / "checkpoints" / "0000000.pt", weights_only=True)["generator"]
    assert torch.equal(begun["conv_last.weight"], start.state_dict()["conv_last.weight"])
    write_pth(tmp_path / "other.pth", {"layer.weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r"none of its 1 tensors fits the network, such as layer.weight"):
        train(tiny(generator={**generator, "start": str(tmp_path / "other.pth")}), tmp_path / "other")


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_every_scale_is_trained(scale: int, tiny: Tiny, tmp_path: Path) -> None:
    crop = 72 if scale == 3 else 64
    result = train(tiny(generator={"scale": scale}, data={"crop": crop}, losses={"consistency": 1}), tmp_path / "run")
    assert result.best is not None
    loaded = load_generator(result.best)
    assert (loaded.config.scale, loaded.card.scale, loaded.card.name) == (scale, scale, f"gramgan-x{scale}")
    protocols = {record["protocol"] for record in read_log(result.folder) if record["event"] == "validation"}
    assert {protocol.partition(" ")[0] for protocol in protocols} == {f"sr-y-crop{scale}"}


def test_the_small_architecture_is_trained_and_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    span = {"network": "span", "nf": 8, "nb": 2}
    first = train(tiny(generator=span), tmp_path / "first")
    assert first.best is not None
    second = train(tiny(generator={**span, "start": str(first.best)}), tmp_path / "second")
    assert second.best is not None
    for result in (first, second):
        assert result.best is not None
        loaded = load_generator(result.best)
        assert loaded.config == SPANConfig(8, 2, 4)
        assert loaded.card.architecture == {"network": "span", "nf": 8, "nb": 2, "scale": 4}
    assert "SPAN: nf 8, nb 2)" in write_run_report(tmp_path / "second").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="has network=span nf=8 nb=2 scale=4, the settings ask for network=rrdb nf=8"):
        train(tiny(generator={"start": str(first.best)}), tmp_path / "third")
    with pytest.raises(UserError, match="from_nearest: is for network rrdb"):
        load_config("lite", overrides=["generator.network=span", "generator.from_nearest=true"])
    small = ["generator.network=span", "generator.from_nearest=false", "train.activation_checkpointing=true"]
    with pytest.raises(UserError, match=r"train.activation_checkpointing: is for generator.network=rrdb"):
        load_config("lite", overrides=small)


def test_a_crop_that_the_scale_does_not_divide() -> None:
    with pytest.raises(UserError, match=r"data.crop: 64 is not a multiple of generator.scale=3; set it to 60"):
        load_config("lite", overrides=["generator.scale=3", "data.crop=64"])


def test_a_file_on_top_of_a_preset(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("losses: {pixel: 0.25}\ntexture: {databases: [a.lance], candidates: both}\n")
    lite, config = load_config("lite"), load_config("lite", own, ["train.seed=5"])
    assert config.losses.pixel == 0.25
    assert config.losses.texture == lite.losses.texture
    assert config.generator == lite.generator
    assert (config.preset, config.train.seed, len(config.texture.databases)) == ("lite", 5, 1)
    assert load_config("quick", own).texture.databases[0].path == Path("a.lance")
    own.write_text("losses: {pixle: 0.25}\n")
    with pytest.raises(UserError, match=r"own.yaml on preset lite: losses.pixle: unknown setting; did you mean"):
        load_config("lite", own)
