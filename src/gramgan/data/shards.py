"""The images of WebDataset shards: tar files with `KEY.png`, `KEY.jpg` or `KEY.webp`, and their data in `KEY.json`.

The shards are indexed once, when a training starts (some 20,000 samples a second), and an image is then read from its
place. The library `webdataset` reads shards from front to back through a buffer that shuffles: fit for archives behind
a network, but its order depends on the workers, and to go on at a position it must read everything before it again.
With an index every crop is a function of its number here too, and shuffling reaches over all shards.
"""

import logging
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from gramgan.data.items import ImagePlace, Item
from gramgan.errors import UserError
from gramgan.files import parse_json
from gramgan.images.folders import walk
from gramgan.progress import Progress, silent

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_HELD_OUT = "holdout-"  # what `gramgan prepare` calls the shards that are not to be trained on

_RECORD = 2**20  # bytes of a record at most
_DAMAGED = (tarfile.ReadError, MemoryError, OverflowError, RecursionError, ValueError)
"""What tarfile is seen to raise for headers that make no sense."""

_log = logging.getLogger(__name__)


def shards_in(folder: Path) -> list[Path]:
    """The shards below a folder, sorted, or the one shard that `folder` is; none where there are none."""
    if folder.is_file():
        return [folder] if folder.suffix == ".tar" else []
    return [path for path in walk(folder, "shards").files if path.suffix == ".tar"]


def split_shards(folder: Path) -> tuple[list[Path], list[Path]]:
    """(training, held-out) shards of a folder: held out are those named `holdout-…`, as `gramgan prepare` does.

    Raises:
        UserError: there are none to train on.
    """
    shards = shards_in(folder)
    training = [path for path in shards if not path.name.startswith(_HELD_OUT)]
    if not training:
        what = "only held-out shards" if shards else "no shards (NAME-000000.tar, …)"
        raise UserError(f"{folder}: {what} here; make some with `gramgan prepare PHOTOS -o FOLDER --shards`")
    return training, [path for path in shards if path not in training]


def shard_items(shards: list[Path], progress: Progress = silent) -> list[Item]:
    """The images in shards, in their order; other members are passed over, a shard that is cut off is said in the log.

    Raises:
        UserError: a shard cannot be read, or none holds an image.
    """
    found = []
    for number, shard in enumerate(shards, start=1):
        found += _members(shard)
        progress(number, len(shards))
    if shards and not found:
        raise UserError(f"{shards[0]}: no images in it; shards hold KEY.png, KEY.jpg or KEY.webp")
    return found


def _members(shard: Path) -> list[Item]:
    places: dict[str, ImagePlace] = {}
    licences: dict[str, str] = {}
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:
            try:
                for member in archive:
                    if not 0 <= member.size <= size and not member.issparse():
                        raise tarfile.ReadError(f"a member of {member.size} bytes")
                    if member.issparse():  # 1,536 bytes may stand for gigabytes of zeros
                        _log.warning("%s: %s is stored with holes; it is left out", shard, member.name)
                        continue
                    suffix, key = PurePosixPath(member.name).suffix.lower(), _key(member.name)
                    if suffix in SUFFIXES and member.isfile():
                        places[key] = ImagePlace(shard, member.name, member.offset_data, member.size)
                    elif suffix == ".json" and member.isfile() and member.size <= _RECORD:
                        licences[key] = _licence(cast(IO[bytes], archive.extractfile(member)).read())
            except _DAMAGED as error:  # it ends in the middle of a member, which is said below
                _log.debug("%s: %s", shard, error)
            end = min(archive.offset, size)
        with shard.open("rb") as file:
            file.seek(end)
            whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except (*_DAMAGED, tarfile.TarError, OSError) as error:
        raise UserError(f"{shard}: cannot be read as a tar file ({error}); get a whole copy, uncompressed") from None
    if not whole:
        _log.warning("%s: the archive is cut off or damaged from byte %d on; what lies before is used", shard, end)
    return [Item(place.member, place, licence=licences.get(key, Item.licence)) for key, place in places.items()]


def _key(name: str) -> str:
    """WebDataset's key of a sample: the name up to the first point in its last part."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _licence(record: bytes) -> str:
    try:
        values = parse_json(record)
    except ValueError:  # another program's, perhaps not even text
        return Item.licence
    licence = values.get("licence") if isinstance(values, dict) else None
    return licence if isinstance(licence, str) and licence else Item.licence
