"""Settings: presets, overrides, and one clear line for every mistake."""

import inspect
from pathlib import Path

import pytest
import yaml

from gramgan.cli.app import run
from gramgan.cli.db import build
from gramgan.config import Config, load_config, preset_names
from gramgan.config.losses import LOSS_NAMES
from gramgan.config.sections import DatabaseConfig, StageConfig
from gramgan.errors import UserError
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.places import ObjectPath

LOCAL = ["texture.candidates=local"]


def message(preset: str | None = "paper", file: Path | None = None, overrides: list[str] | None = None) -> str:
    with pytest.raises(UserError) as error:
        load_config(preset, file, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_preset_loads_and_says_its_name() -> None:
    assert {"paper", "classic", "quick"} <= set(preset_names())
    for name in preset_names():
        config = load_config(name, overrides=["texture.database=some.lance"])
        assert config.preset == name


def test_every_preset_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert not [name for name in preset_names() if name not in text]


def test_presets_ask_for_the_database_that_db_build_makes_unless_told() -> None:
    """README: `gramgan db build photos/ -o textures.lance`, then `--database textures.lance`."""
    built = {name: option.default for name, option in inspect.signature(build).parameters.items()}
    for name in preset_names():
        texture = load_config(name, overrides=["texture.database=some.lance"]).texture
        assert (texture.descriptor, texture.k) == (built["descriptor"], built["k"])


def test_paper_is_the_published_setting() -> None:
    config = load_config("paper")
    assert list(config.losses.weights.values()) == [1, 1, 1, 0.005, 1, *[0] * (len(LOSS_NAMES) - 5)]
    assert (config.generator.nf, config.generator.nb, config.generator.gc) == (64, 23, 32)
    assert (config.data.crop, config.train.batch_size, config.stages.total) == (192, 8, 600_000)
    assert (config.schedule.rate, config.schedule.restart_every) == (1e-4, 200_000)


def test_classic_is_what_the_first_script_documents() -> None:
    config = load_config("classic")
    assert (config.train.batch_size, config.schedule.rate, config.stages.total) == (16, 2e-4, 200_000)
    assert config.uses_database


def test_lite_is_small_enough_for_a_cpu() -> None:
    generator = load_config("lite").generator
    network = RRDBNet(RRDBConfig(generator.nf, generator.nb, generator.gc, generator.upsampler))
    assert sum(parameter.numel() for parameter in network.parameters()) <= 1_500_000


def test_overrides_go_on_top_in_their_order() -> None:
    config = load_config("paper", overrides=["train.batch_size=3", "train.batch_size=5", "schedule.rate=1e-3"])
    assert config.train.batch_size == 5
    assert config.schedule.rate == 1e-3
    assert config.train.ema_decay == load_config("paper").train.ema_decay


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = load_config("quick", overrides=["texture.database=a b.lance", "train.clip=0.5"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(file=path) == config


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("train.batchsize=8", "train.batch_size"),
        ("batch_size=8", "train.batch_size"),
        ("trian.seed=1", "train"),
        ("losses.adverserial=1", "losses.adversarial"),
    ],
)
def test_unknown_settings_suggest_the_nearest_name(override: str, suggestion: str) -> None:
    text = message(overrides=[override])
    assert text.endswith(f": unknown setting; did you mean {suggestion}?")
    assert text.startswith("preset paper with --set: ")


def test_unknown_setting_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--preset", "quick", "--set", "train.batchsize=8", "--set", "train.seed=1"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: preset quick with --set: train.batchsize: unknown setting; did you mean train.batch_size?\n"
    )


def test_unknown_setting_far_from_all_names() -> None:
    assert "--show-settings" in message(overrides=["zzzzzz=1"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.batch_size=0"], "train.batch_size: input should be greater than 0"),
        (["train.batch_size=2.5"], "train.batch_size: input should be a valid integer"),
        (["schedule.rate=.inf"], "schedule.rate: "),
        (["losses.trunk=vgg11"], "losses.trunk: input should be 'vgg19', 'vgg16' or 'st-vgg16'"),
        (["data.source=pairs"], "data: source: pairs needs the folder of LR images; set data.low"),
        (["data.source=shards", "data.low=lr"], "data: low: LR images are not used with data.source=shards"),
        (["data.low_name=small_{stem}"], "data: low_name: it is for pairs; set data.low"),
        (["train.seed=" + "[" * 100_000], "the value is not valid YAML"),
        (["train.seed=2024-99-99"], "the value is not valid YAML"),
        (["data.workers=0"], "data.workers: input should be greater than 0"),
        (["data.crop=190"], "data.crop: input should be a multiple of 4"),
        (["data.crop=60"], "data.crop: the discriminator needs crops of at least 64 pixels, got 60"),
        (["texture.k=5"], "texture.k: crops of 192 pixels do not divide"),
        (["data.crop=32", "texture.k=32"], "texture.k: crops of 32"),
        (["texture.candidates=both"], "texture.database: texture.candidates=both needs one"),
        (["texture.alpha=0", "texture.beta=0"], "texture.alpha, texture.beta: one of them must be above 0"),
        (["mask.window=12"], "mask.window: 12 must be odd"),
        (["mask.window=193"], "mask.window: 193 must be odd and at most the crop's 192 pixels"),
        (["schedule.minimum=0.1"], "schedule.minimum: 0.1 is above the lowest rate, 0.0001"),
        (["stages.pretrain=0", "stages.warm_discriminator=0", "stages.adversarial=0"], "nothing to train"),
        (["stages.pretrain=0", "stages.adversarial=0"], "stages: the discriminator alone leaves no generator"),
        ([f"losses.{x}=0" for x in Config().losses.weights], "losses: all weights are 0"),
        (
            ["generator.consistent=true", "data.degradation=realphoto"],
            "generator.consistent: back-projection brings back the noise of data.degradation=realphoto",
        ),
        (["losses.teacher=1"], "generator.teacher and losses.teacher: one names the weights"),
        (["generator.teacher=realsr-df2k"], "generator.teacher and losses.teacher: one names the weights"),
        (["losses.teacher_steps=5"], "losses.teacher_steps: there is no teacher"),
        (["losses.autoencoded=1"], "generator.decoder and losses.autoencoded: one names the weights"),
        (["generator.decoder=gramgan-x4-psnr"], "generator.decoder and losses.autoencoded: one names the weights"),
        (["train.batch_size"], "expected KEY=VALUE"),
        (["preset.name=1"], "preset is a value, not a section"),
        (["train.device=[1"], "the value is not valid YAML"),
    ],
)
def test_impossible_values(overrides: list[str], expected: str) -> None:
    assert expected in message(overrides=overrides)


def test_small_crops_are_allowed_without_a_discriminator() -> None:
    off = ["losses.adversarial=0", "losses.disc_perceptual=0", "stages.warm_discriminator=0", "data.crop=32"]
    config = load_config("paper", overrides=off)
    assert not config.uses_discriminator
    assert load_config("paper", overrides=off[:2] + LOCAL).uses_discriminator  # to be warmed up


def test_a_database_is_needed_only_where_it_is_searched() -> None:
    both = "texture.candidates=both"
    assert load_config("paper", overrides=[both, "texture.database=x.lance"]).uses_database
    assert not load_config("paper", overrides=[both, "losses.texture=0"]).uses_database
    assert not load_config("paper", overrides=[both, "stages.adversarial=0"]).uses_database


def test_one_database_and_several() -> None:
    short = load_config("paper", overrides=["texture.database=x.lance", "texture.database_version=3"]).texture
    assert short.databases == (DatabaseConfig(path=Path("x.lance"), version=3),)
    assert short.weights is None
    several = "[{path: x.lance, weight: 0.7}, {path: y.lance, domain: satellite, weight: 0.3, version: newest}]"
    texture = load_config("quick", overrides=[f"texture.databases={several}"]).texture  # replaces the preset's own one
    assert [entry.path.name for entry in texture.databases] == ["x.lance", "y.lance"]
    assert texture.weights == [0.7, 0.3]
    assert texture.databases[1].domain == "satellite"
    again = load_config("quick", overrides=[f"texture.databases={several}", "texture.database=z.lance"]).texture
    assert again.databases == (DatabaseConfig(path=Path("z.lance")),)
    assert load_config("quick", overrides=["texture.databases=[a.lance, b.lance]"]).texture.weights is None
    assert load_config("quick", overrides=["texture.databases=a.lance"]).texture.databases == (
        DatabaseConfig(path=Path("a.lance")),
    )


def test_databases_survive_being_written(tmp_path: Path) -> None:
    config = load_config("quick", overrides=["texture.databases=[{path: x.lance, weight: 2, domain: art}]"])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(file=path) == config


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[{path: x, weight: 1}, y]", "databases: y has no weight and others have; give all of them one"),
        ("[x, {path: x, version: 2}]", "databases: x is named twice; name it once, or once for each domain"),
        ("[{path: x, weight: 0}]", "texture.databases.0.weight: input should be greater than 0"),
        ("[{path: x, wieght: 1}]", "texture.databases.0.wieght: unknown setting; did you mean texture.databases.wei"),
        ("[{weight: 1}]", "texture.databases.0.path: field required"),
    ],
)
def test_impossible_databases(value: str, expected: str) -> None:
    assert expected in message("quick", overrides=[f"texture.databases={value}"])


def test_both_forms_of_one_setting_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("texture: {database: x.lance, databases: [y.lance]}", encoding="utf-8")
    assert "give one form only" in message(None, path)


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    assert "cannot be read" in message(None, tmp_path / "missing.yaml")
    path = tmp_path / "config.yaml"
    path.write_text("train: {batch_size: 8\ndata: [", encoding="utf-8")
    assert "line 2" in message(None, path)
    path.write_text("just text", encoding="utf-8")
    assert "holds no settings" in message(None, path)
    path.write_text("train:\n", encoding="utf-8")
    assert f"{path}: train: input should be" in message(None, path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "not valid YAML" in message(None, path)
    for text in ("[" * 100_000, "a: " + "{a: " * 100_000, "seed: 2024-99-99", "seed: " + "9" * 5000):
        path.write_text(text, encoding="utf-8")
        assert str(path) in message(None, path)
    assert "choose one of classic, " in message("papper")


def test_stages_follow_each_other() -> None:
    stages = StageConfig(pretrain=2, warm_discriminator=1, adversarial=3)
    assert [stages.at(i) for i in range(stages.total)] == [
        ("pretrain", 0),
        ("pretrain", 1),
        ("warm_discriminator", 0),
        ("adversarial", 0),
        ("adversarial", 1),
        ("adversarial", 2),
    ]


def test_show_settings_prints_all_of_them_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder called 2024 is text, whatever YAML thinks of it.
    assert run(["train", "--preset", "quick", "--photos", "2024", "--set", "train.seed=7", "--show-settings"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert Config.model_validate(shown) == load_config("quick", overrides=["train.seed=7", 'data.photos="2024"'])
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_takes_no_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--preset", "quick", "--resume", str(tmp_path)]) == 2
    assert "keeps its own settings" in capsys.readouterr().err


def test_paths_in_object_storage_stay_urls() -> None:
    given = [
        "data.photos=s3://bucket/photos",
        "texture.database=gs://bucket/t.lance",
        "discriminator.start=az://b/w.pth",
    ]
    config = load_config(overrides=given)
    paths = (config.data.photos, config.texture.databases[0].path, config.discriminator.start)
    assert all(isinstance(path, ObjectPath) for path in paths)
    assert [str(path) for path in paths] == [text.partition("=")[2] for text in given]
    assert "s3://bucket/photos" in config.to_yaml()
