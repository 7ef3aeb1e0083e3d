"""JPEG as libjpeg writes and reads it (ITU-T T.81, baseline, 4:2:0 or 4:4:4), in torch for many images at once.

What loses something is done as libjpeg does it: 8-bit Y'CbCr, chroma averaged over 2×2 pixels, the tables of T.81's
annex K scaled by quality, its integer cosine transform with all its roundings, 8-bit samples, chroma enlarged by the
triangle filter. The entropy coding loses nothing and is left out. There is no gradient.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.jpeg_tables import quantisation_tables
from gramgan.ops.resize import mirrored

_BLOCK = 8
_MCU = 16
"""Side of the unit of 4:2:0 coding: four luma blocks, one block of each chroma."""

_BITS, _EXTRA_BITS = 13, 2
"""Fractional bits of the transform's factors, and those that are kept between its two passes."""

_HALF_MATRIX = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)


@dataclass(frozen=True)
class Coding:
    """How one image is coded.

    `offset`: rows and columns (0 to 15) by which the blocks begin before the image, as if it had been cut from a larger
    file; else every crop would have a block's corner in its own corner. `subsampled`: chroma at half the size (4:2:0).
    """

    quality: int
    offset: tuple[int, int] = (0, 0)
    subsampled: bool = True


def jpeg(images: Sequence[Tensor], codings: Sequence[Coding | None]) -> list[Tensor]:
    """Write and read images as JPEG.

    Args:
        images: RGB `[3, H, W]` in [0, 1], of any sizes, on one device; rounded to 8 bits first.
        codings: how each is coded; None leaves it as it is.

    Returns:
        The images in 8-bit steps of [0, 1], shapes kept.
    """
    coded = [number for number, coding in enumerate(codings) if coding is not None]
    done = list(images)
    if not coded:
        return done
    planes, steps = [], []
    for number in coded:
        coding = codings[number]
        assert coding is not None
        image = done[number]
        for side, dim in zip(coding.offset, (-2, -1), strict=True):
            image = _with_mirror_before(image, side, dim)
        planes += _planes(image, subsampled=coding.subsampled)
        luma, chroma = (torch.from_numpy(table) for table in quantisation_tables(coding.quality))
        steps += [luma, chroma, chroma]
    planes = _through_blocks(planes, steps)
    for position, number in enumerate(coded):
        coding = codings[number]
        assert coding is not None
        (top, left), (height, width) = coding.offset, images[number].shape[-2:]
        read = _rgb(planes[3 * position : 3 * position + 3], (top + height, left + width), subsampled=coding.subsampled)
        done[number] = read[:, top:, left:].to(images[number].dtype)
    return done


def _with_mirror_before(image: Tensor, side: int, dim: int) -> Tensor:
    return mirrored(image, side, dim).narrow(dim, 0, side + image.shape[dim]) if side else image


def _planes(image: Tensor, *, subsampled: bool) -> list[Tensor]:
    """8-bit Y', Cb and Cr, the latter two at half the size if `subsampled`, padded to whole blocks as libjpeg does."""
    red, green, blue = image.clamp(0, 1).mul(255).round().unbind(0)
    # In 16-bit fractions, as libjpeg: whole numbers below 2²⁴, which float32 holds exactly.
    luma = ((19595 * red + 38470 * green + 7471 * blue) / 65536 + 0.5).floor()
    half = 0.5 - 1 / 65536
    cb = ((-11059 * red - 21709 * green + 32768 * blue) / 65536 + half).floor() + 128
    cr = ((32768 * red - 27439 * green - 5329 * blue) / 65536 + half).floor() + 128
    chroma = (_halved(cb), _halved(cr)) if subsampled else (cb, cr)
    return [_padded(plane, _BLOCK, _BLOCK) for plane in (luma, *chroma)]


def _halved(plane: Tensor) -> Tensor:
    """Means of 2×2 pixels. libjpeg adds 1 and 2 in turn before it divides by 4 without rounding."""
    plane = _padded(plane, 2, _MCU)
    total = plane[0::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 0::2] + plane[1::2, 1::2]
    bias = 1 + torch.arange(total.shape[1], device=plane.device) % 2
    return torch.div(total + bias, 4, rounding_mode="floor")


def _padded(plane: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column until there are multiples of so many."""
    height, width = plane.shape
    padding = (0, -width % columns, 0, -height % rows)
    return F.pad(plane[None, None], padding, mode="replicate")[0, 0] if any(padding) else plane


def _through_blocks(planes: list[Tensor], tables: list[Tensor]) -> list[Tensor]:
    """Transform, quantise and transform back: 8-bit planes of whole blocks, all in one batch of blocks."""
    counts = [plane.numel() // _BLOCK**2 for plane in planes]
    blocks = torch.cat([_blocks(plane) for plane in planes])
    # All values are whole numbers, which float64 holds exactly; tensor cores would round them.
    matrix = _matrix().to(blocks.device)
    steps = torch.stack(tables).to(blocks.device)
    steps = steps.repeat_interleave(torch.tensor(counts, device=blocks.device), 0, output_size=sum(counts))
    rows = _descaled((blocks.double() - 128) @ matrix.T, _BITS - _EXTRA_BITS)
    eighths = _descaled(matrix @ rows, _BITS + _EXTRA_BITS)  # the transform makes coefficients 8 times larger
    quantised = eighths.sign() * torch.div(eighths.abs() + 4 * steps, 8 * steps, rounding_mode="floor")
    columns = _descaled(matrix.T @ (quantised * steps), _BITS - _EXTRA_BITS)
    samples = (_descaled(columns @ matrix, _BITS + _EXTRA_BITS + 3) + 128).clamp(0, 255)
    return [
        _unblocked(part, plane.shape)
        for part, plane in zip(samples.to(planes[0].dtype).split(counts), planes, strict=True)
    ]


def _blocks(plane: Tensor) -> Tensor:
    """`[H, W]` → `[H·W/64, 8, 8]`."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    return plane.reshape(rows, _BLOCK, columns, _BLOCK).transpose(1, 2).reshape(-1, _BLOCK, _BLOCK)


def _unblocked(blocks: Tensor, shape: torch.Size) -> Tensor:
    rows, columns = shape[0] // _BLOCK, shape[1] // _BLOCK
    return blocks.reshape(rows, columns, _BLOCK, _BLOCK).transpose(1, 2).reshape(shape)


def _descaled(values: Tensor, bits: int) -> Tensor:
    """Divided by 2^bits and rounded, halves up."""
    return (values / 2**bits + 0.5).floor()


@functools.cache
def _matrix() -> Tensor:
    """libjpeg's cosine transform of 8 values, √8 times the orthonormal one and in 13-bit fractions, `[8, 8]`.

    libjpeg ("islow", after Loeffler, Ligtenberg and Moschytz, 1989) gets there in fewer multiplications, whose rounded
    factors add up to these.
    """
    halves = torch.tensor(_HALF_MATRIX, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(_BLOCK // 2)[:, None]
    return torch.cat((halves, signs * halves.flip(1)), dim=1)


def _rgb(planes: list[Tensor], size: tuple[int, int], *, subsampled: bool) -> Tensor:
    """8-bit Y', Cb, Cr as RGB `[3, H, W]` in [0, 1]."""
    height, width = size
    luma = planes[0][:height, :width]
    chroma = _enlarged(planes[1:], size) if subsampled else torch.stack(planes[1:])[:, :height, :width]
    cb, cr = (chroma - 128).unbind(0)
    red = luma + (91881 * cr / 65536 + 0.5).floor()
    green = luma + ((-22554 * cb - 46802 * cr) / 65536 + 0.5).floor()
    blue = luma + (116130 * cb / 65536 + 0.5).floor()
    return torch.stack((red, green, blue)).clamp(0, 255).div(255)


def _enlarged(planes: list[Tensor], size: tuple[int, int]) -> Tensor:
    """8-bit planes of half the size, `[2, H, W]`."""
    height, width = size
    # libjpeg's "fancy upsampling" is the bilinear filter with pixel centres in line; it adds 8/16 and 7/16 in turn
    # before it drops what is behind the point.
    halves = torch.stack([plane[: -(-height // 2), : -(-width // 2)] for plane in planes])
    chroma = F.interpolate(halves[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    bias = 0.5 - (torch.arange(width, device=halves.device) % 2) / 16
    return (chroma[:, :height, :width] + bias).floor()
