"""The U-Net discriminator: its layers, its judgement of every pixel, and that it learns where images differ."""

import pytest
import torch
from torch import nn

from gramgan.losses import discriminator_adversarial_loss
from gramgan.networks.build import build_discriminator
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.unet_discriminator import UNetDiscriminator


def network(width: int = 8, *, spectral_norm: bool = True) -> UNetDiscriminator:
    torch.manual_seed(0)
    built = build_discriminator(DiscriminatorConfig(spectral_norm, width, "unet"))
    assert isinstance(built, UNetDiscriminator)
    return built


def test_layers_are_those_of_real_esrgan() -> None:
    plain = network(64, spectral_norm=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()}
    assert shapes == {
        "conv0.weight": (64, 3, 3, 3),
        "conv0.bias": (64,),
        "conv1.weight": (128, 64, 4, 4),
        "conv2.weight": (256, 128, 4, 4),
        "conv3.weight": (512, 256, 4, 4),
        "conv4.weight": (256, 512, 3, 3),
        "conv5.weight": (128, 256, 3, 3),
        "conv6.weight": (64, 128, 3, 3),
        "conv7.weight": (64, 64, 3, 3),
        "conv8.weight": (64, 64, 3, 3),
        "conv9.weight": (1, 64, 3, 3),
        "conv9.bias": (1,),
    }


def test_every_pixel_is_judged_and_features_are_before_activation() -> None:
    unet = network()
    images = torch.rand(2, 3, 72, 64)
    seen = []
    unet.conv2.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    critique = unet(images)
    assert critique.logit.shape == (2, 1, 72, 64)
    assert critique.early.shape == (2, 32, 18, 16)
    assert critique.late.shape == (2, 64, 9, 8)
    assert torch.equal(critique.early, seen[0])  # not overwritten by what followed
    assert float(critique.early.min()) < 0


def test_spectral_normalisation_bounds_every_layer_between_the_first_and_the_last() -> None:
    unet = network(16)
    unet.train()
    for _ in range(30):  # power iterations
        unet(torch.rand(1, 3, 64, 64))
    for name, layer in unet.named_modules():
        if isinstance(layer, nn.Conv2d) and name not in ("conv0", "conv9"):
            assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        network()(torch.rand(1, 3, 64, 60))


def test_it_learns_where_an_image_is_false() -> None:
    """The left half of the false images has no texture: after some steps those pixels are found less real."""
    unet = network()
    optimizer = torch.optim.Adam(unet.parameters(), 2e-3)
    random = torch.Generator().manual_seed(1)

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        real = torch.rand(4, 3, 64, 64, generator=random)
        false = real.clone()
        false[..., :32] = false[..., :32].mean(dim=(-2, -1), keepdim=True)
        return real, false

    for _ in range(60):
        real, false = pair()
        loss = discriminator_adversarial_loss(unet(false).logit, unet(real).logit, "paired")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, false = pair()
    with torch.no_grad():
        less_real = unet(real).logit - unet(false).logit
    assert float(less_real[..., 4:28].mean()) > 1.0
    assert float(less_real[..., 40:].abs().mean()) < 0.3 * float(less_real[..., 4:28].mean())


def test_the_classifier_stays_the_default() -> None:
    assert isinstance(build_discriminator(DiscriminatorConfig(width=8)), Discriminator)
