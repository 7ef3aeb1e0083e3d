"""The five losses: known values, the formulas written out, and gradients."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.losses import (
    Relativistic,
    _directions,
    artifact_loss,
    autoencoded_loss,
    consistency_loss,
    discriminator_adversarial_loss,
    discriminator_perceptual_loss,
    frequency_loss,
    generator_adversarial_loss,
    patch_texture_loss,
    perceptual_loss,
    pixel_loss,
    sliced_loss,
    weighted_sum,
)
from gramgan.networks.discriminator import Critique
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.candidates import NO_PATCH, Targets
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName

FORMS: tuple[Relativistic, ...] = ("average", "paired")


def random(*shape: int, seed: int = 0, grad: bool = False) -> Tensor:
    values = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return values.requires_grad_(grad)


def targets(gram: Tensor) -> Targets:
    distance = torch.zeros(gram.shape[:2])
    return Targets(gram, distance, torch.full_like(distance, NO_PATCH, dtype=torch.int64))


def critique(*, seed: int, grad: bool = False) -> Critique:
    shapes = (2, 1), (2, 3, 4, 4), (2, 5, 1, 1)
    return Critique(*(random(*shape, seed=seed + i, grad=grad) for i, shape in enumerate(shapes)))


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_texture_loss_sums_all_entries_of_the_gram_matrices(name: DescriptorName) -> None:
    descriptor = Descriptor.default(name)
    channels = {6: 3, 45: 9}[descriptor.dimension]
    sr, real = random(2, 7, descriptor.dimension, seed=1), random(2, 7, descriptor.dimension, seed=2)

    def matrices(vectors: Tensor) -> Tensor:
        full = torch.zeros(*vectors.shape[:2], channels, channels, dtype=vectors.dtype)
        rows_and_columns = itertools.combinations_with_replacement(range(channels), 2)
        for entry, (row, column) in enumerate(rows_and_columns):
            value = vectors[..., entry] / (1 if row == column else 2**0.5)
            full[..., row, column] = full[..., column, row] = value
        return full

    expected = (matrices(sr) - matrices(real)).abs().sum(dim=(-2, -1)).mean()
    torch.testing.assert_close(patch_texture_loss(sr, targets(real), descriptor), expected)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_texture_gradient_is_right_and_reaches_the_image(name: DescriptorName) -> None:
    descriptor = Descriptor.default(name)
    sr = random(1, 3, 8, 8, seed=3, grad=True)
    real = targets(descriptor.encode(random(1, 3, 8, 8, seed=4)))
    loss = lambda image: patch_texture_loss(descriptor.encode(image), real, descriptor)  # noqa: E731
    assert torch.autograd.gradcheck(loss, (sr,))


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_texture_gradient_comes_from_every_patch_and_not_through_the_targets(name: DescriptorName) -> None:
    descriptor = Descriptor.default(name)
    sr = random(2, 3, 32, 24, seed=5).float().requires_grad_()
    hr = random(2, 3, 32, 24, seed=6).float().requires_grad_()
    patch_texture_loss(descriptor.encode(sr), targets(descriptor.encode(hr)), descriptor).backward()
    assert sr.grad is not None
    by_patch = F.avg_pool2d(sr.grad.abs().sum(dim=1, keepdim=True), 4)
    assert by_patch.shape == (2, 1, 8, 6)
    assert by_patch.min() > 0
    assert hr.grad is None


def test_pixel_loss_is_the_mean_absolute_difference() -> None:
    sr, hr = random(1, 3, 4, 4, seed=1, grad=True), random(1, 3, 4, 4, seed=2, grad=True)
    torch.testing.assert_close(pixel_loss(sr, hr), (sr - hr).abs().mean())
    assert torch.autograd.gradcheck(lambda x: pixel_loss(x, hr), (sr,))
    pixel_loss(sr, hr).backward()
    assert hr.grad is None


def test_consistency_sees_colours_and_not_what_is_finer_than_lr() -> None:
    random = torch.Generator().manual_seed(3)
    hr = torch.rand(2, 3, 32, 32, generator=random, dtype=torch.float64)
    low = matlab_bicubic_down(hr, 4, quantise=False)
    assert consistency_loss(hr + 0.1, hr).item() == pytest.approx(0.1)
    other = torch.rand(2, 3, 32, 32, generator=random, dtype=torch.float64)
    expected = (matlab_bicubic_down(other, 4, quantise=False) - low).abs().mean()
    assert consistency_loss(other, hr).item() == pytest.approx(expected.item(), rel=1e-12)
    fine = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(16).expand(2, 3, 32, 32)  # every second column
    assert pixel_loss(hr + 0.1 * fine, hr).item() == pytest.approx(0.1)
    assert consistency_loss(hr + 0.1 * fine, hr).item() < 0.005
    assert torch.autograd.gradcheck(lambda x: consistency_loss(x, low), (other[..., :8, :8].requires_grad_(),))


def test_perceptual_loss_weighs_its_layers() -> None:
    weights = {"shallow": 0.25, "deep": 0.5}
    sr = {"shallow": random(1, 2, 4, 4, seed=1, grad=True), "deep": random(1, 4, 2, 2, seed=2, grad=True)}
    hr = {"shallow": random(1, 2, 4, 4, seed=3), "deep": random(1, 4, 2, 2, seed=4, grad=True), "unused": random(1)}
    expected = sum(weight * (sr[layer] - hr[layer]).abs().mean() for layer, weight in weights.items())
    torch.testing.assert_close(perceptual_loss(sr, hr, weights), expected)

    def loss(shallow: Tensor, deep: Tensor) -> Tensor:
        return perceptual_loss({"shallow": shallow, "deep": deep}, hr, weights)

    assert torch.autograd.gradcheck(loss, (sr["shallow"], sr["deep"]))
    loss(sr["shallow"], sr["deep"]).backward()
    assert hr["deep"].grad is None


def test_discriminator_perceptual_loss_compares_both_layers_and_not_the_logit() -> None:
    sr, hr = critique(seed=1, grad=True), critique(seed=10, grad=True)
    expected = (sr.early - hr.early).abs().mean() + (sr.late - hr.late).abs().mean()
    torch.testing.assert_close(discriminator_perceptual_loss(sr, hr), expected)
    assert torch.autograd.gradcheck(
        lambda early, late: discriminator_perceptual_loss(sr._replace(early=early, late=late), hr), (sr.early, sr.late)
    )
    discriminator_perceptual_loss(sr, hr).backward()
    assert sr.logit.grad is None
    assert all(part.grad is None for part in hr)


def test_average_form_is_two_halves_of_binary_cross_entropy() -> None:
    sr, hr = random(5, 1, seed=1) * 4, random(5, 1, seed=2) * 4
    bce, ones, zeros = F.binary_cross_entropy_with_logits, torch.ones_like(sr), torch.zeros_like(sr)
    generator = 0.5 * bce(sr - hr.mean(), ones) + 0.5 * bce(hr - sr.mean(), zeros)
    discriminator = 0.5 * bce(hr - sr.mean(), ones) + 0.5 * bce(sr - hr.mean(), zeros)
    torch.testing.assert_close(generator_adversarial_loss(sr, hr, "average"), generator)
    torch.testing.assert_close(discriminator_adversarial_loss(sr, hr, "average"), discriminator)


def test_paired_form_compares_each_sr_with_its_own_hr() -> None:
    sr, hr = random(5, 1, seed=1) * 4, random(5, 1, seed=2) * 4
    wins = torch.sigmoid(sr - hr).log().neg().mean()
    torch.testing.assert_close(generator_adversarial_loss(sr, hr, "paired"), wins)
    torch.testing.assert_close(discriminator_adversarial_loss(hr, sr, "paired"), wins)
    # The average form sees no pairs; this one does.
    order = torch.tensor([1, 2, 3, 4, 0])
    assert not torch.isclose(generator_adversarial_loss(sr[order], hr, "paired"), wins)
    swapped = generator_adversarial_loss(sr[order], hr, "average")
    torch.testing.assert_close(swapped, generator_adversarial_loss(sr, hr, "average"))


@pytest.mark.parametrize("form", FORMS)
def test_adversarial_losses_are_ln_2_for_a_discriminator_that_knows_nothing(form: Relativistic) -> None:
    same = torch.full((4, 1), 3.0)
    for loss in (generator_adversarial_loss, discriminator_adversarial_loss):
        assert float(loss(same, same, form)) == pytest.approx(0.693147, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_adversarial_losses_stay_finite_for_a_discriminator_that_is_sure(form: Relativistic) -> None:
    sr, hr = torch.full((2, 1), -300.0, requires_grad=True), torch.full((2, 1), 300.0)
    loss = generator_adversarial_loss(sr, hr, form)
    loss.backward()
    assert loss.item() == pytest.approx(600)
    assert sr.grad is not None
    assert sr.grad.sum().item() == pytest.approx(-1)
    assert discriminator_adversarial_loss(sr, hr, form).item() == 0


@pytest.mark.parametrize("form", FORMS)
def test_adversarial_gradients(form: Relativistic) -> None:
    sr, hr = random(3, 1, seed=1, grad=True), random(3, 1, seed=2, grad=True)
    assert torch.autograd.gradcheck(lambda x, y: discriminator_adversarial_loss(x, y, form), (sr, hr))
    fixed = hr.detach()
    assert torch.autograd.gradcheck(lambda x: generator_adversarial_loss(x, fixed, form), (sr,))
    generator_adversarial_loss(sr, hr, form).backward()
    assert hr.grad is None
    assert sr.grad is not None
    assert (sr.grad < 0).all()  # looking more real lowers G's loss


def test_losses_are_taken_in_float32() -> None:
    sr, hr = torch.full((1, 1, 64, 64), 1.0), torch.full((1, 1, 64, 64), 1.0 - 2**-7)
    loss = pixel_loss(sr.bfloat16(), hr.bfloat16())
    assert loss.dtype == torch.float32
    assert float(loss) == 2**-7
    logits = torch.tensor([[1.0]]).bfloat16()
    assert generator_adversarial_loss(logits, logits, "average").dtype == torch.float32


def test_weighted_sum_takes_the_losses_that_are_there() -> None:
    losses = {"pixel": torch.tensor(2.0), "texture": torch.tensor(3.0)}
    weights = {"pixel": 0.5, "texture": 2.0, "adversarial": 7.0}
    assert float(weighted_sum(losses, weights)) == 7
    with pytest.raises(ValueError, match="no loss"):
        weighted_sum({}, weights)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        pixel_loss(torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="at least one layer"):
        perceptual_loss({}, {}, {})


def test_artifact_loss_is_ldls() -> None:
    """Against the paper's equations, pixel by pixel."""
    random = torch.Generator().manual_seed(7)
    hr, sr, steady = (torch.rand(2, 3, 20, 24, generator=random, dtype=torch.float64) for _ in range(3))
    residual, of_steady = (hr - sr).abs().sum(1), (hr - steady).abs().sum(1)
    expected = torch.zeros_like(residual)
    padded = torch.nn.functional.pad(residual[:, None], (3, 3, 3, 3), mode="reflect")[:, 0]
    for b in range(2):
        whole = residual[b].var() ** 0.2
        for y in range(20):
            for x in range(24):
                if residual[b, y, x] >= of_steady[b, y, x]:
                    expected[b, y, x] = padded[b, y : y + 7, x : x + 7].var(correction=0) * whole
    wanted = (expected[:, None] * (sr - hr)).abs().mean()
    torch.testing.assert_close(artifact_loss(sr, hr, steady), wanted, rtol=1e-6, atol=1e-9)


def test_artifact_loss_moves_sr_alone_and_only_where_the_average_is_nearer() -> None:
    random = torch.Generator().manual_seed(8)
    hr, sr = (torch.rand(1, 3, 16, 16, generator=random) for _ in range(2))
    sr.requires_grad_()
    steady = hr.clone()
    steady[..., :8] = 1 - 2 * hr[..., :8]  # worse than sr can be
    (gradient,) = torch.autograd.grad(artifact_loss(sr, hr, steady), sr)
    assert float(gradient[..., 8:].abs().min(dim=1).values.max()) > 0
    assert float(gradient[..., :8].abs().sum()) < 0.5 * float(gradient[..., 8:].abs().sum())
    assert float(artifact_loss(hr, hr, steady)) == 0


def feature_maps(seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "shallow": torch.rand(2, 3, 6, 8, generator=random, dtype=torch.float64),
        "deep": torch.rand(2, 5, 4, 4, generator=random, dtype=torch.float64),
    }


WEIGHTS = {"shallow": 0.5, "deep": 2.0}


def plain_sliced(x: Tensor, y: Tensor, side: int) -> Tensor:
    """All patches as rows, projected on the directions, sorted: the definition, image by image."""
    directions = _directions(x.shape[1], side, x.device).double().flatten(1)
    distances = []
    for one, other in zip(x, y, strict=True):
        each = [F.unfold(image[None], side)[0].T @ directions.T for image in (one, other)]
        distances.append((each[0].sort(0).values - each[1].sort(0).values).abs().mean())
    return torch.stack(distances).mean()


def test_sliced_loss_compares_what_there_is_and_not_where() -> None:
    sr, hr = feature_maps(0), feature_maps(1)
    expected = sum(weight * plain_sliced(sr[layer], hr[layer], 1) for layer, weight in WEIGHTS.items())
    torch.testing.assert_close(sliced_loss(sr, hr, WEIGHTS), expected)
    elsewhere = {layer: features.flip(-1).roll(1, -2) for layer, features in hr.items()}
    assert float(sliced_loss(elsewhere, hr, WEIGHTS)) < 1e-12
    assert float(perceptual_loss(elsewhere, hr, WEIGHTS)) > 0.1
    with pytest.raises(ValueError, match="differ in shape"):
        sliced_loss(sr, {layer: features[:1] for layer, features in hr.items()}, WEIGHTS)


def test_frequency_loss_compares_amplitudes_and_phases() -> None:
    sr, hr = feature_maps(0), feature_maps(1)
    expected = torch.zeros((), dtype=torch.float64)
    for layer, weight in WEIGHTS.items():
        x, y = (torch.fft.fft2(weight * each[layer]) for each in (sr, hr))
        side = min(5, x.shape[-1])
        expected += plain_sliced(x.abs(), y.abs(), side) + plain_sliced(x.angle(), y.angle(), side)
    torch.testing.assert_close(frequency_loss(sr, hr, WEIGHTS), expected)
    moved = {layer: features.roll(1, -1) for layer, features in hr.items()}  # amplitudes are the same
    brighter = {layer: 1.5 * features for layer, features in hr.items()}  # phases are
    assert float(frequency_loss(moved, hr, WEIGHTS)) > 0
    assert float(frequency_loss(brighter, hr, WEIGHTS)) > 0


@pytest.mark.parametrize("loss", [sliced_loss, frequency_loss])
def test_losses_of_distributions_have_the_right_gradient(loss: Callable[..., Tensor]) -> None:
    sr, hr = feature_maps(0), feature_maps(1)
    maps = tuple(each.requires_grad_() for each in sr.values())
    for each in hr.values():
        each.requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: loss(dict(zip(sr, x, strict=True)), hr, WEIGHTS), maps, fast_mode=True)
    loss(sr, hr, WEIGHTS).backward()
    assert all(each.grad is None for each in hr.values())


def test_directions_are_unit_vectors_and_the_same_in_every_run() -> None:
    directions = _directions(7, 3, torch.device("cpu"))
    torch.testing.assert_close(directions.flatten(1).norm(dim=1), torch.ones(256))
    drawn = torch.randn(256, 7, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(directions, drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None])


def test_autoencoded_loss_sees_what_the_decoder_makes_of_both() -> None:
    sr, hr = random(1, 3, 8, 8, grad=True), random(1, 3, 8, 8, seed=1, grad=True)

    def decode(code: Tensor) -> Tensor:
        return F.interpolate(code.square(), scale_factor=4, mode="nearest")

    code_sr, code_hr = (matlab_bicubic_down(each, 4, quantise=False) for each in (sr, hr))
    torch.testing.assert_close(autoencoded_loss(sr, hr, decode), (decode(code_sr) - decode(code_hr)).abs().mean())
    assert torch.autograd.gradcheck(lambda x: autoencoded_loss(x, hr, decode), (sr,))
    autoencoded_loss(sr, hr, decode).backward()
    assert hr.grad is None
    fine = (torch.arange(8) % 2 * 2.0 - 1).outer(torch.arange(8) % 2 * 2.0 - 1)  # a chequerboard: finer than LR
    assert float(autoencoded_loss(hr.detach() + 0.1 * fine, hr, decode)) < 0.005
