"""What is installed here and what the machine has: told without fail, also where torch itself is broken."""

import importlib
import importlib.metadata
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

from gramgan.hardware.memory import available_bytes
from gramgan.hardware.processor import bf16_instructions, processor_name, threads
from gramgan.installed import package_version

_PACKAGE = "gramgan"
_NOT_FOR_USERS = ("dev",)
# Packages with compiled parts, and the module that loads these: a wheel that does not fit the system fails here.
_COMPILED = {
    "numpy": "numpy",
    "torch": "torch",
    "lightning-fabric": "lightning_fabric",
    "pyvips": "pyvips",
    "pylance": "lance",
    "pykdtree": "pykdtree.kdtree",
    "safetensors": "safetensors.torch",
}


@dataclass(frozen=True)
class Library:
    """A package that Gram-GAN needs. `version` is "" where it is missing, `fault` is "" where all is well."""

    name: str
    version: str
    fault: str


@dataclass(frozen=True)
class Extra:
    """An optional group of packages, `pip install 'gramgan[NAME]'`; `missing` are those that are not here."""

    name: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Device:
    """Something that computes: its name in torch, its model, bytes of memory that are free, and what else it has."""

    name: str
    model: str
    free_bytes: int
    detail: str


def libraries() -> list[Library]:
    """Every package that Gram-GAN cannot do without; those with compiled parts are loaded, which takes seconds."""
    return [
        Library(needed.name, version, _fault(needed, version))
        for needed in _requirements("")
        for version in [package_version(needed.name)]
    ]


def extras() -> list[Extra]:
    """Every optional group; nothing is loaded."""
    names = importlib.metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []
    return [
        Extra(name, tuple(each.name for each in _requirements(name) if not package_version(each.name)))
        for name in names
        if name not in _NOT_FOR_USERS
    ]


def devices() -> list[Device]:
    """The processor, then the accelerators that torch finds (none where torch cannot be loaded)."""
    instructions = bf16_instructions()
    detail = f"{threads()} threads" + (f", bf16 by {instructions}" if instructions else ", no bf16 instructions")
    return [Device("cpu", processor_name(), available_bytes(), detail), *_accelerators()]


def python_and_system() -> tuple[str, str]:
    """Version of Python, name of the system."""
    return platform.python_version(), platform.platform()


def _requirements(extra: str) -> Iterator[Requirement]:
    """What the package needs here with this extra; with "" what it always needs."""
    for text in importlib.metadata.requires(_PACKAGE) or []:
        needed = Requirement(text)
        holds = {name: needed.marker is None or needed.marker.evaluate({"extra": name}) for name in ("", extra)}
        if holds[extra] and not (extra and holds[""]):
            yield needed


def _fault(needed: Requirement, version: str) -> str:
    if not version:
        return "is missing"
    if not needed.specifier.contains(version, prereleases=True):
        return f"{needed.specifier} is needed"
    module = _COMPILED.get(needed.name)
    if module is not None:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:  # OSError: a shared library that is not there
            return f"cannot be loaded ({' '.join(str(error).split())})"
    return ""


def _accelerators() -> Iterator[Device]:
    try:
        import torch
    except (ImportError, OSError):  # said by `libraries`
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            free = torch.cuda.mem_get_info(index)[0]
            detail = f"compute capability {facts.major}.{facts.minor}, {facts.total_memory / 2**30:.0f} GiB in all"
            yield Device(f"cuda:{index}", facts.name, free, detail)
    elif torch.backends.mps.is_available():
        yield Device("mps", "Apple GPU", available_bytes(), "upscaling only")
