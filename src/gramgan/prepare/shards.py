"""Sub-images in WebDataset shards: tar files that are read from front to back, on a disk or out of a store.

A sample is two members that follow one another, `KEY.png` and `KEY.json`. `NAME-index.json` lists the shards in the
form of WebDataset's own `wids` index. Photographs are put in an order of their own, and samples of a shard are mixed,
so that neighbours in a shard are of different photographs.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gramgan.files import atomic_path, write_text
from gramgan.prepare.cutting import Photograph, Spot, SubImage, cut_sub_images

SUB_IMAGES_IN_A_SHARD = 256
"""Sub-images in a shard unless the user says otherwise: about 100 MB at 480×480."""


@dataclass(frozen=True)
class Shard:
    """One shard that is to be written: its file's name and what belongs in it."""

    file: str
    spots: tuple[Spot, ...]

    @property
    def plan(self) -> str:
        """A hash of its planned content."""
        return hashlib.sha256("\n".join(spot.key for spot in self.spots).encode()).hexdigest()


def plan_shards(name: str, spots: Iterable[Spot], samples: int) -> list[Shard]:
    """Divide sub-images into shards `NAME-000000.tar`, … of `samples` each; the last one may hold fewer."""
    ordered = sorted(spots, key=lambda spot: (_shuffled(spot.photograph.entry.sha256), spot.key))
    return [
        Shard(f"{name}-{number:06d}.tar", tuple(ordered[start : start + samples]))
        for number, start in enumerate(range(0, len(ordered), samples))
    ]


def write_shard(shard: Shard, folder: Path) -> int:
    """Cut what belongs in a shard and write it, atomically; its size in bytes.

    Raises:
        UserError: a photograph can no longer be read, or the disk is full.
    """
    by_photograph: dict[Photograph, list[Spot]] = {}
    for spot in shard.spots:
        by_photograph.setdefault(spot.photograph, []).append(spot)
    images: list[SubImage] = []
    for photograph, spots in by_photograph.items():
        images.extend(cut_sub_images(photograph, spots))
    images.sort(key=lambda image: _shuffled(image.spot.key))
    with atomic_path(folder / shard.file) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.GNU_FORMAT) as archive:
            for image in images:
                _add(archive, f"{image.spot.key}.png", image.png)
                _add(archive, f"{image.spot.key}.json", image.record())
        return temporary.stat().st_size


def write_index(name: str, shards: Sequence[Shard], sizes: Sequence[int], folder: Path) -> Path:
    """Write `NAME-index.json`, in the form of WebDataset's `wids-shard-index-v1`; its path."""
    path = folder / f"{name}-index.json"
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": name,
        "shardlist": [
            {"url": shard.file, "nsamples": len(shard.spots), "filesize": size}
            for shard, size in zip(shards, sizes, strict=True)
        ],
    }
    write_text(path, json.dumps(index, indent=2) + "\n")
    return path


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: the same input gives the same file
    member.size = len(data)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(data))


def _shuffled(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
