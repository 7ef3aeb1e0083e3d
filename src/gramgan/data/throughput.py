"""How many crops a second each way of reading gives on this machine."""

import io
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gramgan.data.choice import kind_of
from gramgan.data.items import Item, items_of
from gramgan.data.pairs import pair_items
from gramgan.data.resident import ResidentPhotos
from gramgan.data.shards import shard_items, shards_in
from gramgan.data.source import CropSource, Demand
from gramgan.data.stream import StreamedImages
from gramgan.errors import UserError
from gramgan.images import Window, find_images, write_image
from gramgan.images.pairing import pair_with

SUB_IMAGE = 480
"""Side of the sub-images that stand for what `gramgan prepare` makes, in pixels."""
_SUB_IMAGES = 48
_LOADED = 32  # images that the resident source is measured with


@dataclass(frozen=True)
class ReadingRate:
    """What one way of reading gives: `images_per_s` decoded (by a resident source once, while it loads), and crops."""

    source: str
    images: int
    images_per_s: float
    crops_per_s: float


def measure_feeding(
    folder: Path, low: Path | None, demand: Demand, *, workers: int, seconds: float = 3.0
) -> list[ReadingRate]:
    """Measure each way of reading the images of a folder, about `seconds` each.

    Photographs are measured streamed, resident (up to 32 of them), and as what `gramgan prepare` would make of them:
    sub-images and shards, of which a few are made in a temporary folder. They come from the system's file cache where
    that holds them: a slow disk shows in the first row alone.

    Raises:
        UserError: there are no images, or none is large enough.
    """
    kind = kind_of(folder, low)
    if kind == "shards":
        items = shard_items(shards_in(folder))
    elif low is not None:
        items = pair_items(pair_with(folder, low, "LR"))
    else:
        items = items_of(find_images(folder))
    if not items:
        raise UserError(f"{folder}: no images and no shards here; give a folder of photographs or of shards")
    rates = [_streamed(kind, items, demand, workers, seconds), _resident(items, demand, seconds)]
    if kind == "folder":
        with tempfile.TemporaryDirectory() as place:
            files, shard = prepared_samples(items, Path(place))
            if files:
                rates.append(_streamed("sub-images", items_of(files), demand, workers, seconds))
                rates.append(_streamed("shards", shard_items([shard]), demand, workers, seconds))
    return rates


def prepared_samples(items: Sequence[Item], folder: Path) -> tuple[list[Path], Path]:
    """Up to 48 sub-images as PNG files in `folder`, and a shard of the same; none of images that cannot be used."""
    files: list[Path] = []
    for item in items:
        if len(files) >= _SUB_IMAGES:
            break
        files += _sub_images(item, folder, len(files))
    shard = folder / "train-000000.tar"
    with tarfile.open(shard, "w") as archive:
        for file in files:
            for suffix, content in ((".png", file.read_bytes()), (".json", b'{"licence": "unknown"}')):
                member = tarfile.TarInfo(file.stem + suffix)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return files, shard


def _sub_images(item: Item, folder: Path, number: int) -> list[Path]:
    try:
        raster = item.high.open()
        info = raster.info
        corners = [
            (x, y)
            for y in range(0, info.height - SUB_IMAGE + 1, SUB_IMAGE)
            for x in range(0, info.width - SUB_IMAGE + 1, SUB_IMAGE)
        ]
        made = []
        for x, y in corners[: _SUB_IMAGES - number]:
            made.append(folder / f"{number + len(made):06d}.png")
            write_image(made[-1], raster.read_rgb(Window(x, y, SUB_IMAGE, SUB_IMAGE)))
    except UserError:
        return []  # the first two rows name it
    return made


def _streamed(name: str, items: Sequence[Item], demand: Demand, workers: int, seconds: float) -> ReadingRate:
    with StreamedImages(items, demand, workers=workers) as source:
        source.next()  # the workers have started
        crops = _crops_per_s(source, seconds)
    return ReadingRate(name, len(items), crops, crops)


def _resident(items: Sequence[Item], demand: Demand, seconds: float) -> ReadingRate:
    some = items[:: max(1, len(items) // _LOADED)][:_LOADED]
    started = time.perf_counter()
    source = ResidentPhotos(some, demand)
    loading = time.perf_counter() - started
    return ReadingRate("resident", len(items), len(some) / loading, _crops_per_s(source, min(seconds, 1.0)))


def _crops_per_s(source: CropSource, seconds: float) -> float:
    taken, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds or not taken:
        float(source.next().images[0, 0, 0, 0])  # also from a GPU, which is then done
        taken += source.demand.batch
    return taken / passed
