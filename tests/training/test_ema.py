"""The averaged generator against its recurrence written out."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gramgan.training.ema import averaged


def weight(ema: AveragedModel) -> Tensor:
    return ema.module.state_dict()["weight"]


def test_average_follows_the_rising_decay() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2).double()
    ema = averaged(network, decay=0.25)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for update in range(6):
        with torch.no_grad():
            network.weight.normal_()
        decay = 0 if update == 0 else min(0.25, (1 + update) / (10 + update))  # 2/11, 3/12, then 0.25
        expected = decay * expected + (1 - decay) * network.weight.detach()
        ema.update_parameters(network)
        torch.testing.assert_close(weight(ema), expected)
    assert not torch.equal(weight(ema), network.weight)


def test_average_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    one = averaged(network, decay=0.9)
    for _ in range(3):
        one.update_parameters(network)
        with torch.no_grad():
            network.weight.normal_()
    two = averaged(nn.Linear(3, 2), decay=0.9)
    two.load_state_dict(one.state_dict())
    for ema in (one, two):
        ema.update_parameters(network)
    assert torch.equal(weight(one), weight(two))


def test_no_decay_keeps_the_weights_themselves() -> None:
    network = nn.Linear(3, 2)
    ema = averaged(network, decay=0)
    for _ in range(3):
        with torch.no_grad():
            network.weight.normal_()
        ema.update_parameters(network)
    torch.testing.assert_close(weight(ema), network.weight.detach())
