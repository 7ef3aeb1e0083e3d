"""What the generator is asked for: all of its losses but those that need the discriminator."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from gramgan.config import Config
from gramgan.losses import (
    artifact_loss,
    autoencoded_loss,
    consistency_loss,
    frequency_loss,
    patch_texture_loss,
    perceptual_loss,
    pixel_loss,
    sliced_loss,
)
from gramgan.metrics.dists import Dists
from gramgan.metrics.lpips import Lpips
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.texture.candidates import TargetSource, combined_query, target_ratio
from gramgan.training.teacher import Teacher

Distance = Dists | Lpips


class NamedLoss(Protocol):
    """A loss that a user brought (see `gramgan.training.own`)."""

    @property
    def inputs(self) -> Sequence[str]:
        """What it takes, of `sr`, `hr`, `lr` and `average`."""
        ...

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """A scalar."""
        ...


@dataclass(frozen=True)
class Guides:
    """What losses look through and compare with, at rest; None where no loss needs it.

    `decoder` maps LR to SR, as the teacher's network does; `average` is the averaged generator; `distances` are losses
    by name.
    """

    trunk: PerceptualTrunk | None = None
    targets: TargetSource | None = None
    teacher: Teacher | None = None
    decoder: nn.Module | None = None
    average: nn.Module | None = None
    distances: Mapping[str, Distance] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """Losses of one part of a batch by name, statistics, and the chosen patches (see `StepResult`)."""

    losses: dict[str, Tensor]
    statistics: dict[str, Tensor]
    patch_id: Tensor | None = None


class Objective:
    """The losses of the adversarial stage that have a weight above 0; the others cost nothing."""

    def __init__(
        self,
        fabric: Fabric,
        config: Config,
        guides: Guides,
        own_losses: Mapping[str, NamedLoss] | None = None,
        own_weights: Mapping[str, float] | None = None,
    ) -> None:
        self._fabric = fabric
        self._config = config
        self._guides = guides
        self.weights = {**config.losses.weights, **(own_weights or {})}
        """η of every loss by name, those that need the discriminator among them."""
        self._own_losses = {name: loss for name, loss in (own_losses or {}).items() if self.weights[name]}

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The trunk's feature maps of `[B, 3, H, W]` in [0, 1], by layer."""
        assert self._guides.trunk is not None
        with self._autocast():
            return self._guides.trunk(images)

    def __call__(self, lr: Tensor, sr: Tensor, hr: Tensor, known: Mapping[str, Tensor], number: int) -> Asked:
        """What the generator's result is worth.

        Args:
            lr: `[B, 3, H, W]` in [0, 1].
            sr: the generator's result `[B, 3, sH, sW]`; gradients flow through it alone.
            hr: the truth, of the same shape.
            known: `features` of `hr`; empty where no loss looks at them.
            number: the iteration's.
        """
        weights, losses = self.weights, {}
        statistics = {"colour_drift": colour_offset(sr, hr)}
        patch_id = None
        if weights["texture"]:
            losses["texture"], statistics["target_ratio"], patch_id = self._texture(sr, hr)
        if self._config.losses.looks_through_trunk:
            losses |= self._through_trunk(sr, known)
        if weights["pixel"]:
            losses["pixel"] = pixel_loss(sr, hr)
        if weights["consistency"]:
            losses["consistency"] = consistency_loss(sr, hr, self._config.generator.scale)
        if weights["teacher"]:
            losses["teacher"] = pixel_loss(sr, self._taught(lr, hr, number))
        if weights["autoencoded"]:
            losses["autoencoded"] = autoencoded_loss(sr, hr, self._decoded, self._config.generator.scale)
        for name, distance in self._guides.distances.items():
            if weights[name]:
                with self._autocast():
                    losses[name] = distance.loss(sr, hr)
        steady = self._steady(lr)
        if weights["artifact"]:
            losses["artifact"] = artifact_loss(sr, hr, steady)
        inputs = {"sr": sr.float(), "hr": hr, "lr": lr, "average": steady}
        losses |= {name: loss(inputs).float().reshape(()) for name, loss in self._own_losses.items()}
        return Asked(losses, statistics, patch_id)

    def _taught(self, lr: Tensor, hr: Tensor, number: int) -> Tensor:
        """What the teacher makes; with `losses.teacher_steps` on its way to HR, linearly in adversarial iterations."""
        _, done = self._config.stages.at(number)
        share = done / self._config.losses.teacher_steps if self._config.losses.teacher_steps else 0.0
        if share >= 1:
            return hr
        assert self._guides.teacher is not None
        with self._autocast():
            return self._guides.teacher.answer(lr).lerp(hr, share)

    def _decoded(self, code: Tensor) -> Tensor:
        assert self._guides.decoder is not None
        with self._autocast():
            return self._guides.decoder(code)

    def _steady(self, lr: Tensor) -> Tensor:
        """What the averaged generator makes, where a loss wants it; else `lr`, which nobody looks at."""
        wanted = self.weights["artifact"] or any("average" in loss.inputs for loss in self._own_losses.values())
        if not wanted:
            return lr
        assert self._guides.average is not None
        with torch.no_grad(), self._autocast():
            return self._guides.average(lr).float()

    def _texture(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """L_PT, how far the targets lie, and the patches that they are."""
        source, settings = self._guides.targets, self._config.texture
        assert source is not None
        gram_sr = source.descriptor.encode(sr)
        with torch.no_grad():
            gram_hr = source.descriptor.encode(hr)
            query = combined_query(gram_hr, gram_sr, settings.alpha, settings.beta)
            targets = source.targets(query, hr)
            ratio = target_ratio(targets.distance, gram_hr, gram_sr)
        patch_id = targets.patch_id if self._config.uses_database else None
        return patch_texture_loss(gram_sr, targets, source.descriptor), ratio, patch_id

    def _through_trunk(self, sr: Tensor, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of feature maps, which are computed once for all of them."""
        assert self._guides.trunk is not None
        features, weights = self.features(sr), self._guides.trunk.weights
        each = {"perceptual": perceptual_loss, "sliced": sliced_loss, "frequency": frequency_loss}
        return {name: loss(features, known, weights) for name, loss in each.items() if self.weights[name]}

    def _autocast(self) -> AbstractContextManager[None]:
        return self._fabric.autocast()


@torch.no_grad()
def colour_offset(sr: Tensor, hr: Tensor) -> Tensor:
    """How far the mean colour of SR images lies from that of their HR: mean over images and channels, in [0, 1]."""
    return (sr.float().mean(dim=(-2, -1)) - hr.mean(dim=(-2, -1))).abs().mean()
