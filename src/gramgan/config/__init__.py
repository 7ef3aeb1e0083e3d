"""Settings of a training run: presets, a user's file and single values put together and checked."""

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from gramgan.arguments import checked
from gramgan.config.base import Section
from gramgan.config.losses import LossConfig
from gramgan.config.sections import (
    DatabaseConfig,
    DataConfig,
    DiscriminatorSettings,
    GeneratorConfig,
    GuardConfig,
    LogConfig,
    MaskConfig,
    ScheduleConfig,
    StageConfig,
    TextureConfig,
    TrainConfig,
)
from gramgan.errors import UserError
from gramgan.places import as_place

_SHOWN = 200  # characters of a setting that a message repeats
PRESETS = Path(__file__).parent / "presets"

# The long and the short form of one setting: the one that is given last counts.
_REPLACED_BY = {"texture.databases": ("database", "database_version"), "texture.database": ("databases",)}


class Config(Section):
    """Everything that a training run needs to know."""

    preset: str = Field(default="paper", description="the name of the preset that the settings began with")
    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    texture: TextureConfig = TextureConfig()
    mask: MaskConfig = MaskConfig()
    losses: LossConfig = LossConfig()
    stages: StageConfig = StageConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    guard: GuardConfig = GuardConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        crop, k, window = self.data.crop, self.texture.k, self.mask.window
        if crop % self.generator.scale:
            raise ValueError(
                f"data.crop: {crop} is not a multiple of generator.scale={self.generator.scale}; set it to "
                f"{math.lcm(12, self.generator.scale) * (crop // math.lcm(12, self.generator.scale))}"
            )
        if crop % k or crop < 2 * k:
            raise ValueError(f"texture.k: crops of {crop} pixels do not divide into several patches of {k}")
        own = self.discriminator.build is not None
        if self.uses_discriminator and not own and self.discriminator.kind == "unet" and crop % 8:
            raise ValueError(f"data.crop: the U-Net discriminator needs crops of a multiple of 8 pixels, got {crop}")
        if self.uses_discriminator and not own and crop < 64:
            raise ValueError(f"data.crop: the discriminator needs crops of at least 64 pixels, got {crop}")
        if window % 2 == 0 or window > crop:
            raise ValueError(f"mask.window: {window} must be odd and at most the crop's {crop} pixels")
        if self.uses_database and not self.texture.databases:
            raise ValueError(
                f"texture.database: texture.candidates={self.texture.candidates} needs one; build it with `gramgan db "
                "build PHOTOS -o NAME.lance` and set texture.database=NAME.lance, or set texture.candidates=local"
            )
        if self.texture.alpha + self.texture.beta == 0:
            raise ValueError("texture.alpha, texture.beta: one of them must be above 0")
        if not self.stages.total:
            raise ValueError("stages: all three have 0 iterations; there is nothing to train")
        if not (self.stages.pretrain or self.stages.adversarial):
            raise ValueError(
                "stages: the discriminator alone leaves no generator; give pretrain or adversarial iterations"
            )
        rates = self.schedule.rate, self.schedule.rate_discriminator, self.schedule.rate_pretrain
        if self.schedule.minimum > min(rates):
            raise ValueError(f"schedule.minimum: {self.schedule.minimum:g} is above the lowest rate, {min(rates):g}")
        weights = [*self.losses.weights.values(), *(loss.weight for loss in self.losses.own.values())]
        if self.stages.adversarial and not any(weights):
            raise ValueError("losses: all weights are 0; there is nothing to minimise")
        if self.generator.consistent and self.data.degradation != "bicubic":
            raise ValueError(
                "generator.consistent: back-projection brings back the noise of "
                f"data.degradation={self.data.degradation}; set it to false"
            )
        if self.generator.partial and self.generator.start is None:
            raise ValueError("generator.partial: says how to take generator.start; give that, or leave this out")
        if (self.generator.teacher is not None) != (self.losses.teacher > 0):
            raise ValueError(
                "generator.teacher and losses.teacher: one names the weights to learn from, the other says how much; "
                "give both or neither"
            )
        if self.train.activation_checkpointing and self.generator.network != "rrdb":
            raise ValueError(
                "train.activation_checkpointing: is for generator.network=rrdb; leave it out, or use train.accumulate"
            )
        if self.losses.teacher_steps is not None and not self.losses.teacher:
            raise ValueError("losses.teacher_steps: there is no teacher; set losses.teacher too, or leave it out")
        if (self.generator.decoder is not None) != (self.losses.autoencoded > 0):
            raise ValueError(
                "generator.decoder and losses.autoencoded: one names the weights to decode with, the other says how "
                "much; give both or neither"
            )
        return self

    @property
    def uses_discriminator(self) -> bool:
        """Whether any stage needs the discriminator."""
        return self.stages.warm_discriminator > 0 or (self.stages.adversarial > 0 and self.losses.judged)

    @property
    def uses_database(self) -> bool:
        """Whether the texture loss looks into a database."""
        return self.stages.adversarial > 0 and self.losses.texture > 0 and self.texture.candidates != "local"

    def to_yaml(self) -> str:
        """All settings, resolved, as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def preset_names() -> list[str]:
    """Names for `--preset`."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


@checked
def load_config(
    preset: str | None = None, file: Path | str | None = None, overrides: Sequence[str] | None = None
) -> Config:
    """Settings from a preset, a YAML file, or that file on top of the preset; dotted overrides come last.

    Raises:
        UserError: no such preset or file, an unknown key (the nearest one is suggested) or an impossible value.
    """
    values: dict[str, Any] = {}
    where = str(file)
    if preset is not None or file is None:
        preset = preset or "paper"
        if preset not in preset_names():
            raise UserError(f"--preset {preset}: there is no such preset; choose one of {', '.join(preset_names())}")
        values, where = _read_yaml(PRESETS / f"{preset}.yaml"), f"preset {preset}"
    if file is not None:
        where = f"{file} on preset {preset}" if values else where
        values = _on_top(values, _read_yaml(as_place(file)))
    for override in overrides or []:
        _apply(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}{' with --set' if overrides else ''}: {_first_problem(error)}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a YAML file of settings") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # it raises the others for dates, numbers and depth
        raise UserError(f"{path}: is not valid YAML ({' '.join(str(error).split())}); correct it") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no settings; expected sections such as train: and data:")
    return values


def _on_top(values: dict[str, Any], own: dict[str, Any], section: str = "") -> dict[str, Any]:
    """`values` with what `own` says in their place, setting by setting."""
    merged = dict(values)
    for name, value in own.items():
        key = f"{section}{name}"
        for other in _REPLACED_BY.get(key, ()):
            if other not in own:
                merged.pop(other, None)
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _on_top(before, value, f"{key}.")
        else:
            merged[name] = value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: expected KEY=VALUE, for example train.batch_size=8")
    *sections, name = key.strip().split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise UserError(f"--set {override}: {section} is a value, not a section")
    try:
        target[name] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {override[:_SHOWN]}: the value is not valid YAML; put it in quotes") from None
    for other in _REPLACED_BY.get(key.strip(), ()):
        target.pop(other, None)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _known_keys(), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "; see `gramgan train --show-settings`"
        return f"{key}: unknown setting{hint}"
    message = problem["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    return (f"{key}: " if key else "") + message[0].lower() + message[1:] + (f" (and {more} more)" if more else "")


def _known_keys() -> list[str]:
    keys = []
    for name, field in Config.model_fields.items():
        keys.append(name)
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += [f"{name}.{inner}" for inner in section.model_fields]
    keys += [f"texture.databases.{inner}" for inner in DatabaseConfig.model_fields]
    return keys
