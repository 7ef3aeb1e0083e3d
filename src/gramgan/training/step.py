"""One update of the networks, for each of the three stages of a training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from gramgan.config import Config
from gramgan.losses import (
    discriminator_adversarial_loss,
    discriminator_perceptual_loss,
    generator_adversarial_loss,
    pixel_loss,
    weighted_sum,
)
from gramgan.networks.discriminator import Critique
from gramgan.networks.semantic_discriminator import SemanticDiscriminator
from gramgan.ops.wavelets import haar_details
from gramgan.texture.mask import texture_mask
from gramgan.training.objective import Objective, colour_offset
from gramgan.training.processes import Processes


@dataclass(frozen=True)
class StepResult:
    """What one step measured; scalars stay on the device until somebody looks at them.

    `patch_id` `[B, N]` are the database patches that served as targets (`NO_PATCH` for textures of the image itself),
    None where no database was searched. `broken` (1 or 0, the same in all processes) says that a loss or a gradient was
    not finite, so that the step changed nothing.
    """

    losses: dict[str, Tensor]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    patch_id: Tensor | None = None
    broken: Tensor | None = None


@dataclass(frozen=True)
class _Learner:
    """A network that a step updates: its name in the log, parameters, optimiser, and the largest gradient norm."""

    name: str
    parameters: list[nn.Parameter]
    optimizer: Optimizer
    clip: float | None


class TrainingStep:
    """The networks and their optimisers, with one method for each stage.

    Every network runs as rarely as the mathematics allows: G once, D once on SR and once on HR. D's own loss and the
    generator's are two backward passes over the same graph, each with respect to its own parameters alone.

    With several processes each has its part of the batch, and the result is that of one process with all of it: D's
    judgements are gathered, so that the relativistic losses are those of the whole batch, and gradients are averaged.

    With `train.accumulate` N, a step's images are taken in N equal parts one after the other: gradients of all parts
    are averaged before either network moves. That equals the whole batch at once for every loss that is a mean over
    images; the relativistic average compares with the mean of its own part, not of all N.

    Nothing here makes the host wait for the device: no number is looked at, nothing is copied from host to device but
    asynchronously.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: Config,
        generator: nn.Module,
        generator_optimizer: Optimizer,
        discriminator: nn.Module | None,
        discriminator_optimizer: Optimizer | None,
        objective: Objective,
        processes: Processes | None = None,
    ) -> None:
        self._fabric = fabric
        self._config = config
        self._processes = processes or Processes(fabric.device)
        self.generator, self.generator_optimizer = generator, generator_optimizer
        self.discriminator, self.discriminator_optimizer = discriminator, discriminator_optimizer
        self._objective = objective
        self._generator_parameters = [one for one in generator.parameters() if one.requires_grad]
        self._discriminator_parameters = (
            [one for one in discriminator.parameters() if one.requires_grad] if discriminator is not None else []
        )
        self.weights = objective.weights
        self._semantic = isinstance(discriminator, SemanticDiscriminator)
        self._accumulate = config.train.accumulate

    def pretrain(self, lr: Tensor, hr: Tensor, number: int = 0) -> StepResult:
        """The generator learns L_C alone.

        Args:
            lr: `[N·B, 3, H, W]` in [0, 1] with N = `train.accumulate`, as in the other stages.
            hr: `[N·B, 3, sH, sW]` in [0, 1], s = `generator.scale`.
            number: the iteration's.
        """
        results = [self._pretrain(*part) for part in self._parts(lr, hr)]
        return self._update(results, self._generator_learner())

    def warm_discriminator(self, lr: Tensor, hr: Tensor, number: int = 0) -> StepResult:
        """The discriminator learns to tell HR from what the frozen generator makes."""
        results = [self._warm_discriminator(*part, number) for part in self._parts(lr, hr)]
        return self._update(results, self._discriminator_learner())

    def adversarial(self, lr: Tensor, hr: Tensor, number: int = 0) -> StepResult:
        """Generator and discriminator learn; all losses of weight above 0."""
        results = [self._adversarial(*part, number) for part in self._parts(lr, hr)]
        learners = [self._generator_learner()]
        if self._config.losses.judged:
            learners.append(self._discriminator_learner())
        return self._update(results, *learners)

    def _parts(self, lr: Tensor, hr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The images in `train.accumulate` equal parts.

        Raises:
            ValueError: they do not divide so.
        """
        parts = self._accumulate
        if len(lr) % parts:
            raise ValueError(f"{len(lr)} images do not divide into {parts} equal parts (train.accumulate)")
        return zip(lr.chunk(parts), hr.chunk(parts), strict=True)

    def _pretrain(self, lr: Tensor, hr: Tensor) -> StepResult:
        sr = self.generator(lr)
        loss = pixel_loss(sr, hr)
        self._backward(loss, self._generator_parameters, retain_graph=False)
        losses = {"pixel": loss.detach(), "total": loss.detach()}
        return StepResult(losses, {"colour_drift": colour_offset(sr, hr)})

    def _warm_discriminator(self, lr: Tensor, hr: Tensor, number: int) -> StepResult:
        with torch.no_grad():
            sr = self.generator(lr)
        known = self._known(hr) if self._semantic else {}
        _, losses, statistics = self._judge(sr, hr, known, number, then_generator=False)
        return StepResult(losses, statistics)

    def _adversarial(self, lr: Tensor, hr: Tensor, number: int) -> StepResult:
        sr = self.generator(lr)
        known = self._known(hr) if self._semantic or self._config.losses.looks_through_trunk else {}
        asked = self._objective(lr, sr, hr, known, number)
        losses, statistics = asked.losses, asked.statistics
        report: dict[str, Tensor] = {}
        if self._config.losses.judged:
            judged, report, more = self._judge(sr, hr, known, number, then_generator=True)
            losses |= judged
            statistics |= more
        total = weighted_sum(losses, self.weights)
        self._backward(total, self._generator_parameters, retain_graph=False)
        logged = {name: value.detach() for name, value in losses.items()}
        return StepResult(logged | {"total": total.detach()} | report, statistics, asked.patch_id)

    @torch.no_grad()
    def _known(self, hr: Tensor) -> dict[str, Tensor]:
        """The trunk's features of HR, once for losses and discriminator."""
        return self._objective.features(hr)

    def _judge(
        self, sr: Tensor, hr: Tensor, known: Mapping[str, Tensor], number: int, *, then_generator: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Run D, do its backward pass, and return the generator's losses from it, D's losses and statistics.

        The generator's are there with `then_generator` alone.
        """
        relativistic, settings = self._config.losses.relativistic, self._config.discriminator
        mask = self._mask(hr)
        real = self._shown(hr, mask)
        penalised = settings.r1 > 0 and number % settings.r1_every == 0
        if penalised:
            real.requires_grad_()
        on_hr, on_sr = self._critiques(real, self._shown(sr, mask), known)
        logits = self._processes.gather(torch.cat((on_sr.logit, on_hr.logit), dim=1).float())
        sr_logit, hr_logit = logits[:, :1], logits[:, 1:]
        own = discriminator_adversarial_loss(sr_logit, hr_logit, relativistic)
        report = {"discriminator": own.detach()}
        if penalised:
            penalty = _gradient_penalty(on_hr.logit, real)
            report["r1"] = penalty.detach()
            own = own + penalty * (settings.r1 / 2 * settings.r1_every)
        self._backward(own, self._discriminator_parameters, retain_graph=then_generator)
        losses = {}
        if then_generator and self.weights["disc_perceptual"]:
            losses["disc_perceptual"] = discriminator_perceptual_loss(on_sr, on_hr)
        if then_generator and self.weights["adversarial"]:
            losses["adversarial"] = generator_adversarial_loss(sr_logit, hr_logit, relativistic)
        return losses, report, _judgement(sr_logit, hr_logit) | {"mask_share": mask.mean()}

    def _shown(self, images: Tensor, mask: Tensor) -> Tensor:
        """What D gets to see of images, in [0, 1]: their textured parts.

        Wavelet bands are without brightness and colours, of which L_C takes care (Korkmaz et al., "Training Generative
        Image Super-Resolution Models by Wavelet-Domain Losses", WGSR, CVPR 2024; there symlets, here Haar's wavelet).
        """
        if self._config.discriminator.sees == "image":
            return images * mask
        return (haar_details(images) * mask + 1) / 2

    def _critiques(self, real: Tensor, fake: Tensor, known: Mapping[str, Tensor]) -> tuple[Critique, Critique]:
        """What D says of HR and SR; a semantic one, beside the deepest features of HR.

        D is not wrapped by Fabric, which would refuse R1's gradient with respect to images in reduced precision.
        """
        assert self.discriminator is not None
        with self._fabric.autocast():  # around both calls: D's weights are cast once, and their gradients back once
            beside = list(known.values())[-1:] if self._semantic else []
            return self.discriminator(real, *beside), self.discriminator(fake, *beside)

    def _mask(self, hr: Tensor) -> Tensor:
        return texture_mask(hr, self._config.mask.threshold, self._config.mask.window)

    def _generator_learner(self) -> _Learner:
        return _Learner("generator", self._generator_parameters, self.generator_optimizer, self._config.train.clip)

    def _discriminator_learner(self) -> _Learner:
        assert self.discriminator_optimizer is not None
        clip = self._config.train.clip_discriminator
        return _Learner("discriminator", self._discriminator_parameters, self.discriminator_optimizer, clip)

    def _update(self, results: Sequence[StepResult], *learners: _Learner) -> StepResult:
        """Average the gradients over all processes, clip them, and let the optimisers step.

        If any loss or gradient is not finite, none of them does. Nobody waits for the device to find out: the flag lies
        there, and fused optimisers read it there.

        Returns:
            The step's result out of those of its parts, with the flag and the gradients' norms before clipping.
        """
        merged = _merged(results)
        broken = 1 - torch.stack([value.isfinite() for value in merged.losses.values()]).all().float()
        gradients = {
            learner.name: [parameter.grad for parameter in learner.parameters if parameter.grad is not None]
            for learner in learners
        }
        self._processes.average([*(gradient for each in gradients.values() for gradient in each), broken])
        norms = {f"gradient_{name}": nn.utils.get_total_norm(each) for name, each in gradients.items()}
        finite = torch.stack([norm.isfinite() for norm in norms.values()]).all()
        broken = ((broken > 0) | ~finite).float()
        for learner, norm in zip(learners, norms.values(), strict=True):
            if learner.clip:
                nn.utils.clip_grads_with_norm_(learner.parameters, learner.clip, norm)
            inner = getattr(learner.optimizer, "optimizer", learner.optimizer)
            if inner.defaults.get("fused"):
                vars(inner)["found_inf"] = broken  # what they look for, set past Fabric's wrapper
                learner.optimizer.step()
            elif not broken:  # others have to be kept from it, which waits for the device
                learner.optimizer.step()
            learner.optimizer.zero_grad(set_to_none=True)
        return replace(merged, statistics=merged.statistics | norms, broken=broken)

    def _backward(self, loss: Tensor, parameters: list[Any], *, retain_graph: bool) -> None:
        # `inputs` keeps G's loss out of D's gradients and D's out of G's, without a second forward pass.
        share = loss / self._accumulate if self._accumulate > 1 else loss
        self._fabric.backward(share, inputs=parameters, retain_graph=retain_graph)


def _merged(results: Sequence[StepResult]) -> StepResult:
    """Means over the parts of a step, and all their patch ids."""
    if len(results) == 1:
        return results[0]
    ids = [result.patch_id for result in results if result.patch_id is not None]
    return StepResult(
        _means([result.losses for result in results]),
        _means([result.statistics for result in results]),
        torch.cat(ids) if ids else None,
    )


def _means(values: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in values]).mean() for name in values[0]}


@torch.no_grad()
def _judgement(sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Whom D believes: logits `[B, 1]` or `[B, 1, H, W]` of SR and HR images.

    `ranked_right` is the share of SR images that it finds less real than their own HR, `accuracy_real` that of HR
    images above the mean of SR, and `accuracy_fake` that of SR images below the mean of HR.
    """
    return {
        "ranked_right": (hr > sr).float().mean(),
        "accuracy_real": (hr > sr.mean()).float().mean(),
        "accuracy_fake": (sr < hr.mean()).float().mean(),
    }


def _gradient_penalty(logit: Tensor, images: Tensor) -> Tensor:
    """R1: E ‖∇D(x)‖² over real images x (Mescheder et al., "Which training methods for GANs converge?", 2018)."""
    (gradient,) = torch.autograd.grad(logit.sum(), images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()
