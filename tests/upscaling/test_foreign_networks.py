"""Networks that somebody else has exported: they work, or one line says what is wrong; none takes time or memory."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.images import read_rgb, write_image
from gramgan.upscaling.backends import trial
from gramgan.upscaling.backends.trial import Form, try_out
from gramgan.upscaling.engine import Upscaler
from gramgan.upscaling.model import open_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

FLOAT, HALF, INT64, BOOL = 1, 10, 7, 9  # of ONNX's TensorProto
ANY = [1, 3, "height", "width"]

Made = Callable[..., Path]


def constant(name: str, values: object, dtype: type) -> object:
    return onnx.numpy_helper.from_array(np.array(values, dtype), name)


def resize(factor: float = 4, source: str = "x", result: str = "y") -> tuple[list[object], list[object]]:
    node = onnx.helper.make_node("Resize", [source, "", "factors"], [result], mode="nearest")
    return [node], [constant("factors", [1, 1, factor, factor], np.float32)]


def save(
    path: Path,
    made: tuple[list[object], list[object]],
    shape: Sequence[object] | None = None,
    kind: int = FLOAT,
    result: Sequence[object] | None = None,
    more: tuple[str, ...] = (),
) -> Path:
    info = onnx.helper.make_tensor_value_info
    nodes, numbers = made
    inputs = [info(name, kind, shape or ANY) for name in ("x", *more)]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [info("y", kind, result or [None] * 4)], numbers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def loop() -> tuple[list[object], list[object]]:
    helper = onnx.helper
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [info("i", INT64, []), info("c", BOOL, []), info("a", FLOAT, None)],
        [info("d", BOOL, []), info("b", FLOAT, None)],
    )
    nodes, numbers = resize(source="z")
    times = [constant("times", 2**62, np.int64), constant("go", True, np.bool_)]
    return [helper.make_node("Loop", ["times", "go", "x"], ["z"], body=body), *nodes], [*numbers, *times]


def bomb() -> tuple[list[object], list[object]]:
    """ConstantOfShape: 8 GB of zeros by a file of a few hundred bytes."""
    make = onnx.helper.make_node
    nodes, numbers = resize(result="r")
    nodes += [make("ConstantOfShape", ["big"], ["c"]), make("ReduceMax", ["c"], ["m"], keepdims=0)]
    return [*nodes, make("Add", ["r", "m"], ["y"])], [*numbers, constant("big", [40000, 50000], np.int64)]


def mean() -> tuple[list[object], list[object]]:
    return [onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)], []


def two() -> tuple[list[object], list[object]]:
    nodes, numbers = resize(source="z")
    return [onnx.helper.make_node("Add", ["x", "w"], ["z"]), *nodes], numbers


def outside(path: Path) -> Path:
    (path.parent.parent / "secret").write_bytes(bytes(16))
    save(path, resize())
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())
    return path


def written(data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty": (written(b""), "the file is empty"),
    "no ONNX": (written(b"\x08\x07junk" * 9), "cannot be read or run"),
    "no end": (lambda path: save(path, loop()), "holds a loop"),
    "8 GB": (lambda path: save(path, bomb()), "takes more than 1.5 GiB for a small tile"),
    "enlarges one and a half times": (
        lambda path: save(path, resize(1.5)),
        "enlarges 1.5 times; use one that does so a whole number",
    ),
    "one number": (lambda path: save(path, mean(), result=["n"]), r"gives \[1\] of \[1, 3, 32, 32\]"),
    "grey": (lambda path: save(path, resize(), [1, 1, "h", "w"]), r"takes \[1, 1, h, w\], and pictures are"),
    "four at once": (lambda path: save(path, resize(), [4, 3, "h", "w"]), r"takes \[4, 3, h, w\]"),
    "three dimensions": (lambda path: save(path, resize(), [3, "h", "w"], result=[None] * 3), "cannot be read or run"),
    "bytes": (lambda path: save(path, resize(), kind=2), r"takes tensor\(uint8\)"),
    "two inputs": (lambda path: save(path, two(), more=("w",)), "takes 2 inputs"),
    "a file elsewhere": (outside, "from outside of its folder"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_one_line(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    make, message = REFUSED[what]
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in" / "network.onnx")
    write_image(tmp_path / "a.png", np.zeros((3, 9, 9), np.float32))
    started = time.monotonic()
    assert run(["upscale", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--model", str(path)]) == 2
    assert time.monotonic() - started < 30
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ")
    with pytest.raises(UserError, match=message):
        try_out(path, what)


@pytest.mark.skipif(sys.platform == "win32", reason="memory is bounded on POSIX")
@pytest.mark.parametrize("make", [loop, bomb], ids=["loop", "bomb"])
def test_the_same_for_openvino(make: Callable[[], tuple[list[object], list[object]]], tmp_path: Path) -> None:
    path = tmp_path / "network.xml"
    model = openvino.Core().read_model(save(tmp_path / "network.onnx", make()))
    openvino.save_model(model, path, compress_to_fp16=False)
    with pytest.raises(UserError, match=r"holds a loop|takes more than"):
        try_out(path, "xml")


def test_a_network_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 0.01)
    with pytest.raises(UserError, match="does not end within"):
        try_out(save(tmp_path / "network.onnx", resize()), "slow")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "auto"])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (ANY, HALF),
        ([1, 3, 48, 40], FLOAT),
        ([1, 3, 48, 40], HALF),
        (["n", 3, "h", "w"], FLOAT),
        ([1, 3, 48, "w"], FLOAT),
    ],
    ids=["half", "fixed", "fixed half", "any batch", "one side fixed"],
)
def test_networks_as_others_export_them_work(
    shape: list[object], kind: int, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each enlarges by repeating pixels, so that every pixel of the result is known."""
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    path = save(tmp_path / "network.onnx", resize(), shape, kind)
    model = open_model(path, backend=backend, precision="fp32")
    engine = Upscaler(model.backend, name=model.name, overlap=model.card.overlap)
    picture = np.random.default_rng(0).random((3, 70, 101), dtype=np.float32)
    result = engine.upscale_array(picture)
    assert np.abs(result - picture.repeat(4, 1).repeat(4, 2)).max() < (1e-3 if kind == HALF else 1e-6)


def test_the_command_takes_a_network_of_a_fixed_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    path = save(tmp_path / "network.onnx", resize(), [1, 3, 32, 32])
    picture = np.random.default_rng(0).random((3, 50, 40), dtype=np.float32)
    write_image(tmp_path / "a.png", picture)
    arguments = ["upscale", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png"), "--model", str(path)]
    assert run([*arguments, "--no-consistency"]) == 0
    expected = read_rgb(tmp_path / "a.png").repeat(4, 1).repeat(4, 2)
    assert np.abs(read_rgb(tmp_path / "b.png") - expected).max() < 0.02


def test_what_a_network_takes_is_found(tmp_path: Path) -> None:
    form = try_out(save(tmp_path / "a.onnx", resize()), "any")
    assert (form.side, form.height, form.width) == (None, 0, 0)
    form = try_out(save(tmp_path / "b.onnx", resize(), [1, 3, 48, 40]), "fixed")
    assert (form.side, form.height, form.width) == (40, 48, 40)
    assert Form(0, 0, 1).side is None
