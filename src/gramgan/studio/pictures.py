"""The pictures on the page: the known facts of each, and the cost of enlarging it."""

import itertools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gramgan.condition.inspection import Inspection, inspect_file
from gramgan.errors import UserError
from gramgan.images import find_images
from gramgan.images.formats import IMAGE_SUFFIXES
from gramgan.scientific.arrangement import arrange_file
from gramgan.scientific.base import Reading
from gramgan.scientific.detect import DICOM_SUFFIXES, is_dicom, open_scientific, scientific_kind
from gramgan.studio.speed import seen_pixels
from gramgan.upscaling.api import PictureHistory, Upscaling
from gramgan.upscaling.scientific import reading_of
from gramgan.upscaling.settings import Settings

READ_SUFFIXES = (*sorted(IMAGE_SUFFIXES), *DICOM_SUFFIXES)
_BYTES = {8: 1, 16: 2, 32: 4}


@dataclass
class Picture:
    """A file on the page. `uploaded` ones have no place of their own where a result could lie beside them."""

    id: str
    path: Path
    uploaded: bool
    facts: "PictureFacts | None" = None
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class PictureFacts:
    """What was found in a file: a line of words, its size, bytes of a pixel in all its layers and pages together, and
    what it has been through."""

    words: str
    width: int
    height: int
    pixel_bytes: int
    pictures: int
    seen: PictureHistory | None
    scientific: str | None


class Pictures:
    """All pictures of the page, in the order in which they came."""

    def __init__(self) -> None:
        self._pictures: dict[str, Picture] = {}
        self._numbers = itertools.count(1)

    def add(self, path: Path, *, uploaded: bool) -> Picture:
        """Put a file on the page; one that is there already is not put there twice."""
        for known in self.all():
            if known.path == path:
                return known
        picture = Picture(str(next(self._numbers)), path, uploaded)
        self._pictures[picture.id] = picture
        return picture

    def get(self, number: str) -> Picture:
        """A picture by its number.

        Raises:
            UserError: there is none.
        """
        try:
            return self._pictures[number]
        except KeyError:
            raise UserError(f"picture {number}: is not on the page any more; load it again") from None

    def all(self) -> list[Picture]:
        """Every picture."""
        return list(self._pictures.values())

    def remove(self, number: str) -> Picture:
        """Take a picture off the page. Raises what `get` raises."""
        picture = self.get(number)
        del self._pictures[number]
        return picture


class JobSpeed:
    """Seconds that an input pixel takes, as the jobs of this page have shown."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def took(self, model: str, pixels: float, seconds: float) -> None:
        """Note what a job has cost; several are averaged, the newest counts most."""
        new = seconds / pixels
        self._seconds[model] = (self._seconds.get(model, new) + new) / 2

    def of(self, model: str, pixels: float) -> float | None:
        """What so many pixels would cost; None before the first job with these weights."""
        return None if model not in self._seconds else self._seconds[model] * pixels


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below a folder. Raises `UserError` where there are none."""
    return find_images(folder, also=is_dicom)


def picture_facts(picture: Picture) -> PictureFacts:
    """What is in a file; measured once.

    Raises:
        UserError: it cannot be read.
    """
    with picture.lock:
        if picture.facts is None:
            kind = scientific_kind(picture.path)
            picture.facts = _of_scientific(picture.path, kind) if kind else _of_picture(inspect_file(picture.path))
        return picture.facts


def _of_picture(found: Inspection) -> PictureFacts:
    from gramgan.condition.container import lossy_container

    info = found.info
    return PictureFacts(
        words=found.describe(),
        width=info.width,
        height=info.height,
        pixel_bytes=info.channels * _BYTES[info.bits] * info.pages,
        pictures=info.pages,
        seen=PictureHistory(found.condition, lossy_container(found.path)),
        scientific=None,
    )


def _of_scientific(path: Path, kind: str) -> PictureFacts:
    reading = Reading()
    file = open_scientific(path, reading)
    if file is None:
        raise UserError(f"{path}: a {kind} that cannot be read; see `gramgan inspect`")
    try:
        layers = [f"{layer.name}{f' in {layer.unit}' if layer.unit else ''}" for layer in file.layers[:8]]
        more = f" and {len(file.layers) - 8} more" if len(file.layers) > 8 else ""
        words = f"{file.form}, {file.width}x{file.height}, {file.dtype}, {', '.join(layers)}{more}"
        return PictureFacts(
            words=words + (", with holes" if file.has_holes else ""),
            width=file.width,
            height=file.height,
            pixel_bytes=file.dtype.itemsize * len(file.layers),
            pictures=max(1, len(arrange_file(file, reading).groups)),
            seen=None,
            scientific=kind,
        )
    finally:
        file.close()


def plan(picture: Picture, settings: Settings, pace: JobSpeed) -> dict[str, Any]:
    """What enlarging a picture with some settings would come to, before it is done.

    Raises:
        UserError: the picture cannot be read, or the settings do not fit it.
    """
    facts = picture_facts(picture)
    upscaling = Upscaling(settings)
    if facts.scientific and not settings.plain:
        reading_of(settings)
    passes = upscaling.scale.plan(facts.width, facts.height, picture.path.name)
    weights = str(upscaling.weights_for(None if facts.scientific else facts.seen))
    pixels = work_of(picture, settings)
    return {
        "weights": Path(weights).name,
        "spec": weights,
        "chosen": upscaling.chooses,
        "width": passes.width,
        "height": passes.height,
        "way": passes.describe() if len(passes.passes) > 1 or not passes.native else "",
        "bytes": passes.width * passes.height * facts.pixel_bytes,
        "seconds": pace.of(weights, pixels),
    }


def work_of(picture: Picture, settings: Settings) -> float:
    """Pixels that the network sees for a picture, over all passes and pages."""
    facts = picture_facts(picture)
    passes = settings.check().plan(facts.width, facts.height, picture.path.name).passes
    return facts.pictures * sum(seen_pixels(each.width, each.height) for each in passes)
