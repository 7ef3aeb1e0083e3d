"""Generators for ×1, ×2, ×3 and ×8: what they are made of, files, and networks of other frameworks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gramgan.errors import UserError
from gramgan.networks.build import infer_rrdb, load_generator
from gramgan.networks.rrdb import SCALES, RRDBConfig, RRDBNet, Upsampler
from gramgan.ops import bicubic
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.weights.card import Card
from gramgan.weights.formats import old_esrgan_names, write_pth, write_safetensors

EVERY = [RRDBConfig.usual(8, 1, 4, upsampler, scale) for upsampler in ("nearest", "pixelshuffle") for scale in SCALES]
OLD = [RRDBConfig(8, 1, 4, "nearest", scale) for scale in (1, 2, 4, 8)]


def _named(config: RRDBConfig) -> str:
    return f"x{config.scale}-{config.upsampler}-{config.unshuffle}"


def _network(config: RRDBConfig) -> RRDBNet:
    torch.manual_seed(1)
    return RRDBNet(config).eval()


@pytest.mark.parametrize("config", [*EVERY, *OLD[:2]], ids=_named)
@torch.no_grad()
def test_results_have_the_scale_for_sides_of_any_length(config: RRDBConfig) -> None:
    network = _network(config)
    for height, width in ((8, 12), (7, 9), (1, 3)):
        assert network(torch.rand(1, 3, height, width)).shape == (1, 3, config.scale * height, config.scale * width)


@pytest.mark.parametrize("config", [*EVERY, *OLD[:2]], ids=_named)
def test_the_tensors_tell_the_scale(config: RRDBConfig) -> None:
    assert infer_rrdb(_network(config).state_dict()) == config


def test_the_usual_way_to_small_scales_is_real_esrgans() -> None:
    assert [(RRDBConfig.usual(scale=scale).unshuffle, RRDBConfig.usual(scale=scale).steps) for scale in (1, 2)] == [
        (4, {"conv_up1": 2, "conv_up2": 2}),
        (2, {"conv_up1": 2, "conv_up2": 2}),
    ]
    assert RRDBNet(RRDBConfig.usual(8, 1, 4, "nearest", 2)).conv_first.in_channels == 12


@pytest.mark.parametrize(("scale", "unshuffle"), [(5, 1), (0, 1), (3, 2), (8, 2), (4, 4)])
def test_scales_that_no_steps_lead_to(scale: int, unshuffle: int) -> None:
    with pytest.raises(ValueError, match=f"x{scale}"):
        RRDBConfig(scale=scale, unshuffle=unshuffle)


@torch.no_grad()
def test_unshuffling_is_a_convolution_with_larger_steps() -> None:
    """The first layer on unshuffled blocks is a 6×6 convolution of the picture in steps of 2: written out."""
    network = _network(RRDBConfig.usual(8, 1, 4, "nearest", 2))
    picture = torch.rand(1, 3, 10, 14)
    weight = network.conv_first.weight.reshape(8, 3, 2, 2, 3, 3)  # out, colour, place in the block, place of the block
    plain = weight.permute(0, 1, 4, 2, 5, 3).reshape(8, 3, 6, 6)
    wanted = F.conv2d(picture, plain, network.conv_first.bias, stride=2, padding=2)
    torch.testing.assert_close(network.conv_first(F.pixel_unshuffle(picture, 2)), wanted)


@pytest.mark.parametrize("config", EVERY, ids=_named)
@torch.no_grad()
def test_a_start_as_nearest_neighbour_enlargement(config: RRDBConfig) -> None:
    network = _network(config)
    network.start_as_nearest()
    picture = torch.rand(1, 3, 8, 8) * 0.5 + 0.25
    block = config.unshuffle
    mean = F.avg_pool2d(picture, block) if block > 1 else picture
    wanted = F.interpolate(mean, scale_factor=config.scale * block, mode="nearest")
    assert (network(picture) - wanted).abs().mean() < 0.06


@pytest.mark.parametrize("config", OLD, ids=_named)
@torch.no_grad()
def test_files_under_the_names_of_esrgans_first_release(config: RRDBConfig, tmp_path: Path) -> None:
    network, picture = _network(config), torch.rand(1, 3, 8, 8)
    path = tmp_path / "old.pth"
    write_pth(path, old_esrgan_names(network.state_dict()))
    loaded = load_generator(path)
    assert loaded.config == config
    assert loaded.card.scale == config.scale
    assert torch.equal(loaded.network(picture), network(picture))


@pytest.mark.parametrize("config", EVERY, ids=_named)
def test_card_and_file_say_the_scale(config: RRDBConfig, tmp_path: Path) -> None:
    network, path = _network(config), tmp_path / "own.safetensors"
    card = Card(name="own", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0")
    write_safetensors(path, network.state_dict(), card)
    loaded = load_generator(path)
    assert (loaded.config, loaded.card.scale) == (config, config.scale)
    other = card.model_copy(update={"architecture": {**card.architecture, "scale": 5}})
    write_safetensors(path, network.state_dict(), other)
    with pytest.raises(UserError, match=f"scale=5 and its tensors say {config.scale}"):
        load_generator(path)


def test_a_step_that_is_missing_is_another_scale() -> None:
    state = _network(RRDBConfig.usual(8, 1, 4, "nearest", 1)).state_dict()
    del state["conv_up2.weight"], state["conv_up2.bias"]
    with pytest.raises(UserError, match="unshuffled by 4"):
        infer_rrdb(state, "some.pth")


@pytest.mark.parametrize("config", EVERY, ids=_named)
@torch.no_grad()
def test_onnx_and_openvino_are_the_same_network(config: RRDBConfig) -> None:
    onnxruntime, openvino = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    from gramgan.networks.onnx_graph import onnx_model

    network, picture = _network(config), torch.rand(1, 3, 8, 12)
    card = Card(name="own", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0")
    wanted = network(picture).numpy()
    graph = onnx_model(config, network.state_dict(), card).SerializeToString()
    session = onnxruntime.InferenceSession(graph)
    np.testing.assert_allclose(session.run(None, {"lr": picture.numpy()})[0], wanted, atol=1e-5)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(picture.numpy())[0], wanted, atol=1e-5)


@pytest.mark.parametrize("factor", SCALES)
def test_numpys_cubic_is_torchs(factor: int) -> None:
    picture = torch.rand(1, 3, 7 * factor, 9 * factor, dtype=torch.float64)
    small = bicubic.shrink(picture[0].numpy(), factor)
    np.testing.assert_allclose(small, matlab_bicubic_down(picture, factor, quantise=False)[0].numpy(), atol=2e-6)
    large = np.clip(bicubic.enlarge(small, factor), 0, 1)
    np.testing.assert_allclose(large, bicubic_up(torch.from_numpy(small)[None], factor)[0].numpy(), atol=2e-6)


def test_architectures_differ_by_their_scale() -> None:
    upsampler: Upsampler = "nearest"
    config = RRDBConfig(8, 1, 4, upsampler)
    assert replace(config, scale=2) != config
