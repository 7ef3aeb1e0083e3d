"""Parts of a training that users bring: plain functions and modules, from Python or as references in the settings.

Each is tried on a small tensor before the run starts, and recorded in the run: its name and the SHA-256 digest of the
file it comes from.
"""

import importlib
import importlib.util
import inspect
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from gramgan.config import Config
from gramgan.config.losses import LOSS_NAMES
from gramgan.errors import UserError, message_of
from gramgan.files import sha256, write_text

_log = logging.getLogger(__name__)

PARTS = "parts.json"
"""The file in a run's folder that names the user's own parts."""

_TAKEN = (*LOSS_NAMES, "total", "discriminator", "r1")


@dataclass(frozen=True)
class Part:
    """Something that a user brought: what it is for, its name (`module:name`), the value, and the file's digest."""

    role: str
    name: str
    value: Any
    sha256: str = ""


@dataclass(frozen=True)
class OwnParts:
    """What a run uses in place of the project's parts, or beside them; None and empty where it does not."""

    generator: Part | None = None
    discriminator: Part | None = None
    degradation: Part | None = None
    crops: Part | None = None
    losses: Mapping[str, Part] = field(default_factory=dict)
    metrics: Mapping[str, Part] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def all(self) -> list[Part]:
        """Every part."""
        alone = (self.generator, self.discriminator, self.degradation, self.crops)
        return [*(part for part in alone if part is not None), *self.losses.values(), *self.metrics.values()]

    def record(self) -> dict[str, str]:
        """`module:name sha256:…` of every part by its role, for the run's folder and the card."""
        return {part.role: f"{part.name} sha256:{part.sha256}" if part.sha256 else part.name for part in self.all()}


NOTHING_OWN = OwnParts()


def gather(config: Config, given: Mapping[str, Any]) -> OwnParts:
    """The parts that were `given` from Python, and those that the settings name.

    Args:
        config: the settings.
        given: `generator`, `discriminator`, `losses`, `degradation`, `crops` and `metrics` of `gramgan.train`.

    Raises:
        UserError: a reference cannot be imported, a part is named twice, or it is no function or module.
    """
    refs = {
        "generator": config.generator.build,
        "discriminator": config.discriminator.build,
        "degradation": config.data.degradation if ":" in config.data.degradation else None,
        "crops": config.data.crops,
    }
    alone: dict[str, Part] = {}
    for role, ref in refs.items():
        value = given.get(role)
        if value is not None and ref is not None:
            raise UserError(f"{role}: given to train() and as {ref} in the settings; leave one of them out")
        if value is not None or ref is not None:
            alone[role] = _part(role, ref if value is None else value)
    losses, weights = {}, {}
    named = {name: (own.build, own.weight) for name, own in config.losses.own.items()}
    for name, entry in _joined("losses", given.get("losses"), named).items():
        loss, weight = _pair(f"losses.{name}", entry, "(function, weight), the weight a number of 0 or more")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise UserError(f"losses.{name}: its weight is {weight!r}; give a number of 0 or more")
        if name in _TAKEN or not str(name).isidentifier():
            raise UserError(f"losses.{name}: a loss of ours, or no name; call it something else, such as my_{name}")
        losses[name], weights[name] = _part(f"losses.{name}", loss), float(weight)
    metrics = {}
    for name, entry in _joined("metrics", given.get("metrics"), config.log.metrics).items():
        metrics[name] = _part(f"metrics.{name}", entry)
    return OwnParts(**alone, losses=losses, metrics=metrics, weights=weights)


def _joined(what: str, given: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"{what}: give a dictionary by name, not {type(given).__name__}")
    for name in given or {}:
        if name in named:
            raise UserError(f"{what}.{name}: given to train() and in the settings; leave one of them out")
    return {**named, **(given or {})}


def _pair(what: str, entry: Any, wanted: str) -> tuple[Any, Any]:
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        raise UserError(f"{what}: is {type(entry).__name__}; give {wanted}")
    return entry[0], entry[1]


def _part(role: str, value: Any) -> Part:
    name = value if isinstance(value, str) else ""
    if isinstance(value, str):
        value = resolve_reference(value, role)
    if not callable(value):
        raise UserError(f"{role}: is {type(value).__name__}; give a function or a torch.nn.Module")
    home = type(value) if isinstance(value, nn.Module) else value
    inner = inspect.unwrap(getattr(home, "func", home))
    module = getattr(inner, "__module__", "") or ""
    name = name or f"{module}:{getattr(inner, '__qualname__', type(inner).__name__)}"
    try:
        source = inspect.getsourcefile(inner)
    except TypeError:
        source = None
    return Part(role, name, value, sha256(Path(source)) if source and Path(source).is_file() else "")


def resolve_reference(reference: str, what: str) -> Any:
    """The object that `module:name` names. The module may lie in the current folder, or be a `.py` file.

    Raises:
        UserError: it is not written so, cannot be imported, or holds no such name. `what` names the setting.
    """
    home, separator, name = reference.rpartition(":")
    if not separator or not home or not name:
        raise UserError(f"{what}: {reference!r} is no reference; write my_module:name")
    try:
        module = _from_file(Path(home)) if home.endswith(".py") else _from_here(home)
    except Exception as error:
        said = message_of(error, 200)
        raise UserError(
            f"{what}: {home} cannot be imported ({type(error).__name__}: {said}); run in the folder it is in, or "
            "correct it"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [one for one in vars(module) if not one.startswith("_") and callable(getattr(module, one))]
            raise UserError(f"{what}: {home} holds no {name}; it has {', '.join(names[:6]) or 'nothing of the kind'}")
        found = getattr(found, part)
    return found


@contextmanager
def _found_in(folder: Path) -> Iterator[None]:
    """Look for modules in `folder` first."""
    place = str(folder)
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _from_here(name: str) -> Any:
    with _found_in(Path.cwd()):
        return importlib.import_module(name)


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file {path}")
    module = importlib.util.module_from_spec(spec)
    with _found_in(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


def record_parts(folder: Path, parts: OwnParts, *, resume: bool) -> None:
    """Write down in the run which parts are the user's own; on resuming, compare.

    Raises:
        UserError: the run was started with a part that is not given now, or the other way round.
    """
    path, now = folder / PARTS, parts.record()
    if not resume:
        if now:
            write_text(path, json.dumps(now, indent=2) + "\n")
        return
    before: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for role in {**before, **now}:
        if role.startswith("metrics."):
            continue  # what is only looked at may change
        if role not in now:
            raise UserError(f"{role}: this run was started with {before[role].partition(' ')[0]}; give it again")
        if role not in before:
            raise UserError(f"{role}: this run was started without one of your own; leave it out")
        if before[role] != now[role]:
            _log.warning("%s: is %s now, the run was started with %s", role, now[role], before[role])
