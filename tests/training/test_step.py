"""One training step: who learns from what, what is left out, and how often each network runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from gramgan.config import Config
from gramgan.losses import (
    consistency_loss,
    discriminator_adversarial_loss,
    discriminator_perceptual_loss,
    generator_adversarial_loss,
    patch_texture_loss,
    perceptual_loss,
    pixel_loss,
)
from gramgan.metrics.dists import Dists
from gramgan.metrics.lpips import Lpips
from gramgan.networks import trunks
from gramgan.networks.build import build_discriminator
from gramgan.networks.discriminator import DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.ops.resize import back_project
from gramgan.ops.wavelets import haar_details
from gramgan.texture.candidates import LocalSource, Targets, combined_query
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.mask import texture_mask
from gramgan.training.objective import Guides, Objective
from gramgan.training.step import TrainingStep
from gramgan.training.teacher import Teacher

WEIGHTS = {
    "texture": 0.3,
    "disc_perceptual": 2.0,
    "perceptual": 0.7,
    "adversarial": 5.0,
    "pixel": 1.5,
    "consistency": 2.5,
    "teacher": 0.4,
}
RATE = 1e-2


class Source(LocalSource):
    """Counts how often it is searched."""

    searched = 0

    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        self.searched += 1
        return super().targets(query, hr)


@dataclass
class World:
    """A step with its networks, under plain gradient descent: what a parameter moved by is its gradient."""

    step: TrainingStep
    generator: RRDBNet
    discriminator: nn.Module
    trunk: PerceptualTrunk
    source: Source
    teacher: RRDBNet
    lr: Tensor
    hr: Tensor


def world(precision: str = "32-true", **sections: Mapping[str, object]) -> World:
    torch.manual_seed(0)
    generator = RRDBNet(RRDBConfig(8, 1, 4, "nearest"))
    source = Source(Descriptor.default("rgb"), torch.Generator().manual_seed(0), warp=0)
    settings = {"losses": WEIGHTS, "data": {"crop": 64}} | sections
    named = {"teacher": "a file"} if settings["losses"].get("teacher") else {}
    config = Config.model_validate(settings | {"generator": named})
    channels = trunks.SPECS["vgg19"].blocks[-1][-1]
    discriminator = build_discriminator(DiscriminatorConfig(kind=config.discriminator.kind, channels=channels))
    trunk = PerceptualTrunk("vgg19")
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # pyright: ignore[reportArgumentType]
    g_wrapped, g_optimizer = fabric.setup(generator, torch.optim.SGD(generator.parameters(), RATE, fused=True))
    d_optimizer = torch.optim.SGD(discriminator.parameters(), RATE, fused=True)
    hr = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    hr[..., :32] = 0.5  # without texture: masked
    lr = nn.functional.avg_pool2d(hr, 4)
    teacher = RRDBNet(RRDBConfig(4, 1, 4, "nearest"))
    step = TrainingStep(
        fabric,
        config,
        g_wrapped,
        g_optimizer,
        discriminator,
        d_optimizer,
        Objective(
            fabric,
            config,
            Guides(
                trunk, source, Teacher(teacher, consistent=True), distances={"dists": Dists(), "lpips": Lpips("vgg")}
            ),
        ),
    )
    return World(step, generator, discriminator, trunk, source, teacher, lr, hr)


def copied(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def moved(network: nn.Module, before: list[Tensor]) -> bool:
    return any(not torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))


def assert_descended(network: nn.Module, before: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
    """Every parameter moved by exactly -RATE times its gradient, and together by a measurable step."""
    assert sum(float(gradient.square().sum()) for gradient in gradients) > 1e-6
    for now, then, gradient in zip(network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(now.detach(), then - RATE * gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("relativistic", ["average", "paired"])
def test_each_network_descends_its_own_loss_alone(relativistic: str) -> None:
    it = world(losses=WEIGHTS | {"relativistic": relativistic})
    form = it.step._config.losses.relativistic
    mask = texture_mask(it.hr)
    # D's loss and gradient, plainly: G's result is a constant.
    with torch.no_grad():
        constant = it.generator(it.lr)
    on_hr, on_sr = it.discriminator(it.hr * mask), it.discriminator(constant * mask)
    own = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, form)
    d_gradients = torch.autograd.grad(own, list(it.discriminator.parameters()), allow_unused=False)
    # G's, plainly: D is frozen.
    it.discriminator.requires_grad_(False)
    sr = it.generator(it.lr)
    on_hr, on_sr = it.discriminator(it.hr * mask), it.discriminator(sr * mask)
    descriptor = it.source.descriptor
    query = combined_query(descriptor.encode(it.hr), descriptor.encode(sr), 1, 1)
    losses = {
        "texture": patch_texture_loss(descriptor.encode(sr), it.source.targets(query, it.hr), descriptor),
        "disc_perceptual": discriminator_perceptual_loss(on_sr, on_hr),
        "perceptual": perceptual_loss(it.trunk(sr), it.trunk(it.hr), it.trunk.weights),
        "adversarial": generator_adversarial_loss(on_sr.logit, on_hr.logit, form),
        "pixel": pixel_loss(sr, it.hr),
        "consistency": consistency_loss(sr, it.hr),
        "teacher": pixel_loss(sr, back_project(it.lr, it.teacher(it.lr))),
    }
    total = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
    g_gradients = torch.autograd.grad(total, list(it.generator.parameters()))
    it.discriminator.requires_grad_(True)

    g_before, d_before, teacher_before = copied(it.generator), copied(it.discriminator), copied(it.teacher)
    result = it.step.adversarial(it.lr, it.hr)

    assert not moved(it.teacher, teacher_before)
    assert_descended(it.generator, g_before, g_gradients)
    assert_descended(it.discriminator, d_before, d_gradients)
    for name, value in (losses | {"total": total, "discriminator": own}).items():
        torch.testing.assert_close(result.losses[name], value.detach())
    assert not any(value.requires_grad for value in result.losses.values())
    assert all(p.grad is None for network in (it.generator, it.discriminator) for p in network.parameters())


def test_networks_run_as_rarely_as_possible() -> None:
    it = world()
    calls: Counter[str] = Counter()
    for name in ("generator", "discriminator", "trunk"):

        def count(*_: object, name: str = name) -> None:
            calls[name] += 1

        getattr(it, name).register_forward_hook(count)
    it.step.adversarial(it.lr, it.hr)
    assert calls == {"generator": 1, "discriminator": 2, "trunk": 2}
    assert it.source.searched == 1


@pytest.mark.parametrize("left_out", list(WEIGHTS))
def test_a_weight_of_0_leaves_a_loss_out(left_out: str) -> None:
    it = world(losses=WEIGHTS | {left_out: 0})
    losses = it.step.adversarial(it.lr, it.hr).losses
    assert set(losses) == set(WEIGHTS) - {left_out} | {"total", "discriminator"}
    rest = sum(WEIGHTS[name] * value for name, value in losses.items() if name in WEIGHTS)
    torch.testing.assert_close(losses["total"], rest)
    assert it.source.searched == (left_out != "texture")


def test_without_its_losses_the_discriminator_does_not_run() -> None:
    it = world(losses={"adversarial": 0, "disc_perceptual": 0, "perceptual": 0, "texture": 1, "pixel": 1})
    before = copied(it.discriminator)

    def refuse(*_: object) -> None:
        raise AssertionError("ran although no loss needs it")

    it.discriminator.register_forward_pre_hook(refuse)
    it.trunk.register_forward_pre_hook(refuse)
    assert set(it.step.adversarial(it.lr, it.hr).losses) == {"texture", "pixel", "total"}
    assert not moved(it.discriminator, before)


@pytest.mark.parametrize("stage", ["warm_discriminator", "adversarial"])
def test_the_mask_hides_the_same_of_sr_and_hr(stage: str) -> None:
    it = world()
    mask = texture_mask(it.hr)
    assert 0.3 < float(mask.mean()) < 0.9
    with torch.no_grad():
        expected = [it.hr * mask, it.generator(it.lr) * mask]
    seen: list[Tensor] = []
    it.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    result = getattr(it.step, stage)(it.lr, it.hr)
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(result.statistics["mask_share"], mask.mean())


def test_warming_the_discriminator_leaves_the_generator_alone() -> None:
    it = world()
    g_before, d_before = copied(it.generator), copied(it.discriminator)
    result = it.step.warm_discriminator(it.lr, it.hr)
    assert not moved(it.generator, g_before)
    assert moved(it.discriminator, d_before)
    assert set(result.losses) == {"discriminator"}


def test_pretraining_descends_the_pixel_loss() -> None:
    it = world()
    loss = pixel_loss(it.generator(it.lr), it.hr)
    gradients = torch.autograd.grad(loss, list(it.generator.parameters()))
    g_before, d_before = copied(it.generator), copied(it.discriminator)
    result = it.step.pretrain(it.lr, it.hr)
    assert_descended(it.generator, g_before, gradients)
    assert not moved(it.discriminator, d_before)
    torch.testing.assert_close(result.losses["pixel"], loss.detach())


def test_clipping_bounds_the_generators_gradient_alone() -> None:
    it = world(train={"clip": 1e-3})
    g_before, d_before = copied(it.generator), copied(it.discriminator)
    it.step.adversarial(it.lr, it.hr)

    def step_length(network: nn.Module, before: list[Tensor]) -> float:
        squares = [(now - then).square().sum() for now, then in zip(network.parameters(), before, strict=True)]
        return torch.stack(squares).sum().sqrt().item() / RATE

    assert step_length(it.generator, g_before) == pytest.approx(1e-3, rel=0.02)
    assert step_length(it.discriminator, d_before) > 2e-3


def test_ranked_right_compares_each_sr_image_with_its_own_hr() -> None:
    it = world()
    logits = iter([torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [0.0]])])  # of HR, then of SR
    it.discriminator.register_forward_hook(lambda _, __, out: out._replace(logit=out.logit * 0 + next(logits)))
    result = it.step.warm_discriminator(it.lr, it.hr)
    assert float(result.statistics["ranked_right"]) == 0.5


@pytest.mark.parametrize("stage", ["pretrain", "warm_discriminator", "adversarial"])
def test_accumulation_equals_the_whole_batch_where_the_loss_is_a_mean(stage: str) -> None:
    """All five losses with the paired form, whose means over images are means of means over equal parts."""
    losses = WEIGHTS | {"relativistic": "paired"}
    whole, parts = world(losses=losses), world(losses=losses, train={"accumulate": 2})
    expected, result = (getattr(it.step, stage)(it.lr, it.hr) for it in (whole, parts))
    for name, value in expected.losses.items():
        torch.testing.assert_close(result.losses[name], value)
    torch.testing.assert_close(result.statistics.get("mask_share"), expected.statistics.get("mask_share"))
    assert moved(whole.generator, copied(world().generator)) == (stage != "warm_discriminator")
    for network in ("generator", "discriminator"):
        for now, then in zip(getattr(parts, network).parameters(), getattr(whole, network).parameters(), strict=True):
            torch.testing.assert_close(now, then, rtol=1e-5, atol=1e-7)


def test_accumulation_compares_with_the_average_of_each_part() -> None:
    """The relativistic average of two parts is the mean of two averages, not the average over all images."""
    whole, parts = world(), world(train={"accumulate": 2})
    mask = texture_mask(whole.hr)
    with torch.no_grad():
        hr = whole.discriminator(whole.hr * mask).logit
        sr = whole.discriminator(whole.generator(whole.lr) * mask).logit
    own = [discriminator_adversarial_loss(s, h, "average") for s, h in zip(sr.chunk(2), hr.chunk(2), strict=True)]
    result = parts.step.adversarial(parts.lr, parts.hr)
    torch.testing.assert_close(result.losses["discriminator"], torch.stack(own).mean())
    together = discriminator_adversarial_loss(sr, hr, "average")
    assert abs(float(result.losses["discriminator"] - together)) > 1e-4


def test_images_that_do_not_divide_into_parts_are_refused() -> None:
    it = world(train={"accumulate": 3})
    with pytest.raises(ValueError, match="2 images do not divide into 3 equal parts"):
        it.step.pretrain(it.lr, it.hr)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_r1_is_the_squared_gradient_at_real_images(precision: str) -> None:
    it = world(precision, discriminator={"r1": 10.0, "r1_every": 2})
    real = (it.hr * texture_mask(it.hr)).requires_grad_()
    (gradient,) = torch.autograd.grad(it.discriminator(real).logit.sum(), real)
    expected = gradient.square().sum(dim=(1, 2, 3)).mean()
    before = copied(it.discriminator)
    result = it.step.adversarial(it.lr, it.hr, number=2)
    torch.testing.assert_close(result.losses["r1"], expected, rtol=0.1 if precision == "bf16-mixed" else 1e-4, atol=0)
    assert moved(it.discriminator, before)
    assert "r1" not in it.step.adversarial(it.lr, it.hr, number=3).losses


def test_wavelets_are_shown_without_what_has_no_texture() -> None:
    it = world(discriminator={"sees": "wavelets"})
    seen: list[Tensor] = []
    it.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    it.step.warm_discriminator(it.lr, it.hr)
    torch.testing.assert_close(seen[0], 0.5 + haar_details(it.hr) * texture_mask(it.hr) / 2)
    assert float(seen[0].std()) > 0.05
    assert (seen[0][..., :24] == 0.5).all()


def test_a_semantic_discriminator_knows_the_features_of_hr_for_both() -> None:
    it = world(discriminator={"kind": "semantic"}, losses=WEIGHTS | {"perceptual": 0})
    known: list[Tensor] = []
    it.discriminator.register_forward_pre_hook(lambda _, inputs: known.append(inputs[1]))
    it.step.warm_discriminator(it.lr, it.hr)
    deepest = it.trunk(it.hr)["conv5_4"]
    assert len(known) == 2
    for each in known:
        torch.testing.assert_close(each, deepest)
