"""Gram-matrix descriptors of small patches (Song et al., "Gram-GAN", Sensors 2023).

For a patch with C channels, P in R^(C x k²), the texture is its Gram matrix G = P Pᵀ / k². It is symmetric, so only the
upper triangle is kept, off-diagonal entries times √2: the Euclidean distance of two vectors is the Frobenius distance
of the matrices.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

DescriptorName = Literal["rgb", "rgb-centred", "rgb-gradient"]
DESCRIPTORS: tuple[DescriptorName, ...] = get_args(DescriptorName)

_CHANNELS: dict[DescriptorName, int] = {"rgb": 3, "rgb-centred": 3, "rgb-gradient": 9}


def dimension(descriptor: DescriptorName) -> int:
    """Length D of the descriptor's vectors: C(C+1)/2 for C channels."""
    channels = _CHANNELS[descriptor]
    return channels * (channels + 1) // 2


@dataclass(frozen=True)
class Descriptor:
    """A descriptor with its patch side and the scale that makes its components comparable.

    The natural scales of the three descriptors, and of components within one, differ by up to thousands; dividing each
    component by its standard deviation over real textures makes one loss weight mean the same for all of them. The
    scale is estimated when a database is built and belongs to the database; without one the shipped values serve.
    """

    name: DescriptorName
    k: int
    scale: tuple[float, ...]

    @classmethod
    def default(cls, name: DescriptorName, k: int = 4) -> "Descriptor":
        """The descriptor with the shipped scale: standard deviations over 4×4 patches of the project's photographs."""
        channels = _CHANNELS[name]
        colour, contrast = (0.27, 0.36), (0.0050, 0.0068)  # (diagonal, off-diagonal × √2)
        derivative, mixed = (0.0021, 0.0031), 0.0088

        def scale(row: int, column: int) -> float:
            if name == "rgb-centred":
                return contrast[row != column]
            if row >= 3:
                return derivative[row != column]
            return mixed if column >= 3 else colour[row != column]

        return cls(name, k, tuple(scale(i, j) for i in range(channels) for j in range(i, channels)))

    def __post_init__(self) -> None:
        if len(self.scale) != self.dimension or min(self.scale) <= 0:
            raise ValueError(f"descriptor {self.name} needs {self.dimension} positive scales, got {len(self.scale)}")

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        return dimension(self.name)

    def encode(self, images: "Tensor", stride: int | None = None) -> "Tensor":
        """Standardised Gram vectors `[B, N, D]` of RGB images `[B, 3, H, W]` in [0, 1]; the stride is k by default."""
        from gramgan.ops.transfer import constant  # needs torch, without which tables are built, read and changed
        from gramgan.texture.encoding import encode

        vectors = encode(images, self.name, self.k, stride or self.k)
        return vectors / constant(self.scale, vectors.dtype, vectors.device)

    def matrix_l1(self, difference: "Tensor") -> "Tensor":
        """L1 norm over all C×C matrix entries of standardised vector differences: `[..., D]` → `[...]`.

        The vector holds each off-diagonal entry once, times √2; the matrix holds it twice: one more √2.
        """
        from gramgan.texture.encoding import off_diagonal_factor

        factor = off_diagonal_factor(_CHANNELS[self.name], math.sqrt(2), difference)
        return (difference.abs() * factor).sum(dim=-1)
