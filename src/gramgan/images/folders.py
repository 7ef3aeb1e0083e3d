"""Finding the images in a folder."""

from collections.abc import Callable
from pathlib import Path

from gramgan.errors import UserError
from gramgan.images.formats import IMAGE_SUFFIXES


def find_images(folder: Path | str, also: Callable[[Path], bool] = lambda _: False) -> list[Path]:
    """All files below `folder` with an image's suffix, sorted; hidden files and folders are passed over.

    `also` says of a file with another suffix, or none, whether it is one all the same.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "this is a file, not a folder" if folder.is_file() else "no such folder"
        raise UserError(f"{folder}: {what}; give a folder with images")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path.relative_to(folder))]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES or also(path)]
    if not images:
        holds = f"it holds {len(files)} other file{'s' * (len(files) != 1)}" if files else "it is empty"
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{folder}: no images in this folder ({holds}); give a folder with {kinds} files")
    return images


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
