"""The semantic discriminator: its shapes, its second derivative, and that it learns what belongs where."""

import pytest
import torch
from torch import Tensor, nn

from gramgan.losses import discriminator_adversarial_loss
from gramgan.networks.build import build_discriminator
from gramgan.networks.discriminator import DiscriminatorConfig
from gramgan.networks.semantic_discriminator import SemanticDiscriminator


def network(*, spectral_norm: bool = True) -> SemanticDiscriminator:
    torch.manual_seed(0)
    built = build_discriminator(DiscriminatorConfig(spectral_norm, 16, "semantic", channels=6))
    assert isinstance(built, SemanticDiscriminator)
    return built


def test_every_patch_is_judged_whatever_the_size_of_the_features() -> None:
    semantic = network()
    images = torch.rand(2, 3, 72, 64)
    for side in (4, 18):
        critique = semantic(images, torch.randn(2, 6, side, side))
        assert critique.logit.shape == (2, 1, 9, 8)
        assert critique.early.shape == (2, 64, 9, 8)
        assert critique.late.shape == (2, 128, 9, 8)
        assert float(critique.early.detach().min()) < 0
        assert float(critique.late.detach().min()) < 0


def test_spectral_normalisation_bounds_the_convolutions_between() -> None:
    semantic = network().train()
    for _ in range(30):  # power iterations
        semantic(torch.rand(1, 3, 64, 64), torch.randn(1, 6, 4, 4))
    for layer in (semantic.conv1, semantic.conv2, semantic.conv3):
        assert isinstance(layer, nn.Conv2d)
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)
    assert not any("parametrizations" in name for name, _ in network(spectral_norm=False).named_parameters())


def test_its_attention_is_a_weighted_mean_of_what_is_known() -> None:
    semantic = network()
    x, known = torch.randn(1, 64, 3, 2), torch.randn(1, 6, 2, 4)
    attended = semantic._attend(x, known)
    query, key, value = semantic.query(x)[0], semantic.key(known)[0].flatten(1), semantic.value(known)[0].flatten(1)
    for row in range(3):
        for column in range(2):
            weights = (query[:, row, column] @ key / 4).softmax(0)
            torch.testing.assert_close(attended[0, :, row, column], value @ weights)


def test_it_learns_in_bf16_and_channels_last() -> None:
    semantic = network().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images, known = torch.rand(2, 3, 64, 64), torch.randn(2, 6, 4, 4).bfloat16()
    images, known = (each.contiguous(memory_format=torch.channels_last) for each in (images, known))
    with torch.autocast("cpu", torch.bfloat16):
        critique = semantic(images, known)
    critique.logit.float().mean().backward()
    assert all(parameter.grad is not None for parameter in semantic.parameters())


def test_r1_can_take_its_gradient() -> None:
    semantic = network()
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(semantic(images, torch.randn(1, 6, 4, 4)).logit.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert semantic.key.weight.grad is not None
    assert float(semantic.key.weight.grad.abs().max()) > 0


def test_it_learns_what_belongs_to_what_is_known() -> None:
    """Bright belongs to one kind of features and dark to the other: neither is false by itself."""
    semantic = network()
    optimizer = torch.optim.Adam(semantic.parameters(), 2e-3)
    random = torch.Generator().manual_seed(1)

    def pair() -> tuple[Tensor, Tensor, Tensor]:
        sign = torch.randint(0, 2, (8, 1, 1, 1), generator=random) * 2.0 - 1
        known = sign * torch.tensor([1.0, -1, 1, -1, 1, -1]).view(1, 6, 1, 1).expand(8, 6, 4, 4)
        noise = 0.1 * torch.rand(8, 3, 64, 64, generator=random)
        return 0.5 + 0.3 * sign + noise, 0.5 - 0.3 * sign + noise, known

    for _ in range(40):
        real, false, known = pair()
        logits = semantic(false, known).logit, semantic(real, known).logit
        loss = discriminator_adversarial_loss(*logits, "average")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, false, known = pair()
    with torch.no_grad():
        right = semantic(real, known).logit > semantic(false, known).logit
    assert float(right.float().mean()) > 0.95
