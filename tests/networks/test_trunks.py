"""Perceptual trunks: the right layers, untouched features, frozen parameters, published key names."""

import copy
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gramgan.errors import UserError
from gramgan.images import read_rgb
from gramgan.networks.blur_pool import blur_half
from gramgan.networks.trunks import SPECS, PerceptualTrunk, TrunkName, load_trunk
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down

# Simonyan & Zisserman, table 1, columns E and D.
VGG19 = [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"]
VGG16 = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]


class DepthwiseBlur(nn.Module):
    """The blur of ST-LPIPS as its authors write it."""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
        kernel = (row[:, None] * row[None, :] / 16).repeat(x.shape[1], 1, 1, 1)
        padded = nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return nn.functional.conv2d(padded, kernel, stride=2, groups=x.shape[1])


def plain_network(config: list, shift_tolerant: bool) -> tuple[nn.Sequential, dict[str, int]]:
    """A VGG as one `nn.Sequential`, and the index of each convolution by name."""
    layers: list[nn.Module] = []
    indices: dict[str, int] = {}
    block, position, channels = 1, 0, 3
    for width in config:
        if width == "M":
            layers += [nn.MaxPool2d(2, stride=1), DepthwiseBlur()] if shift_tolerant else [nn.MaxPool2d(2)]
            block, position = block + 1, 0
        else:
            position += 1
            indices[f"conv{block}_{position}"] = len(layers)
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers), indices


@pytest.fixture(scope="module", params=["vgg19", "vgg16", "st-vgg16"])
def trunk(request: pytest.FixtureRequest) -> PerceptualTrunk:
    torch.manual_seed(0)
    made = PerceptualTrunk(request.param)
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # keeps deep features from vanishing
    return made


def reference(trunk: PerceptualTrunk) -> tuple[nn.Sequential, dict[str, int]]:
    shift_tolerant = trunk.name == "st-vgg16"
    network, indices = plain_network(VGG19 if trunk.name == "vgg19" else VGG16, shift_tolerant)
    own = {key.removeprefix("features."): value for key, value in trunk.state_dict().items()}
    missing = network.load_state_dict(own, strict=False)
    assert not missing.unexpected_keys
    assert all(int(key.split(".")[0]) > max(int(k.split(".")[0]) for k in own) for key in missing.missing_keys)
    return network, indices


def test_vgg19_layers_are_torchvisions() -> None:
    _, indices = plain_network(VGG19, False)
    assert {layer: indices[layer] for layer in SPECS["vgg19"].layer_weights} == {
        "conv3_4": 16,
        "conv4_4": 25,
        "conv5_4": 34,
    }
    assert [(layer, index) for layer, index, _ in SPECS["vgg19"].convolutions("conv5_4")] == list(indices.items())


def test_layer_weights() -> None:
    assert PerceptualTrunk("vgg19").weights == {"conv3_4": 1 / 8, "conv4_4": 1 / 4, "conv5_4": 1 / 2}
    assert PerceptualTrunk("vgg16").weights == {"conv3_3": 1 / 8, "conv4_3": 1 / 4, "conv5_3": 1 / 2}
    assert PerceptualTrunk("st-vgg16").weights == {"conv3_3": 2.0, "conv4_3": 0.17, "conv5_3": 0.0125}


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_features_are_those_of_a_plain_network(trunk: PerceptualTrunk, size: tuple[int, int]) -> None:
    network, indices = reference(trunk)
    images = torch.rand(1, 3, *size)
    features = trunk(images)
    assert list(features) == list(trunk.weights)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = (images - mean) / std
    for index, layer in enumerate(islice(network, indices[list(features)[-1]] + 1)):
        x = layer(x)
        name = next((name for name, at in indices.items() if at == index and name in features), None)
        if name is not None:
            assert features[name].min() < 0, "features must be taken before activation"
            torch.testing.assert_close(features[name], x, rtol=1e-4, atol=1e-4 * x.abs().max().item())


def test_nothing_is_computed_behind_the_last_layer(trunk: PerceptualTrunk) -> None:
    last = list(trunk.weights)[-1]
    indices = plain_network(VGG19 if trunk.name == "vgg19" else VGG16, trunk.name == "st-vgg16")[1]
    assert max(int(index) for index in trunk.features) == indices[last]


def test_gradient_reaches_every_pixel_and_no_parameter(trunk: PerceptualTrunk) -> None:
    images = torch.rand(1, 3, 33, 33, requires_grad=True)
    features = trunk(images)
    for layer in trunk.weights:
        (gradient,) = torch.autograd.grad(features[layer].square().mean(), images, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert (gradient.abs().amax(dim=1) > 0).all()
    assert all(not parameter.requires_grad for parameter in trunk.parameters())


def test_gradient_is_right() -> None:
    torch.manual_seed(0)
    trunk = PerceptualTrunk("st-vgg16").double()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    direction = torch.randn_like(images)

    def value(x: Tensor) -> Tensor:
        return torch.stack([feature.mean() for feature in trunk(x).values()]).sum()

    images.requires_grad_(True)
    (gradient,) = torch.autograd.grad(value(images), images)
    step = 1e-7  # small, so that next to no ReLU and no maximum changes its mind
    with torch.no_grad():
        numeric = (value(images + step * direction) - value(images - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-3, atol=1e-9)


def test_stays_in_evaluation_mode_and_can_be_copied(trunk: PerceptualTrunk) -> None:
    outer = nn.ModuleList([trunk])
    outer.train()
    assert not trunk.training
    other = copy.deepcopy(trunk)
    assert other.weights == trunk.weights


def test_computes_in_the_precision_of_its_parameters(trunk: PerceptualTrunk) -> None:
    images = torch.rand(1, 3, 32, 32)
    expected = trunk(images)
    for layer, feature in copy.deepcopy(trunk).to(torch.bfloat16)(images).items():
        full = expected[layer]
        assert feature.dtype == torch.bfloat16
        assert (feature.float() - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_refuses_other_inputs(trunk: PerceptualTrunk, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        trunk(torch.rand(shape))


PUBLISHED = {
    "vgg19": lambda index: f"features.{index}",
    "vgg16": lambda index: f"features.{index}",
    # The authors cut the network into five slices that begin with the pooling of each block.
    "st-vgg16": lambda index: f"net.slice{1 + sum(index >= start for start in (4, 10, 18, 26))}.{index}",
}


@pytest.fixture(scope="module", params=["vgg19", "vgg16", "st-vgg16"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrunkName, Path]:
    """A file with the key names and shapes of the published one, and with more than the trunk needs."""
    name: TrunkName = request.param
    state = {"lin0.model.1.weight": torch.zeros(1, 64, 1, 1), "classifier.6.bias": torch.zeros(10)}
    for key, value in PerceptualTrunk(name).state_dict().items():
        _, index, kind = key.split(".")
        state[f"{PUBLISHED[name](int(index))}.{kind}"] = torch.full_like(value, int(index) + 0.5 * (kind == "bias"))
    path = tmp_path_factory.mktemp("trunk") / f"{name}.pth"
    torch.save(state, path)
    return name, path


def test_reads_the_published_key_names(published: tuple[TrunkName, Path]) -> None:
    trunk = PerceptualTrunk.from_file(*published)
    for key, value in trunk.state_dict().items():
        _, index, kind = key.split(".")
        assert (value == int(index) + 0.5 * (kind == "bias")).all(), key
    assert all(not parameter.requires_grad for parameter in trunk.parameters())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(8)}, path)
    with pytest.raises(UserError, match=r"other\.pth \(as vgg19\).*30 missing.*1 mis-shaped") as caught:
        PerceptualTrunk.from_file("vgg19", path)
    assert "\n" not in str(caught.value)


def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="gramgan weights get vgg19"):
        load_trunk("vgg19")
    with pytest.raises(UserError, match="gramgan weights get st-lpips"):
        load_trunk("st-vgg16")


@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 8)])
def test_blur_is_the_depthwise_convolution(size: tuple[int, int]) -> None:
    x = torch.rand(2, 5, *size, dtype=torch.float64)
    blurred = blur_half(x)
    assert blurred.shape == (2, 5, (size[0] + 1) // 2 + 1, (size[1] + 1) // 2 + 1)
    torch.testing.assert_close(blurred, DepthwiseBlur()(x))
    assert torch.autograd.gradcheck(blur_half, x[:1, :1].clone().requires_grad_(True), fast_mode=True)


def test_blur_refuses_tiny_maps() -> None:
    with pytest.raises(ValueError, match="2x5"):
        blur_half(torch.rand(1, 1, 2, 5))


@pytest.mark.network
def test_layers_of_st_vgg16_share_the_gradient(st_lpips_paths: dict[str, Path], photos_folder: Path) -> None:
    """An eighth, a quarter and a half, as the losses weight VGG-19; by the raw features conv5_3 would have it all."""
    trunk = PerceptualTrunk.from_file("st-vgg16", st_lpips_paths["vgg16"])
    norms = dict.fromkeys(trunk.weights, 0.0)
    for path in sorted(photos_folder.glob("*.jpg"))[::6]:
        photo = torch.from_numpy(read_rgb(path)).unsqueeze(0)
        top, left = photo.shape[-2] // 2 - 48, photo.shape[-1] // 2 - 48
        hr = photo[..., top : top + 96, left : left + 96]
        sr = bicubic_up(matlab_bicubic_down(hr)).requires_grad_()
        features, wanted = trunk(sr), trunk(hr)
        for layer, weight in trunk.weights.items():
            loss = weight * (features[layer] - wanted[layer]).abs().mean()
            norms[layer] += float(torch.autograd.grad(loss, sr, retain_graph=True)[0].norm())
    total = sum(norms.values())
    shares = {layer: norm / total for layer, norm in norms.items()}
    expected = {"conv3_3": 1 / 7, "conv4_3": 2 / 7, "conv5_3": 4 / 7}
    assert shares == pytest.approx(expected, rel=0.35)


def test_some_layers_alone() -> None:
    every, first = PerceptualTrunk("st-vgg16"), PerceptualTrunk("st-vgg16", ["conv3_3"])
    assert list(first.weights) == ["conv3_3"]
    assert len(first.features) < len(every.features)
    every.load_state_dict(first.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(first(images)["conv3_3"], every(images)["conv3_3"])
    for wrong in (["conv9_9"], []):
        with pytest.raises(UserError, match="conv3_3, conv4_3, conv5_3"):
            PerceptualTrunk("st-vgg16", wrong)
