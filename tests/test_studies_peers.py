"""The comparison with peers: reading their weights, the tables it writes, and (slow) the figures that are known."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import peers
import srresnet
from gramgan.errors import UserError
from gramgan.evaluation.protocols import SR_Y_CROP4, Metric
from gramgan.evaluation.report import EvaluationReport, ImageScores, ModelScores
from gramgan.evaluation.scoring import DSS
from gramgan.images import write_image
from gramgan.weights.formats import load_strict


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as Keras 2.2 wrote them: layers in the order in which they run."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("keras") / "generator.h5"
    numbers = {"conv2d": 0, "batch_normalization_v1": 0, "p_re_lu": 0, "add": 0}
    names = []
    with h5py.File(path, "w") as file:

        def layer(kind: str, **arrays: np.ndarray) -> None:
            name = kind if not numbers[kind] else f"{kind}_{numbers[kind]}"
            numbers[kind] += 1
            names.append(name)
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{key}:0".encode() for key in arrays], dtype="S")
            for key, array in arrays.items():
                group.create_dataset(f"{name}/{key}:0", data=array.astype(np.float32))

        def conv(size: int, inside: int, outside: int) -> None:
            kernel = random.normal(0, (size * size * inside) ** -0.5, (size, size, inside, outside))
            layer("conv2d", kernel=kernel, bias=random.normal(0, 0.1, outside))

        def norm() -> None:
            values = {key: random.normal(1, 0.1, 64) for key in ("gamma", "beta", "moving_mean")}
            layer("batch_normalization_v1", **values, moving_variance=random.uniform(0.5, 1.5, 64))

        def slope() -> None:
            layer("p_re_lu", alpha=random.uniform(0, 0.5, (1, 1, 64)))

        conv(9, 3, 64)
        slope()
        for _ in range(16):
            conv(3, 64, 64)
            norm()
            slope()
            conv(3, 64, 64)
            norm()
            layer("add")
        conv(3, 64, 64)
        norm()
        layer("add")
        for _ in range(2):
            conv(3, 64, 256)
            slope()
        conv(9, 64, 3)
        file.attrs["layer_names"] = np.array([name.encode() for name in names])
    return path


def test_keras_weights_fill_the_network(keras_file: Path) -> None:
    network = srresnet.SRResNet()
    state = srresnet.read_keras(keras_file)
    load_strict(network, state, keras_file)
    with h5py.File(keras_file) as file:
        kernel = np.asarray(file["conv2d_1/conv2d_1/kernel:0"])
        variance = np.asarray(file["batch_normalization_v1/batch_normalization_v1/moving_variance:0"])
    assert torch.equal(state["blocks.0.conv1.weight"], torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
    assert torch.equal(network.state_dict()["blocks.0.norm1.running_var"], torch.from_numpy(variance))
    network.eval()
    with torch.no_grad():
        sr = network(torch.rand(1, 3, 6, 7))
    assert sr.shape == (1, 3, 24, 28)
    assert sr.min() >= 0
    assert sr.max() <= 1


def test_pixels_are_shuffled_as_tensorflow_does(keras_file: Path) -> None:
    with h5py.File(keras_file) as file:
        kernel = torch.from_numpy(np.asarray(file["conv2d_34/conv2d_34/kernel:0"])).permute(3, 2, 0, 1)
        bias = torch.from_numpy(np.asarray(file["conv2d_34/conv2d_34/bias:0"]))
    x = torch.rand(1, 64, 4, 5)
    channels = torch.nn.functional.conv2d(x, kernel, bias, padding=1)
    # depth_to_space: the channel is (row * 2 + column) * 64 + feature.
    expected = channels.view(1, 2, 2, 64, 4, 5).permute(0, 3, 4, 1, 5, 2).reshape(1, 64, 8, 10)
    state = srresnet.read_keras(keras_file)
    ours = torch.nn.functional.conv2d(x, state["ups.0.conv.weight"], state["ups.0.conv.bias"], padding=1)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(ours, 2), expected)


def report(folder: str = "x/Set5") -> EvaluationReport:
    metrics = (
        Metric("psnr_y", "1", True, unit="dB", title="PSNR-Y"),
        DSS,
        Metric("st_lpips", "ST0.0", False, weights_sha256="ab" * 32, title="ST-LPIPS"),
    )

    def model(name: str, psnr: float, lpips: float) -> ModelScores:
        rows = [
            ImageScores(f"{i}.png", {"psnr_y": psnr + i - 1, "dss": 0.9, "st_lpips": lpips + 0.01 * (i - 1)})
            for i in range(3)
        ]
        return ModelScores(name, "generator", "cd" * 32, "fp32", tuple(rows))

    models = (model("bicubic", 28.44, 0.3258), model("srgan", 29.20, 0.0772), model("ours", 30.0, 0.05))
    return EvaluationReport(SR_Y_CROP4, metrics, models, folder, "given")


def test_table_marks_the_best_and_ties() -> None:
    lines = peers.table(report()).splitlines()
    assert lines[0] == "| Set5, 3 images | PSNR-Y, dB ↑ | DSS ↑ | ST-LPIPS ↓ |"
    assert lines[2] == "| bicubic | 28.44 | **0.9000** | 0.3258 |"
    assert lines[4] == "| ours | **30.00** | **0.9000** | **0.0500** |"
    assert "ST-LPIPS ours" in peers.winners(report())


def test_ours_is_set_against_every_peer() -> None:
    text = peers.duels(report(), ["ours"])
    assert "| bicubic | +1.56 ± 0.00, 3 : 0 |" in text
    assert "| srgan | +0.80 ± 0.00, 3 : 0 | +0.0000 ± 0.0000, 0 : 0 | -0.0272 ± 0.0000, 3 : 0 |" in text
    assert peers.duels(report(), []) == ""


def test_known_figures_are_compared() -> None:
    assert peers.deviations([report()]) == pytest.approx((0.005, 0), abs=1e-9)  # 28.44 for what is given as 28.43
    assert peers.deviations([report("x/other")]) is None
    assert "max_deviation_db=0.0050" in peers.result_line([report()])
    assert "deviation" not in peers.result_line([report("x/other")])


def test_section_carries_protocol_versions_and_hashes() -> None:
    text = peers.section([report()], ["ours"], ["images/peers-set5.png"], [peers.Speed("ours", 0.76, 1.234)])
    for words in ("sr-y-crop4", "--model ours", "fp32", "abababab", "cdcdcdcd", DSS.version, "images/peers-set5.png"):
        assert words in text
    assert "| ours | 0.76 | 1.2 |" in text
    assert "ours_seconds=1.23 " in peers.result_line([report()], [peers.Speed("ours", 0.76, 1.234)])


def test_speeds_are_those_of_the_program_and_of_srresnet(
    small_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program runs as a user runs it; here on a small picture and with random weights."""
    monkeypatch.setattr(peers, "SPEED_SIDE", 20)
    monkeypatch.setattr(peers, "RUNS", 1)
    network = srresnet.SRResNet().eval()
    monkeypatch.setattr(peers, "load_srresnet", lambda _: (network, "ab"))
    write_image(tmp_path / "small.png", np.random.default_rng(0).random((3, 12, 30), dtype=np.float32))
    ours, peer = peers.speeds([str(small_generator)], tmp_path / "small.png", "cpu")
    assert (ours.name, peer.name) == (small_generator.stem, "srresnet")
    assert ours.parameters < peer.parameters == pytest.approx(1.55, abs=0.02)
    assert ours.seconds > peer.seconds > 0


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_known_figures_of_the_peers(name: str, benchmarks_folder: Path) -> None:
    try:
        scored = peers.run(benchmarks_folder / name, [], "cpu", "fp32")
    except UserError as error:
        if "pip cannot download" not in str(error):
            raise
        pytest.skip(str(error))
    projected = f"{peers.START} {peers.PROJECTED}"
    assert {model.name for model in scored.models} == {*peers.KNOWN[name], projected}
    deviations = peers.deviations([scored])
    assert deviations is not None
    psnr, st_lpips = deviations
    assert psnr < 0.02
    assert st_lpips < 0.0005
    # The metric without weights agrees: bicubic is the worst, and the one of ESRGAN's class the best, back-projected.
    order = sorted(scored.models, key=lambda model: model.mean()["dss"])
    assert (order[0].name, order[-1].name) == ("bicubic", projected)
