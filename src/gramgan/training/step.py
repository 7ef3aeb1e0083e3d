"""One update of the networks, for each of the three stages of a training."""

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

    def pretrain(self, lr: Tensor, hr: Tensor) -> StepResult:
        """The generator learns L_C alone. LR `[B, 3, H, W]`, HR `[B, 3, 4H, 4W]` in [0, 1], as in the other stages."""
        loss = pixel_loss(self.generator(lr), hr)
        self._update_generator(loss)
        return StepResult({"pixel": loss.detach(), "total": loss.detach()})

    def warm_discriminator(self, lr: Tensor, hr: Tensor) -> StepResult:
        """The discriminator learns to tell HR from what the frozen generator makes."""
        assert self.discriminator is not None
        with torch.no_grad():
            sr = self.generator(lr)
        mask = self._mask(hr)
        on_hr, on_sr = self.discriminator(hr * mask), self.discriminator(sr * mask)
        loss = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, self._config.losses.relativistic)
        self._backward(loss, self._discriminator_parameters, retain_graph=False)
        self._update_discriminator()
        return StepResult(
            {"discriminator": loss.detach()}, _judgement(on_sr.logit, on_hr.logit) | {"mask_share": mask.mean()}
        )

    def adversarial(self, lr: Tensor, hr: Tensor) -> StepResult:
        """Generator and discriminator learn; all losses of weight above 0."""
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
        self._update_generator(total)
        if self._config.losses.judged:
            self._update_discriminator()
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
        assert self.discriminator is not None
        relativistic = self._config.losses.relativistic
        mask = self._mask(hr)
        on_hr, on_sr = self.discriminator(hr * mask), self.discriminator(sr * mask)
        own = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, relativistic)
        self._backward(own, self._discriminator_parameters, retain_graph=True)
        losses = {}
        if self._weights["disc_perceptual"]:
            losses["disc_perceptual"] = discriminator_perceptual_loss(on_sr, on_hr)
        if self._weights["adversarial"]:
            losses["adversarial"] = generator_adversarial_loss(on_sr.logit, on_hr.logit, relativistic)
        statistics = _judgement(on_sr.logit, on_hr.logit) | {"mask_share": mask.mean()}
        return losses, {"discriminator": own.detach()}, statistics

    def _mask(self, hr: Tensor) -> Tensor:
        return texture_mask(hr, self._config.mask.threshold, self._config.mask.window)

    def _update_generator(self, loss: Tensor) -> None:
        self._backward(loss, self._generator_parameters, retain_graph=False)
        if self._config.train.clip:
            self._fabric.clip_gradients(self.generator, self.generator_optimizer, max_norm=self._config.train.clip)
        self.generator_optimizer.step()
        self.generator_optimizer.zero_grad(set_to_none=True)

    def _update_discriminator(self) -> None:
        assert self.discriminator_optimizer is not None
        self.discriminator_optimizer.step()
        self.discriminator_optimizer.zero_grad(set_to_none=True)

    def _backward(self, loss: Tensor, parameters: list[Any], *, retain_graph: bool) -> None:
        # `inputs` keeps G's loss out of D's gradients and D's out of G's, without a second forward pass.
        self._fabric.backward(loss, inputs=parameters, retain_graph=retain_graph)


@torch.no_grad()
def _judgement(sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Share of SR images that D finds less real than their own HR."""
    return {"ranked_right": (hr > sr).float().mean()}
