"""What of a picture was really measured, so that its enlargement has to agree with it.

Of a clean picture that is every pixel. Of a compressed one JPEG has kept intervals of its cosine coefficients, and of a
noisy one only what is coarse enough for the noise to average out: to hold on to more brings the damage back into the
result. Which of it may be held was measured on Real-ESRGAN's results and our own (docs/explanation/photographs.md).
"""

import math
from dataclasses import dataclass

import numpy as np

from gramgan.condition import Condition, Jpeg
from gramgan.ops.filters import filtered

_COARSE = 3.0
"""Standard deviation, in input pixels, of the Gaussian that leaves what is held of a picture that is not clean."""
_REACH = math.ceil(3 * _COARSE)
_AVERAGED = 1 / (2 * math.sqrt(math.pi) * _COARSE)
"""What that Gaussian leaves of the standard deviation of white noise."""
_BLOCK = 8
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)  # ITU-T T.871 (JFIF)
_RGB = np.linalg.inv(_YCBCR.astype(np.float64)).astype(np.float32)
_SAMPLED = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:4:0": (2, 1), "4:2:0": (2, 2), "4:1:1": (1, 4)}
"""Rows and columns of luma for one of chroma, by the name of the subsampling."""


@dataclass(frozen=True)
class Measured:
    """What a result has to agree with, as a projection of what it lacks.

    Attributes:
        jpeg: the compression, if there was one that shows.
        noise: standard deviation of the noise, in units of [0, 1].
        fine: share of everything else that is held on to: 1 for clean pictures, 0 to clean others.
    """

    jpeg: Jpeg | None = None
    noise: float = 0.0
    fine: float = 1.0

    @classmethod
    def of(cls, condition: Condition, denoise: float) -> "Measured":
        """What was measured of a picture in that condition; `denoise` from 0 (noise is kept) to 1 (taken away)."""
        if condition.clean:
            return EVERYTHING
        return cls(condition.jpeg, condition.noise_level / 255, 1 - denoise)

    @property
    def reach(self) -> int:
        """How many input pixels on each side decide what is missing at a pixel."""
        return 0 if self.fine == 1 else _REACH + (2 * _BLOCK if self.jpeg else 0)

    def missing(self, residual: np.ndarray, top: int, left: int) -> np.ndarray:
        """What a result lacks of what was measured.

        Args:
            residual: the picture less the shrunken result, `[3, h, w]` in units of [0, 1].
            top: row of the first pixel in the whole picture, for the place of JPEG's blocks.
            left: its column.

        Returns:
            `[3, h, w]`: 0 where the result may be right.
        """
        if self.fine == 1:
            return residual
        held = residual if self.jpeg is None else beyond_quantisation(residual, self.jpeg, top, left)
        held = np.stack([filtered(plane, _GAUSSIAN) for plane in held])
        held = _beyond(held, self.noise * _AVERAGED)
        return held + np.float32(self.fine) * (residual - held) if self.fine else held


EVERYTHING = Measured()
"""Of a clean picture."""


def beyond_quantisation(residual: np.ndarray, jpeg: Jpeg, top: int, left: int) -> np.ndarray:
    """The part of a residual that JPEG's rounding does not explain.

    Each cosine coefficient of the original lay within half a quantisation step of the one in the file: what is missing
    by less than that is no error of the result.

    Args:
        residual: RGB `[3, h, w]` in units of [0, 1].
        jpeg: steps, and where the blocks lie.
        top: row of the residual's first pixel in the picture.
        left: its column.
    """
    planes = np.einsum("ij,jhw->ihw", _YCBCR, 255 * residual)
    luma = np.array(jpeg.luma_table, np.float32)
    chroma = np.array(jpeg.chroma_table or jpeg.luma_table, np.float32)
    sampled = _SAMPLED.get(jpeg.subsampling or "4:2:0", (2, 2))
    corner = jpeg.chroma_offset or jpeg.offset
    planes[0] = _outside(planes[0], luma / 2, (jpeg.offset[0] - top, jpeg.offset[1] - left), (1, 1))
    for plane in planes[1:]:
        plane[:] = _outside(plane, chroma / 2, (corner[0] - top, corner[1] - left), sampled)
    return np.einsum("ij,jhw->ihw", _RGB, planes) / 255


def _outside(plane: np.ndarray, half: np.ndarray, corner: tuple[int, int], sampled: tuple[int, int]) -> np.ndarray:
    """`[h, w]` with its cosine coefficients moved towards 0 by `half` `[8, 8]`; a block begins at `corner`."""
    (height, width), (down, across) = plane.shape, sampled
    before = [-(corner[axis] % (_BLOCK * sampled[axis])) % (_BLOCK * sampled[axis]) for axis in (0, 1)]
    after = [-(before[axis] + plane.shape[axis]) % (_BLOCK * sampled[axis]) for axis in (0, 1)]
    padded = np.pad(plane, list(zip(before, after, strict=True)), "edge")
    rows, columns = padded.shape[0] // (_BLOCK * down), padded.shape[1] // (_BLOCK * across)
    # Means over the pixels that share a sample of chroma, as blocks.
    blocks = padded.reshape(rows, _BLOCK, down, columns, _BLOCK, across).mean(axis=(2, 5)).transpose(0, 2, 1, 3)
    coefficients = _DCT @ blocks @ _DCT.T
    blocks = (_DCT.T @ _beyond(coefficients, half) @ _DCT).transpose(0, 2, 1, 3)
    whole = blocks.reshape(rows * _BLOCK, columns * _BLOCK).repeat(down, axis=0).repeat(across, axis=1)
    return whole[before[0] : before[0] + height, before[1] : before[1] + width]


def _beyond(values: np.ndarray, half: np.ndarray | float) -> np.ndarray:
    """By how much values lie outside of -half to half."""
    return np.sign(values) * np.maximum(np.abs(values) - half, 0)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values, `[8, 8]`."""
    frequency, place = np.mgrid[:_BLOCK, :_BLOCK]
    matrix = np.cos((2 * place + 1) * frequency * math.pi / (2 * _BLOCK)) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.astype(np.float32)


def _gaussian() -> np.ndarray:
    weights = np.exp(-0.5 * np.square(np.arange(-_REACH, _REACH + 1) / _COARSE))
    return (weights / weights.sum()).astype(np.float32)


_DCT, _GAUSSIAN = _cosines(), _gaussian()
