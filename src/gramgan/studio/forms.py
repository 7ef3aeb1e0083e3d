"""Form fields, made of where settings are declared: their words, bounds and defaults stand there and nowhere else."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from gramgan.config import Config
from gramgan.errors import UserError
from gramgan.studio.places import Places
from gramgan.upscaling.settings import Setting, Settings
from gramgan.weights.catalog import KNOWN, is_cached

_Kind = Literal["text", "number", "flag", "choice", "tristate"]

SHOWN_FIRST = ("model", "scale", "size", "denoise", "strength", "texture_mask", "quality")
"""Settings of upscaling that most people need; the others are folded away."""
_WEIGHTS = ("model", "psnr_model")
_TRAINING = (
    *("stages.pretrain", "stages.warm_discriminator", "stages.adversarial", "train.batch_size", "data.crop"),
    *("data.degradation", "texture.candidates", "losses.texture", "schedule.rate", "log.validate_every"),
    "train.device",
)
"""Settings of a training that most people need; any other goes into the free field."""


@dataclass(frozen=True)
class Field:
    """One field: what it is called, what it means, what it takes."""

    name: str
    label: str
    help: str
    kind: _Kind
    group: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    whole: bool = False
    hint: str = ""


def upscaling_fields() -> list[Field]:
    """A field for each of `Settings`."""
    kinds = get_type_hints(Settings)
    found = []
    for one in fields(Settings):
        about: Setting = one.metadata["setting"]
        parts = _parts(kinds[one.name])
        number = next((part for part in (int, float) if part in parts), None)
        kind: _Kind = "text"
        if one.name in _WEIGHTS or about.choices:
            kind = "choice"
        elif bool in parts:
            kind = "tristate" if type(None) in parts else "flag"
        elif number is not None:
            kind = "number"
        found.append(
            Field(
                name=one.name,
                label=one.name.replace("_", " ").capitalize(),
                help=about.help,
                kind=kind,
                group=about.group or "",
                default=None if one.default == () else one.default,
                choices=generators_here() if one.name in _WEIGHTS else about.choices,
                low=about.bounds[0] if about.bounds else None,
                high=about.bounds[1] if about.bounds else None,
                whole=number is int,
                hint=about.metavar or "",
            )
        )
    return found


def generators_here() -> tuple[str, ...]:
    """Known weights that are on this machine."""
    return tuple(name for name, known in KNOWN.items() if known.kind == "generator" and is_cached(known))


def upscaling_settings(given: Mapping[str, Any], places: Places) -> Settings:
    """Settings out of what a page has sent; what is empty is left to its default.

    Raises:
        UserError: an unknown setting, a value of another type or out of range, or weights outside of the folders.
    """
    values: dict[str, Any] = {}
    known = {one.name: one for one in upscaling_fields()}
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{name}: no such setting; load the page again")
        if value is None or value == "":
            continue
        values[name] = _value(known[name], value)
        if name in _WEIGHTS and values[name] not in KNOWN:
            values[name] = places.file(str(values[name]))
        if name == "bands":
            values[name] = tuple(str(value).split())
    settings = Settings(**values)
    settings.check()
    return settings


def training_fields(config: Config) -> list[Field]:
    """A field for each setting of a training that most people need, with the preset's values."""
    found = []
    for key in _TRAINING:
        section, name = key.split(".")
        part = getattr(config, section)
        about: FieldInfo = type(part).model_fields[name]
        parts = _parts(about.annotation)
        choices = tuple(str(word) for each in parts for word in (get_args(each) if get_origin(each) is Literal else ()))
        number = next((each for each in (int, float) if each in parts), None)
        found.append(
            Field(
                name=key,
                label=f"{section}: {name}".replace("_", " "),
                help=about.description or (type(part).__doc__ or "").strip(),
                kind="choice" if choices else "number" if number else "text",
                default=getattr(part, name),
                choices=choices,
                low=_bound(about, "ge", "gt"),
                high=_bound(about, "le", "lt"),
                whole=number is int,
            )
        )
    return found


def _value(about: Field, value: Any) -> Any:
    if about.kind in ("flag", "tristate"):
        if not isinstance(value, bool):
            raise UserError(f"{about.name} {value!r}: is neither yes nor no; choose one of them")
        return value
    if about.kind != "number":
        return str(value)
    try:
        return int(value) if about.whole else float(value)
    except (TypeError, ValueError):
        kind = "a whole number" if about.whole else "a number"
        raise UserError(f"{about.name} {value!r}: is not {kind}; correct it") from None


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The types that a union is of, or the one type."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _bound(about: FieldInfo, *names: str) -> float | None:
    return next((getattr(one, name) for one in about.metadata for name in names if hasattr(one, name)), None)
