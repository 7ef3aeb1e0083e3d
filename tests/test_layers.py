"""Imports point downwards, in the layers that CONTRIBUTING.md lists, and none of them changes the process around it."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gramgan"
STATE = """
import importlib, json, logging, os, sys, warnings

def state():
    found = {"environment": dict(os.environ), "root": logging.root.level, "handlers": len(logging.root.handlers)}
    found["levels"] = {
        name: logger.level
        for name in ("pyvips", "pydicom", "rasterio", "tifffile", "lightning_fabric", "gramgan")
        if (logger := logging.getLogger(name)) is not None
    }
    found["filters"] = [str(one) for one in warnings.filters]
    if "pydicom" in sys.modules:
        found["pydicom"] = str(sys.modules["pydicom"].config.settings.reading_validation_mode)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        found["torch"] = [torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
                          torch.backends.cudnn.benchmark, str(torch.get_default_dtype())]
    return found

for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
before = state()
for name in json.loads(sys.argv[2]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name and error.name.startswith("gramgan"):
            raise
print(json.dumps([before, state()]))
"""
OTHERS = (
    *("torch", "numpy", "pyvips", "pydicom", "rasterio", "tifffile", "lance", "pyarrow", "matplotlib.pyplot", "pyiqa"),
    *("lightning_fabric", "openvino", "onnxruntime", "onnx", "tensorboard", "scipy.io", "sklearn", "skimage", "faiss"),
    *("gdcm", "psutil", "typer", "rich.progress", "PIL.Image", "pydantic", "pykdtree.kdtree", "tensorboard.summary"),
    *("torch.utils.tensorboard", "lightning_fabric.strategies"),
)
"""Libraries that are imported before the state is noted: what they set is not ours."""


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(path: Path, modules: dict[str, Path], *, only_at_import: bool) -> Iterator[str]:
    """The package's own modules that this one imports, everywhere or while it is itself imported."""
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gramgan":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "gramgan")
        is_late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if not (only_at_import and (is_late or is_for_types)):
            waiting.extend(ast.iter_child_nodes(node))


def _layers() -> dict[str, int]:
    """Folder or module of the package → its height; the list in CONTRIBUTING.md begins at the top."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    block = re.search(r"```layers\n(.+?)```", text, re.DOTALL)
    assert block is not None
    lines = [re.split(r"[,\s]+", line.strip()) for line in block[1].strip().splitlines()]
    return {name: height for height, names in enumerate(reversed(lines)) for name in names}


def _room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def test_the_list_of_layers_is_complete() -> None:
    rooms = {_room(module) for module in _modules()} - {"__init__", "__main__"}
    assert set(_layers()) == rooms


@pytest.mark.parametrize("room", sorted({_room(module) for module in _modules()} - {"__init__", "__main__"}))
def test_imports_point_downwards(room: str) -> None:
    layers, modules = _layers(), _modules()
    wrong = [
        f"{module} imports {target}"
        for module, path in modules.items()
        if _room(module) == room
        for target in _imports(path, modules, only_at_import=False)
        if target != "gramgan" and _room(target) != room and layers[_room(target)] >= layers[room]
    ]
    assert wrong == []


def test_no_two_modules_need_each_other() -> None:
    modules = _modules()
    graph = {
        module: {target for target in _imports(path, modules, only_at_import=True) if target not in ("gramgan", module)}
        for module, path in modules.items()
        if module != "gramgan"
    }
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)  # raises CycleError


def test_an_import_sets_nothing_in_its_process() -> None:
    ours = [name for name in _modules() if name != "gramgan.__main__"]
    command = [sys.executable, "-c", STATE, json.dumps(OTHERS), json.dumps(ours)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = json.loads(result.stdout)
    assert after == before


ALLOWED_TWICE = {
    "main",  # what a process begins with: the command, a worker of the data, the trial of a foreign network
    *("evaluate", "train", "upscale"),  # a command has the name of the public function that it calls
}


def test_one_public_name_has_one_home() -> None:
    homes: dict[str, set[str]] = {}
    for module, path in _modules().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                homes.setdefault(name, set()).add(module)
    several = {name for name, modules in homes.items() if len(modules) > 1 and not name.startswith("_")}
    assert {name: sorted(homes[name]) for name in several - ALLOWED_TWICE} == {}
    assert several >= ALLOWED_TWICE, "take what is no longer needed out of the list"


def test_no_file_of_the_package_is_long() -> None:
    lengths = {
        path.relative_to(SOURCE).as_posix(): len(path.read_text("utf-8").splitlines()) for path in _modules().values()
    }
    assert {file: length for file, length in lengths.items() if length > 450} == {}
