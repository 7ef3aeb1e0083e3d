"""ST-LPIPS: its layers written out plainly, the published key names, measured values where the weights are there."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.errors import UserError
from gramgan.images import read_rgb
from gramgan.metrics import StLpips
from gramgan.ops.resize import bicubic_up
from gramgan.weights.catalog import KNOWN, is_cached

CONVOLUTIONS = {  # key in the published file: (shape, padding)
    "net.slice1.0": ((64, 3, 11, 11), 2),
    "net.slice2.5": ((192, 64, 5, 5), 2),
    "net.slice3.9": ((384, 192, 3, 3), 1),
    "net.slice4.11": ((256, 384, 3, 3), 1),
    "net.slice5.13": ((256, 256, 3, 3), 1),
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for layer, (key, (shape, _)) in enumerate(CONVOLUTIONS.items()):
        fan_in = shape[1] * shape[2] * shape[3]
        made[f"{key}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        made[f"{key}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
        made[f"lin{layer}.model.1.weight"] = torch.rand(1, shape[0], 1, 1, generator=generator)
    return made


@pytest.fixture(scope="module")
def metric(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> StLpips:
    path = tmp_path_factory.mktemp("st_lpips") / "alex.pth"
    torch.save(state, path)
    return StLpips.from_file(path)


def plain_distance(state: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The authors' network step by step, in float64."""
    state = {key: value.double() for key, value in state.items()}

    def blur(x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype)
        kernel = (row[:, None] * row[None, :] / 16).repeat(x.shape[1], 1, 1, 1)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])

    def features(x: Tensor) -> list[Tensor]:
        shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
        scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
        x = (2 * x.double() - 1 - shift) / scale
        found = []
        for layer, (key, (_, padding)) in enumerate(CONVOLUTIONS.items()):
            if layer in (1, 2):
                x = blur(F.max_pool2d(x, 3, stride=1))
            x = F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=padding)
            x = F.relu(blur(x) if layer == 0 else x)
            found.append(x / x.norm(dim=1, keepdim=True).clamp_min(1e-10))
        return found

    total = torch.zeros(len(a), dtype=torch.float64)
    for layer, (x, y) in enumerate(zip(features(a), features(b), strict=True)):
        total += F.conv2d((x - y).square(), state[f"lin{layer}.model.1.weight"]).mean(dim=(1, 2, 3))
    return total


@pytest.mark.parametrize("size", [(24, 24), (37, 50)])
def test_against_the_network_written_out(metric: StLpips, state: dict[str, Tensor], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    a = torch.rand(2, 3, *size)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    value = metric(a, b)
    assert value.shape == (2,)
    assert (value > 0.001).all()
    torch.testing.assert_close(value.double(), plain_distance(state, a, b), rtol=1e-4, atol=1e-6)


def test_identical_images_have_no_distance(metric: StLpips) -> None:
    image = torch.rand(1, 3, 32, 32)
    assert metric(image, image).item() == 0


def test_is_symmetric_and_without_gradient(metric: StLpips) -> None:
    a, b = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    assert metric(a, b).item() == pytest.approx(metric(b, a).item(), rel=1e-5)
    assert not metric(a, b).requires_grad


def test_refuses_small_or_unequal_images(metric: StLpips) -> None:
    with pytest.raises(ValueError, match="too small"):
        metric(torch.rand(1, 3, 23, 40), torch.rand(1, 3, 23, 40))
    with pytest.raises(ValueError, match="of one shape"):
        metric(torch.rand(1, 3, 32, 40), torch.rand(1, 3, 40, 32))


def test_weights_of_another_network_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "part.pth"
    torch.save({key: value for key, value in state.items() if "slice4" not in key}, path)
    with pytest.raises(UserError, match=r"part\.pth \(as ST-LPIPS with AlexNet\).*2 missing"):
        StLpips.from_file(path)


def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="gramgan weights get st-lpips"):
        StLpips.load()


def test_measured_value_of_bicubic_on_set5(benchmarks_folder: Path) -> None:
    if not is_cached(KNOWN["st-lpips-alex"]):
        pytest.skip("the weights of ST-LPIPS are not in the cache (`gramgan weights get st-lpips`)")
    metric = StLpips.load()
    values = []
    for path in sorted((benchmarks_folder / "Set5").glob("*HR.png")):
        hr, lr = (torch.from_numpy(read_rgb(p))[None] for p in (path, path.with_name(path.name.replace("HR", "LR"))))
        values.append(metric(bicubic_up(lr).mul(255).round().div(255), hr).item())
    assert sum(values) / 5 == pytest.approx(0.326, abs=0.0005)
