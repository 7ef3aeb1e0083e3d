"""Gram-GAN's five losses and their weighted sum (Song et al., 2023). All scalars, all in float32 (float64 stays).

L = η₁ L_PT + η₂ L_DP + η₃ L_P + η₄ L_G + η₅ L_C, and further ones that the paper has not. (DISTS as a loss is
`gramgan.metrics.dists.Dists.loss`, LPIPS `gramgan.metrics.lpips.Lpips.loss`.)
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from gramgan.networks.discriminator import Critique
from gramgan.ops.patches import box_mean
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.candidates import Targets
from gramgan.texture.descriptors import Descriptor

Relativistic = Literal["average", "paired"]

_WINDOW = 7  # of the artifact loss, in pixels
_SLICES = 256  # directions of a sliced distance, and side of FDL's patches of the spectrum: the authors' numbers
_SPECTRUM_SIDE = 5


def patch_texture_loss(gram_sr: Tensor, targets: Targets, descriptor: Descriptor) -> Tensor:
    """L_PT: mean over patches of ‖G(e_i) - G(p*_i)‖₁, over all entries of the (standardised) Gram matrices.

    Args:
        gram_sr: standardised Gram vectors of the SR images, `[B, N, D]`; the gradient flows through these alone.
        targets: the chosen real textures.
        descriptor: the one that made `gram_sr`.
    """
    return descriptor.matrix_l1(gram_sr - targets.gram.detach()).mean()


def discriminator_perceptual_loss(sr: Critique, hr: Critique) -> Tensor:
    """L_DP: L1 between the discriminator's conv 5 and conv 11 features of SR and HR, summed over the two layers."""
    return _l1(sr.early, hr.early) + _l1(sr.late, hr.late)


def perceptual_loss(sr: Mapping[str, Tensor], hr: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L_P: weighted sum over layers of the L1 distance between a perceptual trunk's features of SR and HR.

    Raises:
        ValueError: no weights were given.
    """
    return _over_layers(_l1, sr, hr, weights)


def sliced_loss(sr: Mapping[str, Tensor], hr: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Whether SR has the same feature vectors as HR, wherever in the image: their sliced Wasserstein distance.

    Heitz et al., "A Sliced Wasserstein Loss for Neural Texture Synthesis", CVPR 2021: vectors are projected on random
    directions, and projections compared in sorted order. There squared differences, here absolute ones, so that layers
    weigh as in `perceptual_loss`.

    Args:
        sr: a trunk's features `{layer: [B, C, H, W]}` of the SR images; the gradient flows through these alone.
        hr: those of the HR images.
        weights: of the layers, over which the distances are summed.

    Raises:
        ValueError: no weights were given, or shapes differ.
    """
    return _over_layers(lambda x, y: _sliced(x, y, side=1), sr, hr, weights)


def frequency_loss(sr: Mapping[str, Tensor], hr: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """FDL: sliced Wasserstein distances of amplitudes and of phases of the features' Fourier transforms.

    Ni et al., "Misalignment-Robust Frequency Distribution Loss for Image Transformation", CVPR 2024, with the authors'
    slices (5×5 bins and all channels) and equal weights of amplitude and phase. They take VGG-19's five blocks after
    activation; here it is the trunk's layers, scaled by `weights`, which changes amplitudes and leaves phases as they
    are. Arguments as for `sliced_loss`.

    Raises:
        ValueError: no weights were given, or shapes differ.
    """

    def both(x: Tensor, y: Tensor) -> Tensor:
        side = min(_SPECTRUM_SIDE, *x.shape[-2:])
        spectrum_x, spectrum_y = torch.fft.fft2(x), torch.fft.fft2(y)
        return _sliced(spectrum_x.abs(), spectrum_y.abs(), side) + _sliced(spectrum_x.angle(), spectrum_y.angle(), side)

    def scaled(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {layer: _precise(features[layer]) * weight for layer, weight in weights.items()}

    return _over_layers(both, scaled(sr), scaled(hr), dict.fromkeys(weights, 1.0))


def generator_adversarial_loss(sr: Tensor, hr: Tensor, relativistic: Relativistic) -> Tensor:
    """L_G: the SR images should look more real than the HR ones.

    Jolicoeur-Martineau, "The relativistic discriminator", 2018.

    Args:
        sr: logits of SR images, `[B, 1]`, or `[B, 1, H, W]` where every pixel is judged.
        hr: logits of HR images, of the same shape; no gradient flows into them.
        relativistic: `average` compares each image with the mean of the others' side; `paired` each SR with its own HR
            (each pixel with the one at its place).
    """
    return _relativistic_loss(real=sr, fake=hr.detach(), relativistic=relativistic)


def discriminator_adversarial_loss(sr: Tensor, hr: Tensor, relativistic: Relativistic) -> Tensor:
    """The discriminator's own loss: HR images should look more real than SR ones. Arguments as for the generator's."""
    return _relativistic_loss(real=hr, fake=sr, relativistic=relativistic)


def pixel_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """L_C: L1 between SR and HR images `[B, 3, H, W]`."""
    return _l1(sr, hr)


def consistency_loss(sr: Tensor, hr: Tensor, factor: int = 4) -> Tensor:
    """L1 between SR and HR images `[B, 3, H, W]`, both shrunk by MATLAB's bicubic: whether SR agrees with its LR image.

    Not one of the paper's losses. A pixel loss cannot ask for the colours and shapes that LR holds without asking for
    the mean of all possible textures too, which is blur; this one says nothing of what is finer than LR.

    HR is shrunk in place of comparing with LR, whose noise and compression SR should not bring back.

    Raises:
        ValueError: shapes differ, or H or W is not a multiple of `factor`.
    """
    return _l1(
        matlab_bicubic_down(_precise(sr), factor, quantise=False),
        matlab_bicubic_down(_precise(hr), factor, quantise=False),
    )


def autoencoded_loss(sr: Tensor, hr: Tensor, decode: Callable[[Tensor], Tensor], factor: int = 4) -> Tensor:
    """L1 between SR and HR images `[B, 3, H, W]` after an auto-encoder: what LR holds of them, as a generator shows it.

    Lee et al., "Auto-Encoded Supervision for Perceptual Image Super-Resolution" (AESOP), CVPR 2025, in place of L_C: of
    what is finer than LR, the auto-encoder leaves the mean, so that nothing asks SR for a blurred texture. The paper
    trains encoder and decoder together on L_C, with the encoder held near bicubic shrinking; here the encoder is that
    shrinking itself, and the decoder a generator that was trained for PSNR, at rest.

    Args:
        sr: the generator's result; the gradient flows through it alone.
        hr: the truth.
        decode: `[B, 3, H/factor, W/factor]` → `[B, 3, H, W]`.
        factor: how many times smaller the code is.
    """
    with torch.no_grad():
        wanted = decode(matlab_bicubic_down(_precise(hr), factor, quantise=False))
    return _l1(decode(matlab_bicubic_down(_precise(sr), factor, quantise=False)), wanted)


def artifact_loss(sr: Tensor, hr: Tensor, steady: Tensor) -> Tensor:
    """L1 between SR and HR images `[B, 3, H, W]`, weighted by how much each pixel looks like an artifact.

    Liang, Zeng, Zhang, "Details or Artifacts: A Locally Discriminative Learning Approach to Realistic Image
    Super-Resolution" (LDL), CVPR 2022, equations 3 to 6. Where the residual |HR - SR| changes from pixel to pixel there
    is texture, or an artifact; it is taken for an artifact where the averaged generator, which moves slowly, is
    nearer to HR. The weight is the residual's variance in 7×7 pixels times the fifth root of that in the image.

    Args:
        sr: the generator's result; the gradient flows through it alone.
        hr: the truth.
        steady: the averaged generator's result for the same LR images.
    """
    with torch.no_grad():
        residual = (_precise(hr) - _precise(sr)).abs().sum(1, keepdim=True)
        of_steady = (_precise(hr) - _precise(steady)).abs().sum(1, keepdim=True)
        spread = (box_mean(residual.square(), _WINDOW) - box_mean(residual, _WINDOW).square()).clamp_min(0)
        whole = residual.var(dim=(-3, -2, -1), keepdim=True) ** (1 / 5)
        weight = spread * whole * (residual >= of_steady)
    return _l1(_precise(sr) * weight, _precise(hr) * weight)


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Σ η·L over the losses that were computed.

    Raises:
        ValueError: there are none.
    """
    if not losses:
        raise ValueError("there is no loss to minimise: all weights are 0")
    terms = [weights[name] * value for name, value in losses.items()]
    return sum(terms[1:], start=terms[0])


def _relativistic_loss(real: Tensor, fake: Tensor, relativistic: Relativistic) -> Tensor:
    real, fake = _precise(real), _precise(fake)
    if relativistic == "paired":
        return F.softplus(fake - real).mean()
    # -log σ(x) = softplus(-x) and -log(1 - σ(x)) = softplus(x): binary cross-entropy with targets 1 and 0.
    return (F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()) / 2


def _over_layers(
    loss: Callable[[Tensor, Tensor], Tensor],
    sr: Mapping[str, Tensor],
    hr: Mapping[str, Tensor],
    weights: Mapping[str, float],
) -> Tensor:
    if not weights:
        raise ValueError("a loss of features needs at least one layer")
    terms = [weight * loss(sr[layer], hr[layer]) for layer, weight in weights.items()]
    return sum(terms[1:], start=terms[0])


def _sliced(sr: Tensor, hr: Tensor, side: int) -> Tensor:
    """Mean 1-Wasserstein distance of the projections of all `side` × `side` patches on random directions."""
    directions = _directions(sr.shape[1], side, sr.device).to(_precise(sr).dtype)
    projected = (F.conv2d(_precise(each), directions).flatten(2).sort(dim=-1).values for each in (sr, hr))
    return _l1(*projected)


@lru_cache
def _directions(channels: int, side: int, device: torch.device) -> Tensor:
    """Unit vectors `[256, channels, side, side]`, the same in every run: a resumed one goes on exactly as it was."""
    drawn = torch.randn(_SLICES, channels, side, side, generator=torch.Generator().manual_seed(0))
    return F.normalize(drawn.flatten(1)).view_as(drawn).to(device)


def _l1(sr: Tensor, hr: Tensor) -> Tensor:
    if sr.shape != hr.shape:
        raise ValueError(f"SR and HR differ in shape: {list(sr.shape)} and {list(hr.shape)}")
    return _MeanDifference.apply(sr, hr.detach())


class _MeanDifference(torch.autograd.Function):
    """Mean |sr - hr| in float32, as `F.l1_loss`, and its gradient in the precision and memory format of `sr`.

    `F.l1_loss` keeps both inputs in float32 and returns a gradient in float32 and in the contiguous format; before a
    convolution in bf16 and channels-last it would be converted twice.
    """

    @staticmethod
    def forward(ctx: Any, sr: Tensor, hr: Tensor) -> Tensor:
        difference = _precise(sr) - _precise(hr)
        ctx.save_for_backward(difference.sign().to(sr.dtype))
        return difference.abs_().mean()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (the decorator hides the name of `ctx`)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None]:
        (sign,) = ctx.saved_tensors
        return sign * (gradients[0] / sign.numel()), None


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
