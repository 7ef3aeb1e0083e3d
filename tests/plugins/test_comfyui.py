"""The node, loaded as ComfyUI loads a folder of `custom_nodes`, with the few functions of ComfyUI that it calls."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import gramgan


class InterruptedByUser(Exception):  # noqa: N818
    """What ComfyUI raises where somebody pressed Cancel."""


@pytest.fixture
def host(weights: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """ComfyUI's modules; returns what its progress bar was told, and whom to ask to stop."""
    told: dict[str, list[float]] = {"progress": [], "stop": []}

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: float) -> None:
            told["progress"].append(value / self.total)

    def throw() -> None:
        if told["stop"]:
            raise InterruptedByUser

    for name, content in {
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {"throw_exception_if_processing_interrupted": throw},
        "folder_paths": {
            "get_filename_list": lambda kind: [weights.name] if kind == "upscale_models" else [],
            "get_full_path": lambda kind, name: str(weights.parent / name),
        },
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
        if "." in name:
            setattr(sys.modules["comfy"], name.partition(".")[2], module)
    return told


def test_the_node_is_found_and_enlarges_a_batch(
    plugins: Path, weights: Path, host: dict[str, list[float]], loaded: Callable[[Path, str], ModuleType]
) -> None:
    module = loaded(plugins / "comfyui", "custom_nodes_gramgan")
    assert set(module.NODE_DISPLAY_NAME_MAPPINGS) == set(module.NODE_CLASS_MAPPINGS)
    node = module.NODE_CLASS_MAPPINGS["GramganUpscale"]
    fields = node.INPUT_TYPES()["required"]
    models, defaults = fields["model"]
    assert defaults["default"] in models
    assert {"gramgan-x4", weights.name} <= set(models)
    given = {name: extra["default"] for name, (_, *rest) in fields.items() if rest for extra in rest}
    batch = torch.rand(2, 20, 16, 3, generator=torch.Generator().manual_seed(0))
    (result,) = getattr(node(), node.FUNCTION)(image=batch, **given | {"model": weights.name, "scale": 3.0})
    assert (result.shape, result.dtype) == ((2, 60, 48, 3), torch.float32)
    wanted = gramgan.upscale(batch[1].numpy(), model=weights, scale=3.0)
    assert isinstance(wanted, np.ndarray)
    assert np.abs(result[1].numpy() - wanted).max() <= 1 / 255
    assert host["progress"] == sorted(host["progress"])
    assert host["progress"][-1] == 1


def test_cancel_ends_it(
    plugins: Path, weights: Path, host: dict[str, list[float]], loaded: Callable[[Path, str], ModuleType]
) -> None:
    node = loaded(plugins / "comfyui", "custom_nodes_gramgan").NODE_CLASS_MAPPINGS["GramganUpscale"]
    host["stop"].append(1)
    with pytest.raises(InterruptedByUser):
        node().upscale(torch.rand(1, 16, 16, 3), weights.name, 4.0, 1.0, False)
