"""PyTorch's own files, read without running anything in them and without more memory than their bytes say."""

import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

DAMAGED = (
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
)
"""What PyTorch and zipfile are seen to raise for damaged files, besides `pickle.UnpicklingError` and `OSError`."""

_ZIP = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_SIZE = 22


def load_pickled(path: Path, *, checksums: bool = False) -> Any:
    """What `torch.save` wrote to `path`, on the CPU.

    Args:
        path: the file.
        checksums: compare every part with its checksum too; only files of our own are sure to have right ones.

    Raises:
        zipfile.BadZipFile: its parts are compressed or are more than the file, which `torch.save` never writes.
        OSError: it cannot be read.
        pickle.UnpicklingError: it holds more than tensors and plain values, or is damaged.
        Exception: one of `DAMAGED`.
    """
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:  # how PyTorch tells its archives from what it wrote before 1.6
            _check_archive(path, checksums)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pickle protocols, for what is refused anyway
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_archive(path: Path, checksums: bool) -> None:
    """PyTorch inflates what is compressed and takes what a part claims to be: 4 MB become 4 GB."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_SIZE))
        if not file.read().startswith(_END):  # two programs may then find two lists of parts
            raise zipfile.BadZipFile("does not end as an archive does")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size for part in parts):
            raise zipfile.BadZipFile("compressed")
        if sum(part.file_size for part in parts) > size:
            raise zipfile.BadZipFile("its parts are more than the file")
        if checksums and archive.testzip() is not None:
            raise zipfile.BadZipFile("a checksum is wrong")
