"""DSS, the perceptual metric without learned weights: similarity of local variances in DCT subbands.

Balanov, Schwartz, Moshe, Peleg, "Image quality assessment based on DCT subband similarity", ICIP 2015.

A generator should also be judged by something that it was not trained on. ST-LPIPS is a network's opinion, and a
sibling of the trunk `st-vgg16`; VGG is LPIPS' and DISTS' trunk and a training loss too. DSS has no network and no
weights, so nothing that trains here can have learned to please it. It compares how much each subband *varies* around a
place, not its values, so texture need not be the truth's pixel by pixel (only the subband of block means is compared by
value as well), and it pools the worst 5 % of places, as people judge pictures by their flaws.

Of the metrics without learned weights it agrees best with people on PIPAL (Gu et al., ECCV 2020), the set of judgements
that has results of GANs in it. Spearman correlations as the package piq 0.8.0 measured them: DSS 0.63, IW-SSIM 0.60,
FSIM, HaarPSI and MDSI 0.59, GMSD 0.58, SSIM 0.50, PSNR 0.41; of the learned ones DISTS 0.62, LPIPS (VGG) 0.57. None is
good. What DSS cannot see: colour, and the finest detail, for its weights fall off towards high frequencies.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.metrics.inputs import cropped_pair
from gramgan.ops.luma import luma_full

_BLOCK = 8
_SPREAD = 1.55  # of the Gaussian over subbands, in subbands
_SMALLEST_WEIGHT = 0.01  # subbands below it do not count
_WINDOW = 3
_SIGMA = 1.5
_WORST = 0.05
_C_MEANS = 1000.0  # for values up to 255
_C_OTHERS = 300.0


def dss(sr: Tensor, hr: Tensor) -> Tensor:
    """DCT subband similarity of the lumas (higher is better, 1 for identical images).

    All constants are the authors'. Where 5 % of the blocks are less than half a block (images below 26×26), the worst
    block counts alone.

    Args:
        sr: RGB `[B, 3, H, W]` in [0, 1].
        hr: the truth, of the same shape; what no whole 8×8 block covers at the right and bottom is left out.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, not RGB, or smaller than one block.
    """
    sr, hr = cropped_pair(sr, hr, smallest=_BLOCK)
    weights = _subband_weights()
    used = weights >= _SMALLEST_WEIGHT
    x, y = (_subbands(images)[:, used.flatten()] for images in (sr, hr))
    mean_x, mean_y = _local(x), _local(y)
    variance_x = (_local(x * x) - mean_x.square()).clamp_min(0)
    variance_y = (_local(y * y) - mean_y.square()).clamp_min(0)
    deviations = (variance_x * variance_y).sqrt()

    c = torch.full((x.shape[1], 1, 1), _C_OTHERS, dtype=x.dtype, device=x.device)
    c[0] = _C_MEANS
    similarity = _worst((2 * deviations + c) / (variance_x + variance_y + c))
    covariance = (_local(x * y) - mean_x * mean_y)[:, :1]
    means_alike = _worst((covariance + _C_MEANS) / (deviations[:, :1] + _C_MEANS))
    similarity = torch.cat((similarity[:, :1] * means_alike, similarity[:, 1:]), dim=1)
    shares = (weights[used] / weights[used].sum()).to(x)
    return similarity @ shares


def _subband_weights() -> Tensor:
    """`[8, 8]`, highest for low frequencies; the first is that of the block means."""
    distance = (torch.arange(_BLOCK, dtype=torch.float64) + 0.5).square()
    return torch.exp(-(distance[:, None] + distance[None, :]) / (2 * _SPREAD**2))


def _subbands(images: Tensor) -> Tensor:
    """DCT coefficients of the luma's 8×8 blocks, for values up to 255: `[B, 3, H, W]` → `[B, 64, H/8, W/8]`."""
    frequency = torch.arange(_BLOCK, dtype=torch.float64)[:, None]
    position = torch.arange(_BLOCK, dtype=torch.float64)[None, :]
    basis = torch.cos(math.pi / (2 * _BLOCK) * frequency * (2 * position + 1)) * math.sqrt(2 / _BLOCK)
    basis[0] = math.sqrt(1 / _BLOCK)
    kernels = torch.einsum("my,nx->mnyx", basis, basis).reshape(-1, 1, _BLOCK, _BLOCK)
    return F.conv2d(255 * luma_full(images.double()), kernels.to(images.device), stride=_BLOCK)


def _local(subbands: Tensor) -> Tensor:
    """Gaussian mean of each subband around each block; beyond the border there are zeros."""
    offsets = torch.arange(_WINDOW, dtype=subbands.dtype, device=subbands.device) - _WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    kernel = torch.outer(weights, weights) / weights.sum().square()
    kernel = kernel.expand(subbands.shape[1], 1, _WINDOW, _WINDOW)
    return F.conv2d(subbands, kernel, padding=_WINDOW // 2, groups=subbands.shape[1])


def _worst(scores: Tensor) -> Tensor:
    """Mean of the lowest 5 % of the places: `[B, S, h, w]` → `[B, S]`."""
    places = scores.flatten(2)
    count = max(1, round(_WORST * places.shape[2]))
    return places.topk(count, dim=2, largest=False).values.mean(dim=2)
