"""LPIPS and DISTS: their networks written out plainly, and measured values where the weights are there."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from gramgan.errors import UserError
from gramgan.images import read_rgb
from gramgan.metrics import Dists, Lpips
from gramgan.metrics.lpips import LpipsNetwork
from gramgan.ops.resize import bicubic_up
from gramgan.weights.catalog import fetch_weights

ALEX = {0: ((64, 3, 11, 11), 4, 2), 3: ((192, 64, 5, 5), 1, 2), 6: ((384, 192, 3, 3), 1, 1)}
ALEX |= {8: ((256, 384, 3, 3), 1, 1), 10: ((256, 256, 3, 3), 1, 1)}
VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
STAGES = (64, 128, 256, 512, 512)


def vgg_state(generator: torch.Generator) -> dict[str, Tensor]:
    state, index, channels = {}, 0, 3
    for width in VGG:
        if isinstance(width, str):
            index += 1
            continue
        shape = (width, channels, 3, 3)
        state[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (2 / (9 * channels)) ** 0.5
        state[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
        index, channels = index + 2, width
    return state


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Tensor], Path]]:
    generator = torch.Generator().manual_seed(0)
    alex = {}
    for index, (shape, _, _) in ALEX.items():
        fan_in = shape[1] * shape[2] * shape[3]
        alex[f"features.{index}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        alex[f"features.{index}.bias"] = torch.randn(shape[0], generator=generator) * 0.1
    vgg = vgg_state(generator)
    for state, widths in ((alex, [shape[0] for shape, _, _ in ALEX.values()]), (vgg, STAGES)):
        for i, width in enumerate(widths):
            state[f"lin{i}.weight"] = torch.rand(1, width, 1, 1, generator=generator)
    dists = {name: torch.rand(1, 3 + sum(STAGES), 1, 1, generator=generator) for name in ("alpha", "beta")}
    folder = tmp_path_factory.mktemp("weights")
    made = {}
    for name, state in (("alex", alex), ("vgg", vgg), ("dists", dists)):
        save_file(state, folder / f"{name}.safetensors")
        made[name] = ({key: value.double() for key, value in state.items()}, folder / f"{name}.safetensors")
    return made


def scaled(x: Tensor) -> Tensor:
    """As LPIPS scales images of [-1, 1]."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    return (2 * x.double() - 1 - shift) / scale


def alex_features(state: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    found, x = [], scaled(x)
    for layer, (index, (_, stride, padding)) in enumerate(ALEX.items()):
        x = F.max_pool2d(x, 3, 2) if layer in (1, 2) else x
        x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], stride, padding))
        found.append(x)
    return found


def vgg_features(state: dict[str, Tensor], x: Tensor, l2: bool) -> list[Tensor]:
    layers: list[Tensor] = []
    index, x = 0, scaled(x)
    for width in VGG:
        if width == "M":
            layers.append(x)
            index += 1
            if l2:
                row = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
                pool = nn.Conv2d(x.shape[1], x.shape[1], 3, 2, 1, groups=x.shape[1], bias=False).double()
                nn.init.zeros_(pool.weight).add_(torch.outer(row, row))
                x = pool(x**2).add(1e-12).sqrt().detach()
            else:
                x = F.max_pool2d(x, 2)
            continue
        x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1))
        index += 2
    return [*layers, x]


@torch.no_grad()
def plain_lpips(network: LpipsNetwork, state: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros(len(a), dtype=torch.float64)
    features = [
        alex_features(state, each) if network == "alex" else vgg_features(state, each, False) for each in (a, b)
    ]
    for i, (x, y) in enumerate(zip(*features, strict=True)):
        x, y = (each / each.norm(dim=1, keepdim=True) for each in (x, y))
        total += F.conv2d((x - y) ** 2, state[f"lin{i}.weight"]).mean(dim=(1, 2, 3))
    return total


@torch.no_grad()
def plain_dists(own: dict[str, Tensor], vgg: dict[str, Tensor], a: Tensor, b: Tensor) -> float:
    """Equations 3 to 6 of the paper for one pair, channel by channel."""
    alpha, beta = own["alpha"].flatten(), own["beta"].flatten()
    total, at, score = alpha.sum() + beta.sum(), 0, 1.0
    x_features, y_features = ([each.double(), *vgg_features(vgg, each, True)] for each in (a, b))
    for x_map, y_map in zip(x_features, y_features, strict=True):
        for x, y in zip(x_map[0], y_map[0], strict=True):
            texture = (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
            covariance = ((x - x.mean()) * (y - y.mean())).mean()
            structure = (2 * covariance + 1e-6) / (x.var(correction=0) + y.var(correction=0) + 1e-6)
            score -= float((alpha[at] * texture + beta[at] * structure) / total)
            at += 1
    return score


def images(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    a = torch.rand(2, 3, *size)
    return a, (a + 0.1 * torch.randn_like(a)).clamp(0, 1)


@pytest.mark.parametrize("network", ["alex", "vgg"])
@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_lpips_against_the_network_written_out(
    states: dict[str, tuple[dict[str, Tensor], Path]], network: LpipsNetwork, size: tuple[int, int]
) -> None:
    state, path = states[network]
    metric = Lpips.from_file(path, network)
    a, b = images(size)
    value = metric(a, b)
    assert value.shape == (2,)
    torch.testing.assert_close(value.double(), plain_lpips(network, state, a, b), rtol=1e-4, atol=1e-6)
    assert torch.equal(metric(b, b), torch.zeros(2))


@pytest.mark.parametrize("size", [(16, 16), (33, 40)])
def test_dists_against_the_network_written_out(
    states: dict[str, tuple[dict[str, Tensor], Path]], size: tuple[int, int]
) -> None:
    metric = Dists.from_files(states["dists"][1], states["vgg"][1])
    a, b = images(size)
    value = metric(a, b)
    expected = [plain_dists(states["dists"][0], states["vgg"][0], a[i : i + 1], b[i : i + 1]) for i in range(2)]
    assert value.shape == (2,)
    assert min(expected) > 0.001
    assert value.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert metric(b, b).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["dists", "lpips"])
def test_a_loss_is_the_score_s_mean_and_moves_sr_alone(
    name: str, states: dict[str, tuple[dict[str, Tensor], Path]]
) -> None:
    vgg = states["vgg"][1]
    metric = Dists.from_files(states["dists"][1], vgg) if name == "dists" else Lpips.from_file(vgg, "vgg")
    sr, hr = images((32, 40))
    sr.requires_grad_()
    hr.requires_grad_()
    loss = metric.loss(sr, hr)
    torch.testing.assert_close(loss.detach(), metric(sr, hr).mean())
    loss.backward()
    assert hr.grad is None
    assert sr.grad is not None
    along = 1e-3 * sr.grad / sr.grad.norm()
    slope = (metric(sr + along, hr) - metric(sr - along, hr)).mean() / 2e-3
    assert float(slope) == pytest.approx(float(sr.grad.norm()), rel=0.02)


def test_the_last_truth_is_remembered_and_never_mistaken(states: dict[str, tuple[dict[str, Tensor], Path]]) -> None:
    metric = Lpips.from_file(states["alex"][1])
    a, b = images((32, 32))
    first = metric(a, b)
    assert torch.equal(metric(a, b.clone()), first)
    changed = b.clone()
    changed[0, 0, 5, 5] = 1 - changed[0, 0, 5, 5]
    assert metric(a, changed)[0] != first[0]
    b.copy_(changed)  # in place: the metric must have kept a copy of its own
    assert torch.equal(metric(a, b), metric(a, changed))


def test_wrong_input(states: dict[str, tuple[dict[str, Tensor], Path]]) -> None:
    metric = Lpips.from_file(states["alex"][1])
    with pytest.raises(ValueError, match="31 pixels"):
        metric(torch.rand(1, 3, 30, 64), torch.rand(1, 3, 30, 64))
    with pytest.raises(ValueError, match="one shape"):
        metric(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 40))
    with pytest.raises(UserError, match=r"alex\.safetensors \(as LPIPS with vgg\): .*missing"):
        Lpips.from_file(states["alex"][1], "vgg")
    with pytest.raises(UserError, match=r"as DISTS\): .*missing"):
        Dists.from_files(states["vgg"][1], states["vgg"][1])


def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="gramgan weights get lpips-alex"):
        Lpips.load()
    with pytest.raises(UserError, match="gramgan weights get dists-vgg16"):
        Dists.load()


@pytest.mark.network
def test_measured_values(benchmarks_folder: Path) -> None:
    """LPIPS and DISTS of bicubic enlargement on Set5 with the real weights; that of DISTS is what this code measured.

    Papers report 0.340 for LPIPS with AlexNet.
    """
    try:
        fetch_weights("lpips")
        fetch_weights("dists")
    except UserError as error:
        pytest.skip(str(error))
    lpips, dists = Lpips.load(), Dists.load()
    scores = []
    for path in sorted((benchmarks_folder / "Set5").glob("*HR.png")):
        hr = torch.from_numpy(read_rgb(path))[None]
        lr = torch.from_numpy(read_rgb(path.with_name(path.name.replace("HR", "LR"))))[None]
        sr = bicubic_up(lr).clamp(0, 1).mul(255).round().div(255)
        scores.append((float(lpips(sr, hr)), float(dists(sr, hr))))
    means = torch.tensor(scores).mean(0)
    assert float(means[0]) == pytest.approx(0.340, abs=0.003)
    assert float(means[1]) == pytest.approx(0.2124, abs=0.001)
