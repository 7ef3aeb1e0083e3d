"""Generators of other architectures than ours, made here with spandrel's own classes at random weights."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.images import read_rgb, write_image
from gramgan.installed import is_installed
from gramgan.networks.rrdb import SCALES, RRDBConfig, RRDBNet
from gramgan.upscaling.api import Upscaling, upscale
from gramgan.upscaling.export import export_generator
from gramgan.upscaling.model import open_model
from gramgan.upscaling.settings import Settings
from gramgan.weights.card import Card
from gramgan.weights.formats import write_pth, write_safetensors

pytestmark = pytest.mark.skipif(not is_installed("spandrel"), reason="spandrel is not installed")


def _dat() -> nn.Module:
    from spandrel.architectures.DAT import DAT

    return DAT(embed_dim=24, split_size=[8, 16], depth=[2], num_heads=[2], expansion_factor=2, upscale=2)


def _hat() -> nn.Module:
    from spandrel.architectures.HAT import HAT

    return HAT(embed_dim=24, depths=[2], num_heads=[2], window_size=16, squeeze_factor=4, upscale=4, num_feat=16)


def _realplksr() -> nn.Module:
    from spandrel.architectures.PLKSR import RealPLKSR

    return RealPLKSR(dim=16, n_blocks=2, upscaling_factor=4, layer_norm=False)


def _compact() -> nn.Module:
    from spandrel.architectures.Compact import Compact

    return Compact(num_feat=16, num_conv=4, upscale=3)


ARCHITECTURES = {"DAT": _dat, "HAT": _hat, "PLKSR": _realplksr, "RealESRGAN Compact": _compact}


@pytest.fixture(autouse=True)
def _spandrel(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    if is_installed("spandrel"):
        from gramgan.networks.foreign import import_spandrel

        import_spandrel()


def _file(tmp_path: Path, make: Callable[[], nn.Module], suffix: str = ".safetensors") -> Path:
    torch.manual_seed(3)
    state = make().state_dict()
    path = tmp_path / f"4x-community{suffix}"
    if suffix == ".pth":
        torch.save({"params_ema": state}, path)
    else:
        from safetensors.torch import save_file

        save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path


def _picture(height: int = 214, width: int = 301) -> np.ndarray:
    generator = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    waves = 0.5 + 0.2 * np.sin(rows / 7) + 0.2 * np.cos(columns / 5)
    return np.clip(waves + generator.normal(0, 0.05, (3, height, width)), 0, 1).astype(np.float32)


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "HAT" else one for one in ARCHITECTURES]
)
def test_tiled_is_whole_within_a_grey_level(name: str, tmp_path: Path) -> None:
    from spandrel import ImageModelDescriptor, ModelLoader

    path, picture = _file(tmp_path, ARCHITECTURES[name]), _picture()
    descriptor = ModelLoader(device="cpu").load_from_file(path)
    assert isinstance(descriptor, ImageModelDescriptor)
    whole = descriptor(torch.from_numpy(picture)[None])[0].numpy()
    upscaling = Upscaling(Settings(model=str(path), device="cpu", tile=32, consistency=False))
    assert upscaling.model.card.architecture["kind"] == name
    tiles: list[int] = []
    tiled = upscaling.array(picture, "picture", lambda done, total: tiles.append(total))
    assert tiles[-1] >= 4
    assert tiled.shape == (3, descriptor.scale * 214, descriptor.scale * 301)
    assert np.abs(tiled - whole).max() <= 1 / 255


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_from_the_command_line_has_the_networks_own_scale(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, picture = _file(tmp_path, _compact, suffix), tmp_path / "in.png"
    write_image(picture, _picture(20, 24))
    out = tmp_path / "out.png"
    assert run(["-v", "upscale", str(picture), "-o", str(out), "--model", str(path), "--device", "cpu"]) == 0
    assert read_rgb(out).shape == (3, 60, 72)
    assert "RealESRGAN Compact" in capsys.readouterr().err
    assert run(["upscale", str(picture), "-o", str(out), "--model", str(path), "--scale", "2"]) == 0
    assert read_rgb(out).shape == (3, 40, 48)


def test_the_log_says_licence_and_architecture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    open_model(_file(tmp_path, _compact), device="cpu")
    assert "RealESRGAN Compact (16nf 4nc), x3; licence unknown" in caplog.text


def test_what_only_torch_runs_is_not_given_to_others(tmp_path: Path) -> None:
    path = _file(tmp_path, _compact)
    with pytest.raises(UserError, match="is a RealESRGAN Compact, which torch alone runs"):
        open_model(path, backend="openvino")
    with pytest.raises(UserError, match="strength is for generators of ESRGAN"):
        open_model(path, blend=("gramgan-x4-lite-psnr", 0.5))


def test_tensors_of_no_known_architecture(tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"layer.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(
        UserError, match=r"odd.pth: neither an RRDBNet nor a SPAN nor .* such as layer.weight"
    ) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)


def test_a_network_for_grey_pictures_is_refused(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    path = _file(tmp_path, lambda: Compact(num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=2))
    with pytest.raises(UserError, match="no generator of RGB pictures"):
        open_model(path)


def test_without_spandrel_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.networks.foreign.is_installed", lambda name: False)
    with pytest.raises(UserError, match=r"pip install 'gramgan\[spandrel\]'"):
        open_model(_file(tmp_path, _compact))


def test_nothing_of_the_stand_in_for_torchvision_stays() -> None:
    import importlib.util

    if importlib.util.find_spec("torchvision") is None:
        assert not [name for name in sys.modules if name.partition(".")[0] == "torchvision"]


@pytest.mark.parametrize("scale", SCALES)
def test_files_of_ours_load_in_spandrel(scale: int, tmp_path: Path) -> None:
    """Its loader tells the scale by itself, and its result is ours; ×3 it takes for ×2, which we say when we export."""
    from spandrel import ImageModelDescriptor, ModelLoader

    if scale == 3:
        pytest.skip("ESRGAN's names do not tell x3 from x2")
    torch.manual_seed(0)
    config = RRDBConfig.usual(8, 2, 4, "nearest", scale)
    network = RRDBNet(config).eval()
    card = Card(name="own", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0")
    own = tmp_path / "own.safetensors"
    write_safetensors(own, network.state_dict(), card)
    files = tmp_path / "files"
    export_generator(own, files / "own.safetensors")
    export_generator(own, files / "own.pth")
    export_generator(own, files / "old.pth", old_keys=True)
    picture = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        wanted = network(picture).clamp(0, 1)
    for path in sorted(files.iterdir()):
        found = ModelLoader(device="cpu").load_from_file(path)
        assert (found.scale, found.architecture.name) == (scale, "ESRGAN")
        assert isinstance(found, ImageModelDescriptor)
        assert (found(picture) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
def test_an_rrdbnet_of_any_scale_upscales_tiled_as_whole(scale: int, backend: str, tmp_path: Path) -> None:
    config = RRDBConfig.usual(8, 1, 4, "nearest", scale)
    torch.manual_seed(0)
    network = RRDBNet(config).eval()
    path, picture = tmp_path / "own.pth", _picture(61, 83)
    write_pth(path, network.state_dict())
    with torch.inference_mode():
        whole = network(torch.from_numpy(picture)[None])[0].clamp(0, 1).numpy()
    settings = {"model": str(path), "backend": backend, "precision": "fp32", "device": "cpu", "consistency": False}
    tiled = Upscaling(Settings(**settings, tile=16, overlap=12)).array(picture, "picture")
    assert np.abs(tiled - whole).max() <= 1 / 255
    small = upscale((picture.transpose(1, 2, 0) * 255).astype(np.uint8), **settings)
    assert isinstance(small, np.ndarray)
    assert small.shape == (scale * 61, scale * 83, 3)


def test_passes_take_the_networks_scale(tmp_path: Path) -> None:
    path = tmp_path / "x2.pth"
    write_pth(path, RRDBNet(RRDBConfig.usual(4, 1, 2, "nearest", 2)).state_dict())
    for asked, passes in ((None, 1), (2, 1), (3, 2), (4, 2), (8, 3)):
        upscaling = Upscaling(Settings(model=str(path), device="cpu", scale=asked))
        plan = upscaling.enlarger().scale.plan(20, 30, "picture")
        assert (len(plan.passes), plan.width) == (passes, 20 * (asked or 2))
    assert "x2, x2" in plan.describe()


def test_weights_that_leave_the_size_are_not_asked_for_another(tmp_path: Path) -> None:
    path = tmp_path / "x1.pth"
    write_pth(path, RRDBNet(RRDBConfig.usual(4, 1, 2, "nearest", 1)).state_dict())
    picture = np.zeros((16, 16, 3), np.uint8)
    same = upscale(picture, model=str(path), device="cpu")
    assert isinstance(same, np.ndarray)
    assert same.shape == (16, 16, 3)
    with pytest.raises(UserError, match="x1: these weights leave pictures as large as they are"):
        upscale(picture, model=str(path), device="cpu", scale=2)
