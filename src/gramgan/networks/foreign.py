"""Generators of other architectures than ours, as the package spandrel reads them: DAT, HAT, RealPLKSR, Compact.

spandrel imports torchvision for two architectures that do not enlarge (LaMa, RestoreFormer). Where torchvision is not
installed, a module of that name stands in while spandrel is imported, and nothing of it stays.
"""

import importlib
import math
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gramgan.errors import UserError, message_of
from gramgan.installed import is_installed
from gramgan.weights.card import Card
from gramgan.weights.pickled import DAMAGED

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

ALIGN = 32
"""Tiles begin at multiples of it: the windows of all transformers that spandrel reads divide it, or say so."""

_MODULE = "torchvision.transforms.functional"
_NAMES = ("InterpolationMode", "rotate", "normalize")


@dataclass(frozen=True)
class ForeignGenerator:
    """A generator that spandrel has read, with a card that says its architecture, scale and rules of sizes."""

    descriptor: "ImageModelDescriptor[Any]"
    card: Card

    @property
    def whole(self) -> bool:
        """Whether the network divides pictures itself, so that it takes only whole ones."""
        return self.card.architecture["tiling"] == "internal"

    @property
    def width(self) -> int:
        """The most channels that one of its layers has, for an estimate of the memory it takes."""
        return max((value.shape[0] for value in self.descriptor.model.parameters() if value.ndim > 1), default=64)


def read_foreign(state: Mapping[str, Tensor], path: Path) -> ForeignGenerator:
    """Build the network that the tensors of `path` are of.

    Raises:
        UserError: spandrel is not installed, does not know the architecture, or it is no RGB generator.
    """
    if not is_installed("spandrel"):
        raise UserError(
            f"{path}: neither an RRDBNet nor a SPAN; other architectures are read by spandrel, run "
            "`pip install 'gramgan[spandrel]'`"
        )
    spandrel = import_spandrel()
    try:
        found = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state))
    except spandrel.UnsupportedModelError:
        names = ", ".join(list(state)[:3])
        raise UserError(
            f"{path}: neither an RRDBNet nor a SPAN nor an architecture that spandrel knows; it has {len(state)} "
            f"tensors such as {names}; give the weights of a generator"
        ) from None
    except (*DAMAGED, ArithmeticError, ImportError) as error:  # of the architectures' own code
        said = message_of(error, 120)
        raise UserError(f"{path}: spandrel cannot build its network ({said}); get the file again") from None
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise UserError(f"{path}: {found.architecture.name} is no generator of RGB pictures; give one that is")
    return ForeignGenerator(found.eval(), _card(found, path))


def _card(found: "ImageModelDescriptor[Any]", path: Path) -> Card:
    return Card(
        name=path.stem,
        architecture={
            "network": "spandrel",
            "kind": found.architecture.name,
            "tags": " ".join(found.tags),
            "scale": found.scale,
            "align": math.lcm(ALIGN, found.size_requirements.multiple_of),
            "tiling": found.tiling.name.lower(),
        },
        licence="unknown",
        origin=str(path),
        notes=["The file has no card: data, licence and overlap are not known."],
    )


def import_spandrel() -> types.ModuleType:
    """spandrel, whether or not torchvision is installed."""
    if is_installed("torchvision") or "spandrel" in sys.modules:
        return importlib.import_module("spandrel")
    with _stand_in():
        return importlib.import_module("spandrel")


@contextmanager
def _stand_in() -> Iterator[None]:
    """Modules under torchvision's names, for as long as spandrel is imported; what is called of them says why not."""

    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("this architecture needs torchvision; run `pip install torchvision`")

    class Missing:
        """Stands for an enumeration whose members are looked up when a module is imported."""

        def __getattr__(self, name: str) -> Any:
            return missing

    names = [_MODULE.rsplit(".", depth)[0] for depth in range(_MODULE.count("."), -1, -1)]
    modules = {name: types.ModuleType(name) for name in names}
    for name in _NAMES:
        setattr(modules[_MODULE], name, Missing() if name[0].isupper() else missing)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
