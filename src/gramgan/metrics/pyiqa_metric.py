"""LPIPS and DISTS as the toolbox pyiqa computes them: for comparison with other people's tables.

Both stand on networks that trainings use as losses (VGG-16 for DISTS) or that are near them (AlexNet for LPIPS). pyiqa
is an extra: it needs torchvision, and fetches the networks' weights from its own places when it is first used.
"""

import hashlib
from importlib import metadata

import torch
from torch import Tensor, nn

from gramgan.errors import UserError
from gramgan.metrics.inputs import cropped_pair

NAMES = ("lpips", "dists")


class PyiqaMetric:
    """One metric of pyiqa; lower is better, 0 for identical images.

    Args:
        name: of `NAMES`.
        device: where it is to compute.

    Raises:
        UserError: unknown name, pyiqa is not installed or cannot be used here, or it cannot bring its weights.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        if name not in NAMES:
            raise UserError(f"metric {name!r}: unknown; use {' or '.join(NAMES)}")
        try:
            import pyiqa  # pyright: ignore[reportMissingImports] — an extra
        except ImportError as error:
            missing = error.name or "pyiqa"
            raise UserError(f"metric {name}: {missing} is not installed; run pip install 'gramgan[metrics]'") from None
        except RuntimeError as error:  # torchvision's compiled part was made for another torch
            raise UserError(
                f"metric {name}: pyiqa cannot be used here ({_first_line(error)}); install the torchvision that "
                f"belongs to torch {torch.__version__}, or leave {name} out"
            ) from None
        try:
            self._metric: nn.Module = pyiqa.create_metric(name, device=torch.device(device))
        except OSError as error:  # urllib's errors are of this kind
            raise UserError(
                f"metric {name}: pyiqa cannot bring its weights ({_first_line(error)}); use it once where there is a "
                f"network, or leave {name} out"
            ) from None
        self.name = name
        self.version = f"pyiqa {metadata.version('pyiqa')}, {name}"

    def weights_sha256(self) -> str:
        """SHA-256 over names and numbers of the network as it was loaded: it may be of several files."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._metric.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distance of each pair of RGB images `[B, 3, H, W]` in [0, 1]: `[B]`.

        Raises:
            ValueError: shapes differ.
        """
        sr, hr = cropped_pair(sr, hr)
        return self._metric(sr.float(), hr.float()).reshape(len(sr))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
