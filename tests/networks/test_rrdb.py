from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.networks.rrdb import RRDBConfig, RRDBNet


def esrgan_keys(nb: int) -> list[str]:
    convs = ["conv_first"]
    convs += [f"body.{b}.rdb{r}.conv{c}" for b in range(nb) for r in (1, 2, 3) for c in (1, 2, 3, 4, 5)]
    convs += ["conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    return [f"{conv}.{kind}" for conv in convs for kind in ("weight", "bias")]


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "nearest"])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 16)])
def test_four_times_the_size(upsampler: str, size: tuple[int, int]) -> None:
    network = RRDBNet(RRDBConfig(nf=8, nb=1, gc=4, upsampler=upsampler))  # type: ignore[arg-type]
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, 4 * size[0], 4 * size[1])


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "nearest"])
def test_state_dict_has_esrgans_names(upsampler: str) -> None:
    with torch.device("meta"):
        network = RRDBNet(RRDBConfig(upsampler=upsampler))  # type: ignore[arg-type]
    state = network.state_dict()
    assert list(state) == esrgan_keys(23)
    assert len(state) == 702
    wanted = 256 if upsampler == "pixelshuffle" else 64
    assert state["conv_up1.weight"].shape == state["conv_up2.weight"].shape == (wanted, 64, 3, 3)
    if upsampler == "nearest":
        assert sum(tensor.numel() for tensor in state.values()) == 16_697_987  # as published for ESRGAN


def _plain(state: dict[str, Tensor], x: Tensor, nb: int, upsampler: str) -> Tensor:
    """ESRGAN's network written out without modules, from the paper's figures."""

    def conv(name: str, value: Tensor) -> Tensor:
        return F.conv2d(value, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    def act(value: Tensor) -> Tensor:
        return torch.where(value > 0, value, 0.2 * value)

    first = conv("conv_first", x)
    features = first
    for block in range(nb):
        entry = features
        for dense in (1, 2, 3):
            parts = [features]
            for index in range(1, 5):
                parts.append(act(conv(f"body.{block}.rdb{dense}.conv{index}", torch.cat(parts, 1))))
            features = features + 0.2 * conv(f"body.{block}.rdb{dense}.conv5", torch.cat(parts, 1))
        features = entry + 0.2 * features
    features = first + conv("conv_body", features)
    for name in ("conv_up1", "conv_up2"):
        if upsampler == "nearest":
            features = act(conv(name, features.repeat_interleave(2, 2).repeat_interleave(2, 3)))
        else:
            features = act(F.pixel_shuffle(conv(name, features), 2))
    return conv("conv_last", act(conv("conv_hr", features)))


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "nearest"])
def test_equals_the_network_written_out(upsampler: str) -> None:
    torch.manual_seed(0)
    config = RRDBConfig(nf=8, nb=2, gc=4, upsampler=upsampler)  # type: ignore[arg-type]
    network = RRDBNet(config).double().eval()
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), _plain(network.state_dict(), x, 2, upsampler), rtol=1e-12, atol=1e-12)


def test_every_parameter_gets_a_gradient() -> None:
    network = RRDBNet(RRDBConfig(nf=8, nb=1, gc=4))
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_config_round_trip() -> None:
    config = RRDBConfig(nf=16, nb=3, gc=8, upsampler="nearest")
    values = dict[str, Any](config.to_dict())
    assert RRDBConfig(**values) == config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_checkpointing_changes_no_gradient_and_keeps_less(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = RRDBNet(RRDBConfig(8, 3, 4))
    lr = torch.rand(1, 3, 16, 16)
    found, kept = [], []
    for checkpointing in (False, True):
        network.checkpointing = checkpointing
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved: dict[int, int] = saved) -> Tensor:
            saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = network(lr).float().square().mean()
            kept.append(sum(saved.values()))
            found.append(torch.autograd.grad(loss, list(network.parameters())))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    assert kept[1] < kept[0] / 2


def test_checkpointing_is_of_training_alone() -> None:
    network = RRDBNet(RRDBConfig(8, 1, 4))
    names = list(network.state_dict())
    network.checkpointing = True
    assert list(network.state_dict()) == names
    with torch.no_grad():
        assert not network(torch.rand(1, 3, 8, 8)).requires_grad


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "nearest"])
def test_it_can_start_as_nearest_neighbour_enlargement(upsampler: Literal["pixelshuffle", "nearest"]) -> None:
    torch.manual_seed(0)
    network = RRDBNet(RRDBConfig(16, 2, 8, upsampler))
    network.start_as_nearest()
    lr = torch.rand(2, 3, 12, 10)
    expected = F.interpolate(lr, scale_factor=4, mode="nearest")
    sr = network(lr)
    assert (sr - expected)[..., 4:-4, 4:-4].abs().mean() < 0.03
    sr.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
