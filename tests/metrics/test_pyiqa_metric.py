"""LPIPS and DISTS through pyiqa, for which a stand-in answers: pyiqa needs a torchvision that fits the torch in use."""

import sys
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from gramgan.errors import UserError
from gramgan.evaluation.protocols import SR_Y_CROP4
from gramgan.evaluation.scoring import Scorer
from gramgan.metrics.pyiqa_metric import PyiqaMetric


class Stand(nn.Module):
    """The mean absolute difference as `[B, 1]`, which is how pyiqa's networks answer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean(dim=(1, 2, 3))[:, None] * self.weight[0]


def install(monkeypatch: pytest.MonkeyPatch, create: Callable[..., nn.Module]) -> None:
    module = ModuleType("pyiqa")
    module.create_metric = create  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9" if name == "pyiqa" else version(name))


def test_scores_carry_version_and_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def create(name: str, device: torch.device) -> nn.Module:
        asked.append((name, device))
        return Stand()

    install(monkeypatch, create)
    scorer = Scorer.full(SR_Y_CROP4, "cpu", ["lpips", "dists", "lpips"])
    assert asked == [("lpips", torch.device("cpu")), ("dists", torch.device("cpu"))]
    lpips, dists = scorer.metrics[-2:]
    assert (lpips.name, lpips.version, lpips.title) == ("lpips", "pyiqa 9.9, lpips", "LPIPS")
    assert len(lpips.weights_sha256) == 64
    assert dists.higher_is_better is False
    hr = torch.full((2, 3, 32, 32), 100 / 255)
    rows = scorer.score(torch.cat((hr[:1], hr[1:] + 51 / 255)), hr)
    assert [row["lpips"] for row in rows] == pytest.approx([0, 0.2], abs=1e-6)


def test_other_weights_have_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [Stand(), Stand(), Stand()]
    nn.init.zeros_(networks[2].weight)
    install(monkeypatch, lambda name, device: networks.pop(0))
    first, same, other = (PyiqaMetric("lpips").weights_sha256() for _ in range(3))
    assert first == same != other


def test_without_pyiqa_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match=r"metric lpips: pyiqa is not installed; run pip install 'gramgan\[metrics\]'"):
        PyiqaMetric("lpips")


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "pyiqa":
                raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.delitem(sys.modules, "pyiqa", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(UserError, match=r"torchvision::nms does not exist\); install the torchvision that") as caught:
        PyiqaMetric("dists")
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, device: torch.device) -> nn.Module:
        raise URLError("no route to host")

    install(monkeypatch, create)
    with pytest.raises(UserError, match="cannot bring its weights"):
        PyiqaMetric("lpips")


def test_unknown_metric() -> None:
    with pytest.raises(UserError, match="use lpips or dists"):
        PyiqaMetric("fid")
