"""The public API as those who build on it use it: its names, its arguments, and what they are told of wrong ones."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gramgan
from gramgan.config import Config
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.metadata import Metadata
from gramgan.texture.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / "tests" / "public_api.txt"
REFERENCE = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")


def members(name: str) -> list[str]:
    """The methods of a class that the reference shows: those that it names, or all public ones."""
    kind = getattr(gramgan, name)
    listed = re.search(
        rf"^::: {kind.__module__}\.{name}\n    options:\n      members: \[(.*)\]$", REFERENCE, re.MULTILINE
    )
    if listed:
        return [each for each in listed[1].split(", ") if each]
    return [
        each for each, member in vars(kind).items() if not each.startswith("_") and not isinstance(member, property)
    ]


def described() -> Iterator[str]:
    """The public API in lines: as it stands in the code, and so the same on every Python."""
    for name in sorted(gramgan.__all__):
        found = getattr(gramgan, name)
        if name.startswith("__"):
            yield f"{name}: {type(found).__name__}"
        elif not isinstance(found, type):
            yield f"{name}{signature(found)}"
        else:
            yield from class_lines(name, found)
    for section, values in Config():
        yield from (f"setting {section}.{key}" for key in getattr(type(values), "model_fields", {"": None}))


def class_lines(name: str, found: type) -> Iterator[str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(found))).body
    assert isinstance(tree, ast.ClassDef)
    yield f"{name}({', '.join(map(ast.unparse, tree.bases))})"
    shown = members(name)
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and name != "Config":
            yield f"{name}.{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
        elif isinstance(node, ast.FunctionDef) and (node.name in shown or node.name == "__init__"):
            yield f"{name}.{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns or ast.Constant(None))}"


def signature(function: Callable[..., Any]) -> str:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    assert tree.returns is not None
    return f"({ast.unparse(tree.args)}) -> {ast.unparse(tree.returns)}"


def test_the_api_is_what_it_was() -> None:
    """A change on purpose goes into the file: `python -m pytest tests/test_api.py` shows the lines that differ."""
    assert list(described()) == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_names_can_be_imported_and_say_what_they_are() -> None:
    for name in gramgan.__all__:
        found = getattr(gramgan, name)
        assert name == "__version__" or re.match(r"[A-Z`].+\.", found.__doc__), name
    assert dir(gramgan) == sorted(gramgan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'upscail'"):
        _ = gramgan.upscail  # pyright: ignore[reportAttributeAccessIssue]


class Wrong:
    """What no argument may be."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An argument of the right type for each that has to be given."""
    folder = tmp_path_factory.mktemp("api")
    database = gramgan.TextureDatabase(Snapshot(folder, 1, Metadata.new(Descriptor.default("rgb"), {}), {}))
    settings = gramgan.Settings()
    values = dict.fromkeys(("image", "path", "source", "target", "spec", "hr_folder", "output"), folder / "nothing")
    values |= {"self": database, "cls": None, "settings": settings, "pixels": np.zeros((1, 1, 1)), "name": "a"}
    values |= {"network": torch.nn.Identity(), "config": Config(), "models": "bicubic", "sources": [], "databases": []}
    return values | {
        "descriptor": "rgb",
        "k": 4,
        "column": "x",
        "patch_ids": [],
        "other": database,
        "version": 1,
        "fragments": [],
    }


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function, and method of a public class, as it is called."""
    for name in gramgan.__all__:
        found = getattr(gramgan, name)
        if inspect.isfunction(found):
            yield name, found
        elif name in ("Upscaling", "TextureDatabase"):
            yield from ((f"{name}.{each}", getattr(found, each)) for each in members(name))
    yield "Upscaling", gramgan.Upscaling


ARGUMENTS = [
    pytest.param(function, one.name, id=f"{name} {one.name}")
    for name, function in functions()
    for one in inspect.signature(function).parameters.values()
    if one.name != "self" and one.kind is not inspect.Parameter.VAR_KEYWORD
]


@pytest.mark.parametrize(("function", "name"), ARGUMENTS)
def test_an_argument_of_a_wrong_type_is_one_line(function: Callable[..., Any], name: str, good: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    given = {
        one.name: good[one.name]
        for one in parameters
        if one.default is one.empty and one.kind is not inspect.Parameter.VAR_KEYWORD
    }
    with pytest.raises(gramgan.UserError, match=rf"^{name}: is Wrong; give \S[^\n]*$"):
        function(**given | {name: Wrong()})


def odd(**settings: Any) -> Callable[[Path], object]:
    return lambda folder: gramgan.upscale(folder / "a.png", folder / "b.tif", **settings)


@pytest.mark.parametrize("name", [one.name for one in fields(gramgan.Settings)])
def test_a_setting_of_a_wrong_type_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(gramgan.UserError, match=rf"^{name}: is Wrong; give \S[^\n]*$"):
        odd(**{name: Wrong()})(tmp_path)


def array(values: object, dtype: Any) -> Callable[[Path], object]:
    return lambda folder: gramgan.upscale(np.array(values, dtype))


def built(**options: Any) -> Callable[[Path], object]:
    photo = gramgan.Source(ROOT / "docs" / "images" / "seams.png")
    return lambda folder: gramgan.TextureDatabase.build(folder / "t.lance", [photo], **options)


VALUES: list[tuple[Callable[[Path], object], str]] = [
    (odd(scale="2"), "scale: is '2'; give a number or None"),
    (odd(scale=True), "scale: is True; give a number"),
    (odd(scale=0), "scale: 0 is outside of 1 to 64"),
    (odd(size=(100, 100)), "size: is (100, 100); give text or None"),
    (odd(quality=95.5), "quality: is 95.5; give a whole number"),
    (odd(texture_mask="no"), "texture_mask: is 'no'; give True or False"),
    (odd(bands="3,2,1"), "bands: is '3,2,1'; give a list (each item: text)"),
    (odd(bands=[3, 2, 1]), "bands: is [3, 2, 1]; give a list (each item: text)"),
    (odd(icc="no"), "icc 'no': unknown; use keep or srgb"),
    (array([[300]], np.int64), "image: an array must be uint8, uint16 or float, not int64"),
    (array([[2.0]], np.float32), "image: floats must be finite and in [0, 1]"),
    (array([[[[0]]]], np.uint8), "image: an array must be [H, W] or [H, W, C]"),
    (lambda _: gramgan.load_generator("gramgan-x4-lite", "gpu"), "device 'gpu': "),
    (lambda _: gramgan.load_generator("gramgan-x5"), "did you mean gramgan-x4"),
    (lambda folder: gramgan.load_own_generator(folder / "none.safetensors", torch.nn.Identity()), "no such file"),
    (lambda _: gramgan.load_config("papper"), "there is no such preset; choose one of"),
    (lambda folder: gramgan.load_config(file=str(folder / "a.yaml")), "a.yaml: cannot be read"),
    (lambda _: gramgan.load_config(overrides=["data.fotos=x"]), "did you mean data.photos?"),
    (lambda _: gramgan.load_config(overrides="data.photos=x"), "overrides: is 'data.photos=x'; give a list"),
    (lambda folder: gramgan.evaluate("bicubic", folder), "no images"),
    (lambda folder: gramgan.evaluate("bicubic", folder, scale=0), ""),
    (lambda folder: gramgan.evaluate("bicubic", folder, results="results"), "results: is 'results'; give a list"),
    (lambda folder: gramgan.TextureDatabase.open(folder / "none.lance"), "there is no such texture database"),
    (lambda _: gramgan.Source("a.jpg"), "path: is 'a.jpg'; give a path"),  # pyright: ignore[reportArgumentType]
    (built(flat_share=2), "flat_share: 2 is no share; give one from 0 to 1"),
    (built(warp_share=-0.1), "warp_share: -0.1 is no share"),
    (built(patches=0), "patches: 0 is too few"),
    (built(k=0), "k: 0 is too small"),
    (built(seed=-1), "seed: -1 is negative"),
    (built(descriptor="grey"), "give 'rgb', 'rgb-centred' or 'rgb-gradient'"),
]


@pytest.mark.parametrize(("call", "line"), VALUES, ids=[line[:40] for _, line in VALUES])
def test_a_wrong_value_is_one_line(call: Callable[[Path], object], line: str, tmp_path: Path) -> None:
    with pytest.raises(gramgan.UserError) as raised:
        call(tmp_path)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_and_paths_as_text_are_taken(small_generator: Path, tmp_path: Path) -> None:
    settings = gramgan.Settings(model=str(small_generator), backend="torch", precision="fp32", device="cpu")
    picture = np.zeros((8, 8, 3), np.uint8)
    changed = replace(settings, scale=np.float32(2), tile=np.int64(16))  # pyright: ignore[reportArgumentType]
    assert gramgan.upscale(picture, settings=changed).shape == (16, 16, 3)
    assert gramgan.upscale(picture, str(tmp_path / "a.png"), settings) == tmp_path / "a.png"
    assert gramgan.Upscaling(settings).file(str(tmp_path / "a.png"), str(tmp_path / "b.png")) == tmp_path / "b.png"
    with pytest.raises(TypeError, match="strenght"):
        gramgan.upscale(picture, settings=settings, strenght=0.5)
