"""The photographs that a texture database is built from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gramgan.arguments import expect
from gramgan.collect import known_licences
from gramgan.files import sha256
from gramgan.names import in_utf8


@dataclass(frozen=True)
class Source:
    """One photograph that patches are taken from.

    Attributes:
        path: the file.
        licence: its name, as `CC0-1.0`; every patch keeps it.
        domain: a label by which patches are searched, mixed and removed.

    Raises:
        UserError: `path` is no path.
    """

    path: Path
    licence: str = "unknown"
    domain: str = "photo"

    def __post_init__(self) -> None:
        expect("path", self.path, Path)

    @property
    def source_id(self) -> str:
        """What the table calls the photograph: its file name and the beginning of its SHA-256. Reads the file."""
        return f"{in_utf8(self.path.name)}#{sha256(self.path)[:12]}"


def photograph_name(source_id: str) -> str:
    """The file name in a `source_id`."""
    return source_id.rpartition("#")[0] or source_id


def sources_of(
    folder: Path, photographs: Iterable[Path], *, licence: str = "unknown", domain: str = "photo"
) -> list[Source]:
    """`photographs` of `folder` with the licences that its manifest tells; `licence` for those that it does not list.

    Raises:
        UserError: the manifest is damaged.
    """
    licences = known_licences(folder)
    return [Source(path, licences.get(path, licence), domain) for path in photographs]
