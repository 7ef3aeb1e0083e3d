"""The package as a user meets it: built, installed into an empty environment, and started."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import pyvips
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gramgan
from gramgan.cli import manual
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Extras that `make` leaves out, each with a module that is there where it is installed.
APART = {"docs": "mkdocs", "kubernetes": "aiohttp_cors"}
# A busy machine makes single runs slow; one run within the limit shows that the program is not.
TRIES = 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment: the wheel in it, and what it depends on borrowed from this one."""
    home = tmp_path_factory.mktemp("installed") / "env"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    programs = Path(sysconfig.get_path("scripts", "venv", {"base": str(home)}))
    library = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    # Installing torch again would take minutes. The .pth files of the borrowed folder are not read from here, so the
    # editable install of this checkout stays out of sight.
    (library / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    python = programs / ("python.exe" if os.name == "nt" else "python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    result = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return programs


def program(folder: Path, name: str) -> str:
    found = shutil.which(name, path=str(folder))
    assert found, f"no {name} in {folder}"
    return found


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    # The user's cache and the caller's Python path have no part in this.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"GRAMGAN_CACHE": str(cwd / "cache"), "COLUMNS": "120"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_wheel_holds_the_package_and_its_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    expected = {name for name in shipped if "__pycache__" not in name}
    information = f"gramgan-{gramgan.__version__}.dist-info"
    assert expected <= names
    assert {f"{information}/licenses/LICENSE", f"{information}/licenses/NOTICE"} <= names
    pages = {f"gramgan-{gramgan.__version__}.data/data/share/man/man1/{name}" for name in manual.pages()}
    assert names - expected == pages | {name for name in names if name.startswith(f"{information}/")}


def test_installed_package_is_the_wheel_s(installed: Path, tmp_path: Path) -> None:
    result = run([program(installed, "python"), "-c", "import gramgan; print(gramgan.__file__)"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert installed.parent in Path(result.stdout.strip()).parents


def test_installed_program_tells_its_commands_and_version(installed: Path, tmp_path: Path) -> None:
    gramgan_program = program(installed, "gramgan")
    helped = run([gramgan_program, "--help"], tmp_path)
    assert helped.returncode == 0, helped.stderr
    for command in ("collect", "db", "demo", "evaluate", "train", "upscale", "weights"):
        assert re.search(rf"\b{command}\b", helped.stdout), f"{command} is not in the help"
    version = run([gramgan_program, "--version"], tmp_path)
    assert version.returncode == 0, version.stderr
    assert gramgan.__version__ in version.stdout


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man here")
def test_man_finds_the_page_of_an_environment_on_the_path(installed: Path) -> None:
    found = subprocess.run(
        ["man", "--where", "gramgan", "gramgan-upscale"],
        env={"PATH": f"{installed}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    folder = installed.parent / "share" / "man" / "man1"
    assert found.stdout.splitlines() == [str(folder / "gramgan.1"), str(folder / "gramgan-upscale.1")]


def test_installed_program_upscales_a_picture(installed: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RRDBConfig(nf=8, nb=1, gc=4, upsampler="nearest")
    card = Card(name="tiny", architecture={"network": "rrdb", **config.to_dict()}, licence="Apache-2.0", overlap=4)
    write_safetensors(tmp_path / "tiny.safetensors", RRDBNet(config).state_dict(), card)
    pixels = np.random.default_rng(0).integers(0, 256, (11, 17, 3), np.uint8)
    pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").write_to_file(str(tmp_path / "small.png"))
    command = [program(installed, "gramgan"), "upscale", "small.png", "-o", "large.png"]
    result = run([*command, "--model", "tiny.safetensors", "--precision", "fp32"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    large = pyvips.Image.new_from_file(str(tmp_path / "large.png"))
    assert (large.width, large.height, large.bands) == (68, 44, 3)


def within(limit: float, measure: Callable[[], float]) -> bool:
    return any(measure() < limit for _ in range(TRIES))


def test_import_takes_less_than_a_tenth_of_a_second(tmp_path: Path) -> None:
    code = "import time; t = time.perf_counter(); import gramgan; print(time.perf_counter() - t)"
    assert within(0.1, lambda: float(run([sys.executable, "-c", code], tmp_path).stdout))


@pytest.mark.parametrize(("argument", "limit"), [("--help", 0.4), ("runs", 0.5)])
def test_what_computes_nothing_answers_at_once(argument: str, limit: float, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    command = [program(Path(sys.executable).parent, "gramgan"), argument]

    def measure() -> float:
        start = time.perf_counter()
        assert run(command, tmp_path).returncode == 0
        return time.perf_counter() - start

    assert within(limit, measure)


def imports(path: Path) -> Iterator[str]:
    """Top-level names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


def test_every_third_party_import_is_declared() -> None:
    declared = {canonicalize_name(Requirement(entry).name) for entry in [*PROJECT["dependencies"], *optional("dev")]}
    providers = metadata.packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in imports(path)
        if name not in sys.stdlib_module_names and name != "gramgan"
        if not declared & {canonicalize_name(provider) for provider in providers.get(name, [name])}
    }
    assert not undeclared


def test_torchvision_is_not_used() -> None:
    files = [*SOURCES, *ROOT.glob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    files += (ROOT / "studies").rglob("*.py")
    assert not [path for path in files if {"torchvision", "torchaudio"} & set(imports(path))]


def test_constraints_hold_the_exact_version_of_everything() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") and "+" not in str(pin.specifier) for pin in pins)
    pinned = {canonicalize_name(pin.name): pin.specifier for pin in pins}
    absent = [extra for extra, module in APART.items() if find_spec(module) is None]
    everything = [*PROJECT["dependencies"], *optional(*absent)]
    missing = {name for name in needed(map(Requirement, everything)) if name not in pinned}
    assert not missing
    for entry in map(Requirement, everything):
        version = next(iter(pinned[canonicalize_name(entry.name)])).version
        assert entry.specifier.contains(version), f"constraints.txt has {entry.name} {version}, not {entry.specifier}"


def test_the_lock_has_the_versions_of_the_constraints_and_a_hash_for_each() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(lock) < 600_000
    assert "://" not in lock
    locked = {}
    for entry in re.split(r"\n(?=\S)", lock.rstrip()):
        pin, *hashes = entry.split(" \\\n    ")
        assert hashes, pin
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin
        requirement = Requirement(pin)
        locked[canonicalize_name(requirement.name)] = requirement.specifier
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for pin in (Requirement(line) for line in lines if line and not line.startswith("#")):
        assert locked.get(canonicalize_name(pin.name), pin.specifier) == pin.specifier
    everything = [*PROJECT["dependencies"], *optional("docs")]
    assert {canonicalize_name(Requirement(entry).name) for entry in everything} <= set(locked)


def optional(*without: str) -> list[str]:
    """What the extras ask for, without those of these names."""
    groups = PROJECT["optional-dependencies"].items()
    return [entry for extra, entries in groups if extra not in without for entry in entries]


def needed(requirements: Iterator[Requirement]) -> set[str]:
    """Names of the packages that the requirements bring along in this environment, themselves included."""
    found: set[tuple[str, str]] = set()
    waiting = [(entry, extra) for entry in requirements for extra in ("", *entry.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        # torch asks for exact versions of the parts of CUDA itself; spandrel does without torchvision, as we use it.
        if (name, extra) in found or name.startswith(("nvidia-", "cuda-", "triton", "torchvision")):
            continue
        found.add((name, extra))
        for entry in map(Requirement, metadata.requires(name) or []):
            if entry.marker is None or entry.marker.evaluate({"extra": extra}):
                waiting += [(entry, inner) for inner in ("", *entry.extras)]
    return {name for name, _ in found}


CONSUMER = """\
from pathlib import Path

import gramgan
import numpy as np
import torch
from torch import Tensor, nn


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 48, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.body(lr), 4)


def edges(sr: Tensor, hr: Tensor) -> Tensor:
    return (sr.diff(dim=-1) - hr.diff(dim=-1)).abs().mean()


def darkness(sr: Tensor, hr: Tensor) -> float:
    return float((sr - hr).mean())


def crops(number: int, batch: int, crop: int) -> Tensor:
    return torch.rand(batch, 3, crop, crop, generator=torch.Generator().manual_seed(number))


def told(done: int, total: int) -> None:
    print(done, total)


def enlarged(picture: np.ndarray) -> tuple[int, ...]:
    settings = gramgan.Settings(scale=2, denoise=0.5, model=Path("own.safetensors"))
    written: Path = gramgan.upscale("a.png", "b.png", settings, progress=told)
    gramgan.Upscaling(settings).file(written, "c.png")
    return gramgan.upscale(picture, strength=0.5).shape


def trained(folder: str) -> Path | None:
    config = gramgan.load_config("lite", file="own.yaml", overrides=["data.photos=photos"])
    print(config.data.crop + 1, config.losses.adversarial, config.to_yaml())
    own = {"edges": (edges, 0.1)}
    result: gramgan.RunResult = gramgan.train(
        config, folder, generator=Small, losses=own, crops=crops, metrics={"darkness": darkness}
    )
    if result.best is not None:
        generator = gramgan.load_own_generator(result.best, Small())
        gramgan.Upscaler.for_generator(generator, "fp32", "cpu").upscale_array(np.zeros((3, 8, 8), np.float32))
    return result.best


def scored() -> float:
    report = gramgan.evaluate(["bicubic", Path("own.safetensors")], "Set5", scale=4)
    return report.models[0].mean()["psnr_y"] + len(gramgan.load_generator("gramgan-x4-lite").card.licence)


def built() -> int:
    photos = [gramgan.Source(path, licence="CC0-1.0") for path in Path("photos").glob("*.jpg")]
    database = gramgan.TextureDatabase.build("own.lance", photos, patches=1000, k=4)
    try:
        return len(database.add(photos)) + database.info().patches + database.vectors().shape[0]
    except gramgan.UserError as error:
        raise SystemExit(str(error)) from None
"""
WRONG = (
    ("gramgan.upscale(3)", "reportArgumentType"),
    ('gramgan.upscale("a.png").shape.wide', "reportAttributeAccessIssue"),
    ('gramgan.upscale("a.png", "b.png").shape', "reportAttributeAccessIssue"),
    ('gramgan.Settings(scale="two")', "reportArgumentType"),
    ("gramgan.Settings(strenght=0.5)", "reportCallIssue"),
    ('gramgan.train("lite")', "reportArgumentType"),
    ('gramgan.train(gramgan.load_config(), losses={"mine": 0.1})', "reportArgumentType"),
    ("gramgan.load_config(3)", "reportArgumentType"),
    ('gramgan.load_config("lite").data.fotos', "reportAttributeAccessIssue"),
    ('gramgan.TextureDatabase.open("a.lance", tag="v1")', "reportCallIssue"),
    ("gramgan.upscail", "reportAttributeAccessIssue"),
)


@pytest.mark.slow
def test_types_help_whoever_builds_on_the_package(installed: Path, tmp_path: Path) -> None:
    """In pyright's strict mode, with nothing but the wheel: no error, and one where each wrong line stands."""
    (tmp_path / "right.py").write_text(CONSUMER, encoding="utf-8")
    lines = ["import gramgan", *(f"print({line})" for line, _ in WRONG)]
    (tmp_path / "wrong.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")
    checker = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", program(installed, "python")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(checker, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found: dict[str, dict[int, list[str]]] = {"right.py": {}, "wrong.py": {}}
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        rules = found[Path(each["file"]).name].setdefault(each["range"]["start"]["line"], [])
        rules.append(f"{each.get('rule')}: {each['message']}")
    assert found["right.py"] == {}
    assert list(found["wrong.py"]) == list(range(1, len(lines)))
    for number, (line, rule) in enumerate(WRONG, 1):
        assert any(each.startswith(f"{rule}: ") for each in found["wrong.py"][number]), line


@pytest.mark.slow
def test_a_clean_checkout_builds_a_source_archive_that_builds_the_same_wheel(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(checkout)], check=True)
    build = [sys.executable, "-m", "build", "--no-isolation"]
    subprocess.run([*build, "--outdir", tmp_path / "both", checkout], check=True, capture_output=True)
    subprocess.run([*build, "--wheel", "--outdir", tmp_path / "direct", checkout], check=True, capture_output=True)
    (direct,) = (tmp_path / "direct").iterdir()
    (archive,) = (tmp_path / "both").glob("*.tar.gz")
    read = [zipfile.ZipFile(folder / direct.name) for folder in (tmp_path / "both", tmp_path / "direct")]
    contents = [{name: one.read(name) for name in one.namelist()} for one in read]
    assert contents[0] == contents[1]
    assert not [name for name in contents[0] if re.search(r"(^|/)tests?/|__pycache__|\.pyc$|\.venv", name)]
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"tests/test_package.py", "plugins/comfyui/__init__.py", "containers/Dockerfile.cpu", "PKG-INFO"} <= names
    assert not [name for name in names if re.search(r"__pycache__|\.pyc$|\.venv|^\.git/", name)]
    assert max(direct.stat().st_size, archive.stat().st_size) <= 48e6
