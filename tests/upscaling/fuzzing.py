"""Every reader over damaged files, in a process that may open no connection and has limits of time and memory.

`python tests/upscaling/fuzzing.py FOLDER COUNT READER...` damages good files by seed, has each read, and prints as JSON
what went against the promise of SECURITY.md. `tests/test_fuzz.py` runs it.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import io
import json
import platform
import resource
import shutil
import signal
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from nearest import upscale

from gramgan.errors import UserError

SECONDS = 20
_AUDIT_X86_64 = 0xC000003E
_SOCKET = 41  # the system call on x86-64
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _TRAP = 0x7FFF0000, 0x00030000

_OME = """<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0" Name="a"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="24" SizeC="2"
SizeZ="2" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeXUnit="um" PhysicalSizeY="0.5"><Channel ID="Channel:0:0" Name="red"
SamplesPerPixel="1"/><Channel ID="Channel:0:1" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="4"/></Pixels></Image>
</OME>"""

_SERVER = "203.0.113.1"  # of a network that is set apart for documentation: an address needs no name to be looked up

Read = Callable[[Path], object]


@dataclass
class Found:
    """What one reader did: how many files it read or refused in one line, and all that it must not do."""

    read: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    grown: int = 0


def no_network() -> None:
    """From now on the kernel ends this process when it, or a library in it, asks for an internet socket."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("gramgan.scientific.geotiff")  # GDAL's libcurl asks whether there is IPv6
    faulthandler.register(signal.SIGSYS, chain=True)  # where it was, and then the end
    load, equal, end = 0x20, 0x15, 0x06  # classic BPF: load a word, jump if equal, return
    code = [
        (load, 0, 0, 4),  # architecture
        (equal, 0, 6, _AUDIT_X86_64),
        (load, 0, 0, 0),  # number of the call
        (equal, 0, 4, _SOCKET),
        (load, 0, 0, 16),  # first argument, the family
        (equal, 1, 0, int(socket.AF_INET)),
        (equal, 0, 1, int(socket.AF_INET6)),
        (end, 0, 0, _TRAP),
        (end, 0, 0, _ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flipped bits, a cut, extreme bytes near the beginning, zeros, bytes lost or doubled, a number replaced."""
    result, size = bytearray(data), len(data)
    near = int(rng.integers(0, size if rng.random() < 0.5 else min(size, 512)))
    match int(rng.integers(0, 6)):
        case 0:
            for _ in range(int(rng.integers(1, 12))):
                result[int(rng.integers(0, size))] ^= 1 << int(rng.integers(0, 8))
        case 1:
            del result[near:]
        case 2:
            for _ in range(int(rng.integers(1, 5))):
                result[int(rng.integers(0, min(size, 400)))] = int(rng.choice([0, 1, 127, 128, 255]))
        case 3:
            result[near : near + 60] = bytes(len(result[near : near + 60]))
        case 4:
            part = bytes(result[near : near + int(rng.integers(1, 64))])
            result[near : near + len(part)] = b"" if rng.random() < 0.5 else part + part
        case _:
            number = int(rng.choice([-1, 0, 2**15, 2**31 - 1, 2**31, 2**32 - 2]))
            result[near : near + 4] = (number % 2**32).to_bytes(4, str(rng.choice(["little", "big"])))  # type: ignore[arg-type]
    return bytes(result)


def _pixels(side: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _upscaled(path: Path) -> object:
    target = path.parent / "out" / path.name
    try:
        return upscale(path, target)
    finally:
        shutil.rmtree(target.parent, ignore_errors=True)


def _pictures(folder: Path) -> Read:
    from PIL import Image

    for suffix in ("jpg", "png", "webp", "avif", "gif"):
        Image.fromarray(_pixels()).save(folder / f"a.{suffix}")
    return _upscaled


def _tiffs(folder: Path) -> Read:
    import tifffile

    for name, settings in {"plain": {}, "zip": {"compression": "zlib"}, "tiles": {"tile": (16, 16)}}.items():
        tifffile.imwrite(folder / f"{name}.tif", _pixels(), photometric="rgb", **settings)
        tifffile.imwrite(folder / f"{name}-big.tif", _pixels(), photometric="rgb", bigtiff=True, **settings)
    return _upscaled


def _ome(folder: Path) -> Read:
    import tifffile

    pages = np.zeros((4, 24, 24), np.uint16)
    tifffile.imwrite(folder / "a.ome.tif", pages, description=_OME, metadata=None, photometric="minisblack")
    elsewhere = _OME.replace(
        "<TiffData IFD", f'<TiffData><UUID FileName="http://{_SERVER}/a.tif"/></TiffData><TiffData IFD'
    )
    tifffile.imwrite(folder / "other.ome.tif", pages, description=elsewhere, metadata=None, photometric="minisblack")
    tifffile.imwrite(folder / "b.tif", np.zeros((2, 24, 24), np.uint16), imagej=True, metadata={"axes": "ZYX"})
    return _upscaled


def _dicom(folder: Path) -> Read:
    import pydicom

    source = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd.dcm"):
        shutil.copy(source / name, folder / name)
    image = pydicom.dcmread(source / "CT_small.dcm")
    image.PixelDataProviderURL = f"http://{_SERVER}/pixels"
    image.save_as(folder / "elsewhere.dcm")
    return _upscaled


def _geotiff(folder: Path) -> Read:
    import rasterio
    from rasterio.transform import from_origin

    values = np.arange(2 * 24 * 24, dtype=np.uint16).reshape(2, 24, 24)
    shape = {"count": 2, "height": 24, "width": 24, "dtype": "uint16"}
    with rasterio.open(
        folder / "a.tif",
        "w",
        driver="GTiff",
        crs="EPSG:32632",
        transform=from_origin(5e5, 5e6, 10, 10),
        nodata=7,
        **shape,
    ) as file:
        file.write(values)
        file.update_tags(place="here")
        file.set_band_description(1, "red")
    shutil.copy(folder / "a.tif", folder / "overview.tif")
    with rasterio.open(folder / "overview.tif", "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/http://{_SERVER}/x.tif")
    return _upscaled


def _weights(folder: Path) -> Read:
    import safetensors.torch
    import torch

    from gramgan.networks.build import load_generator
    from gramgan.networks.rrdb import RRDBConfig, RRDBNet
    from gramgan.weights.card import Card
    from gramgan.weights.formats import write_packed, write_pth, write_safetensors

    config = RRDBConfig(nf=8, nb=1, gc=4, upsampler="nearest")
    card = Card(name="a", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0")
    state = RRDBNet(config).state_dict()
    write_safetensors(folder / "card.safetensors", state, card)
    write_packed(folder / "packed.safetensors", state, card)
    safetensors.torch.save_file(state, folder / "plain.safetensors")
    write_pth(folder / "zip.pth", state)
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return load_generator


def _checkpoints(folder: Path) -> Read:
    import torch

    from gramgan.training.checkpoint import load_checkpoint, save_checkpoint

    save_checkpoint(folder, 1, {"a": torch.rand(50), "names": ["a", "b"], "rates": {"x": 1.0}}, keep=1)
    return lambda path: load_checkpoint(path.parent)


def _journals(folder: Path) -> Read:
    from gramgan.collect.journal import Journal
    from gramgan.collect.manifest import LeftOutFile, ManifestEntry
    from gramgan.files import append_record
    from gramgan.training.folder import read_log

    texts: dict[str, Any] = {each.name: f"text {each.name}" for each in fields(ManifestEntry)}
    journal = Journal(folder / "made")
    journal.add(ManifestEntry(**texts | {"width": 64, "height": 48, "split": "train"}))
    journal.add(LeftOutFile("b.jpg", "too small"))
    shutil.copy(folder / "made" / ".collect" / "journal.jsonl", folder / "journal.jsonl")
    shutil.rmtree(folder / "made")
    append_record(folder / "log.jsonl", {"event": "step", "iteration": 3, "losses": {"l1": 0.5}})

    def read(path: Path) -> object:
        if path.name == "log.jsonl":
            return read_log(path.parent)
        state = Journal(path.parent).folder
        shutil.copy(path, state / "journal.jsonl")
        try:
            return Journal(path.parent).read()
        finally:
            shutil.rmtree(state)

    return read


class _Answered:
    """A socket on which an answer is ready."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)

    def sendall(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def _answers(folder: Path) -> Read:
    from gramgan import transport
    from gramgan.fetch import Manners, fetch

    patience = Manners(attempts=2, pause=0)
    body = b"x" * 200
    for name, head, rest in (
        ("plain", b'200 OK\r\nContent-Length: 200\r\nETag: "a"', body),
        ("part", b"206 Partial Content\r\nContent-Range: bytes 0-199/200\r\nContent-Length: 200", body),
        (
            "chunks",
            b"200 OK\r\nTransfer-Encoding: chunked",
            b"64\r\n" + body[:100] + b"\r\n64\r\n" + body[:100] + b"\r\n0\r\n\r\n",
        ),
        ("moved", b"302 Found\r\nLocation: https://files.example/other", b""),
        ("busy", b"429 Too Many Requests\r\nRetry-After: 0", b""),
    ):
        (folder / name).write_bytes(b"HTTP/1.1 " + head + b"\r\n\r\n" + rest)

    class Resolved(transport.HttpsTransport):
        def resolve(self, host: str, port: int) -> Sequence[str]:
            return ["93.184.216.34"]

    def read(path: Path) -> object:
        transport._PinnedConnection.connect = lambda self: setattr(self, "sock", _Answered(path.read_bytes()))  # type: ignore[method-assign]
        target = path.parent / "fetched" / "file"
        try:
            return fetch("https://files.example/file", target, size_limit=10**6, transport=Resolved(), manners=patience)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        finally:
            shutil.rmtree(target.parent, ignore_errors=True)

    return read


READERS: Mapping[str, Callable[[Path], Read]] = {
    "pictures": _pictures,
    "TIFF directories": _tiffs,
    "OME-XML": _ome,
    "DICOM": _dicom,
    "GeoTIFF tags": _geotiff,
    "weights": _weights,
    "checkpoints": _checkpoints,
    "journals": _journals,
    "HTTP answers": _answers,
}


def attack(name: str, folder: Path, count: int) -> Found:
    """Read `count` damaged files with the reader `name`."""
    good, work = folder / "good", folder / "work"
    for each in (good, work):
        each.mkdir(parents=True)
    read = READERS[name](good)
    files = sorted(path for path in good.iterdir() if path.is_file())
    for path in files:  # what is loaded once is no growth, and no hang
        shutil.copy(path, work / path.name)
        with contextlib.suppress(UserError):  # a busy server
            read(work / path.name)
        (work / path.name).unlink()
    found, before = Found(), _peak()
    for seed in range(count):
        path = work / files[seed % len(files)].name
        path.write_bytes(damaged(files[seed % len(files)].read_bytes(), np.random.default_rng((seed, len(name)))))
        _one(read, path, f"{name}, seed {seed}, {path.name}", found)
    found.grown = _peak() - before
    return found


def _one(read: Read, path: Path, label: str, found: Found) -> None:
    print(label, file=sys.stderr, flush=True)  # the last line, if the process is ended
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    start = time.perf_counter()
    try:
        read(path)
        found.read += 1
    except UserError as error:
        found.refused += 1
        if path.name not in str(error) or "\n" in str(error) or len(str(error)) > len(str(path)) + 600:
            found.wrong.append(f"{label}: not one line with its name: {error}")
    except Exception as error:  # noqa: BLE001
        found.wrong.append(f"{label}: {type(error).__name__}: {error}")
    seconds = time.perf_counter() - start
    faulthandler.cancel_dump_traceback_later()
    found.slowest = max(found.slowest, seconds)
    path.unlink()
    if left := [each.name for each in path.parent.iterdir()]:
        found.wrong.append(f"{label}: left behind {left}")
        shutil.rmtree(path.parent)
        path.parent.mkdir()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: str, count: str, *readers: str) -> None:
    """Print `{reader: Found}`."""
    warnings.simplefilter("ignore")
    no_network()
    found = {name: asdict(attack(name, Path(folder) / name, int(count))) for name in readers or READERS}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
