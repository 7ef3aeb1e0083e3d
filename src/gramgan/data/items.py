"""What a source draws from: images, or pairs of a low- and a high-resolution one, each a file or a part of one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.images import Raster


@dataclass(frozen=True)
class ImagePlace:
    """The place of an image: a file, or the `member` of an archive, `size` bytes from `offset` on."""

    path: Path
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    def open(self, *, sequential: bool = False) -> Raster:
        """Open the image (see `Raster.open`); of an archive the member alone is read.

        Raises:
            UserError: it is missing or no image.
        """
        if not self.member:
            return Raster.open(self.path, sequential=sequential)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                data = _read(file.fileno(), self.size)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}); check the disk") from None
        if len(data) < self.size:
            raise UserError(f"{self}: the archive ends too early; get a whole copy")
        return Raster.open(str(self), sequential=sequential, data=data)


@dataclass(frozen=True)
class Item:
    """One image to train on. Messages and logs use `name`; `low` is its LR image, if there is one.

    `licence` is "unknown" where nothing says it.
    """

    name: str
    high: ImagePlace
    low: ImagePlace | None = None
    licence: str = "unknown"


def items_of(paths: Iterable[Path], licences: Mapping[Path, str] | None = None) -> list[Item]:
    """Image files as items, named by their files; `licences` by file, as far as they are known."""
    known = licences or {}
    return [Item(path.name, ImagePlace(path), licence=known.get(path, Item.licence)) for path in paths]


def _read(descriptor: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(descriptor, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
