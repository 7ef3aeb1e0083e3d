"""One update of the networks, for each of the three stages of a training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    patch_texture_loss,
    perceptual_loss,
    pixel_loss,
    weighted_sum,
)
from gramgan.networks.discriminator import Critique
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.texture.candidates import TargetSource, combined_query, target_ratio
from gramgan.texture.mask import texture_mask


@dataclass(frozen=True)
class StepResult:
    """What one step measured; scalars stay on the device until somebody looks at them.

    `patch_id` `[B, N]` are the database patches that served as targets (`NO_PATCH` for textures of the image itself),
    None where no database was searched.
    """

    losses: dict[str, Tensor]
    statistics: dict[str, Tensor] = field(default_factory=dict)
    patch_id: Tensor | None = None


class TrainingStep:
    """The networks with their optimisers, and one method for each stage.

    Every network runs as rarely as the mathematics allows: G once, D once on SR and once on HR. D's own loss and the
    generator's are two backward passes over the same graph, each with respect to its own parameters alone.

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
        trunk: PerceptualTrunk | None,
        targets: TargetSource | None,
    ) -> None:
        self._fabric = fabric
        self._config = config
        self.generator, self.generator_optimizer = generator, generator_optimizer
        self.discriminator, self.discriminator_optimizer = discriminator, discriminator_optimizer
        self._trunk = trunk
        self._targets = targets
        self._generator_parameters = list(generator.parameters())
        self._discriminator_parameters = list(discriminator.parameters()) if discriminator is not None else []
        self._weights = config.loss_weights
        self._accumulate = config.train.accumulate

    def pretrain(self, lr: Tensor, hr: Tensor) -> StepResult:
        """The generator learns L_C alone.

        Args:
            lr: `[N·B, 3, H, W]` in [0, 1] with N = `train.accumulate`, as in the other stages.
            hr: `[N·B, 3, 4H, 4W]` in [0, 1].
        """
        results = [self._pretrain(*part) for part in self._parts(lr, hr)]
        self._update_generator()
        return _merged(results)

    def warm_discriminator(self, lr: Tensor, hr: Tensor) -> StepResult:
        """The discriminator learns to tell HR from what the frozen generator makes."""
        results = [self._warm_discriminator(*part) for part in self._parts(lr, hr)]
        self._update_discriminator()
        return _merged(results)

    def adversarial(self, lr: Tensor, hr: Tensor) -> StepResult:
        """Generator and discriminator learn; all losses of weight above 0."""
        results = [self._adversarial(*part) for part in self._parts(lr, hr)]
        self._update_generator()
        if self._config.losses.judged:
            self._update_discriminator()
        return _merged(results)

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
        loss = pixel_loss(self.generator(lr), hr)
        self._backward(loss, self._generator_parameters, retain_graph=False)
        return StepResult({"pixel": loss.detach(), "total": loss.detach()})

    def _warm_discriminator(self, lr: Tensor, hr: Tensor) -> StepResult:
        with torch.no_grad():
            sr = self.generator(lr)
        mask = self._mask(hr)
        on_hr, on_sr = self._critiques(hr, sr, mask)
        loss = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, self._config.losses.relativistic)
        self._backward(loss, self._discriminator_parameters, retain_graph=False)
        return StepResult(
            {"discriminator": loss.detach()}, _judgement(on_sr.logit, on_hr.logit) | {"mask_share": mask.mean()}
        )

    def _adversarial(self, lr: Tensor, hr: Tensor) -> StepResult:
        sr = self.generator(lr)
        losses: dict[str, Tensor] = {}
        statistics: dict[str, Tensor] = {}
        patch_id = None
        if self._weights["texture"]:
            losses["texture"], statistics, patch_id = self._texture(sr, hr)
        if self._weights["perceptual"]:
            losses["perceptual"] = self._perceptual(sr, hr)
        if self._weights["pixel"]:
            losses["pixel"] = pixel_loss(sr, hr)
        report: dict[str, Tensor] = {}
        if self._config.losses.judged:
            judged, report, more = self._judge(sr, hr)
            losses |= judged
            statistics |= more
        total = weighted_sum(losses, self._weights)
        self._backward(total, self._generator_parameters, retain_graph=False)
        logged = {name: value.detach() for name, value in losses.items()}
        return StepResult(logged | {"total": total.detach()} | report, statistics, patch_id)

    def _texture(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        assert self._targets is not None
        descriptor, settings = self._targets.descriptor, self._config.texture
        gram_sr = descriptor.encode(sr)
        with torch.no_grad():
            gram_hr = descriptor.encode(hr)
            query = combined_query(gram_hr, gram_sr, settings.alpha, settings.beta)
            targets = self._targets.targets(query, hr)
            ratio = target_ratio(targets.distance, gram_hr, gram_sr)
        patch_id = targets.patch_id if self._config.uses_database else None
        return patch_texture_loss(gram_sr, targets, descriptor), {"target_ratio": ratio}, patch_id

    def _perceptual(self, sr: Tensor, hr: Tensor) -> Tensor:
        assert self._trunk is not None
        with self._fabric.autocast():
            features = self._trunk(sr)
            with torch.no_grad():
                wanted = self._trunk(hr)
        return perceptual_loss(features, wanted, self._trunk.weights)

    def _judge(self, sr: Tensor, hr: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Run D, do its backward pass, and return the generator's losses from it, D's loss and statistics."""
        relativistic = self._config.losses.relativistic
        mask = self._mask(hr)
        on_hr, on_sr = self._critiques(hr, sr, mask)
        own = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, relativistic)
        self._backward(own, self._discriminator_parameters, retain_graph=True)
        losses = {}
        if self._weights["disc_perceptual"]:
            losses["disc_perceptual"] = discriminator_perceptual_loss(on_sr, on_hr)
        if self._weights["adversarial"]:
            losses["adversarial"] = generator_adversarial_loss(on_sr.logit, on_hr.logit, relativistic)
        statistics = _judgement(on_sr.logit, on_hr.logit) | {"mask_share": mask.mean()}
        return losses, {"discriminator": own.detach()}, statistics

    def _critiques(self, hr: Tensor, sr: Tensor, mask: Tensor) -> tuple[Critique, Critique]:
        """What D says of the textured parts of HR and SR."""
        assert self.discriminator is not None
        with self._fabric.autocast():  # around both calls: D's weights are cast once, and their gradients back once
            return self.discriminator(hr * mask), self.discriminator(sr * mask)

    def _mask(self, hr: Tensor) -> Tensor:
        return texture_mask(hr, self._config.mask.threshold, self._config.mask.window)

    def _update_generator(self) -> None:
        if self._config.train.clip:
            # Whether the norm is finite is for the losses to tell: to ask here would wait for the device.
            self._fabric.clip_gradients(
                self.generator,
                self.generator_optimizer,
                max_norm=self._config.train.clip,
                error_if_nonfinite=False,
            )
        self.generator_optimizer.step()
        self.generator_optimizer.zero_grad(set_to_none=True)

    def _update_discriminator(self) -> None:
        assert self.discriminator_optimizer is not None
        self.discriminator_optimizer.step()
        self.discriminator_optimizer.zero_grad(set_to_none=True)

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
    """Share of SR images that D finds less real than their own HR."""
    return {"ranked_right": (hr > sr).float().mean()}
