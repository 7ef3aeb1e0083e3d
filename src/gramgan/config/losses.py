"""The settings `losses`: what the generator is asked for, and how much of each."""

from typing import Literal

from pydantic import Field

from gramgan.config.base import Positive, Section, Weight


class OwnLossConfig(Section):
    """A loss of your own."""

    build: str = Field(
        description="module:function of it, called with what it names of sr, hr, lr and average (the averaged "
        "generator's result)"
    )
    weight: Weight = Field(default=1.0, description="in the total of the adversarial stage")


class LossConfig(Section):
    """Weights η of the paper's five losses and of further ones; 0 leaves a loss out and saves its cost."""

    texture: Weight = Field(default=1.0, description="η₁ of L_PT, patch texture")
    disc_perceptual: Weight = Field(default=1.0, description="η₂ of L_DP, discriminator perceptual")
    perceptual: Weight = Field(default=1.0, description="η₃ of L_P, VGG perceptual")
    adversarial: Weight = Field(default=0.005, description="η₄ of L_G, relativistic GAN")
    pixel: Weight = Field(default=1.0, description="η₅ of L_C, L1")
    consistency: Weight = Field(default=0.0, description="of the L1 between SR and HR, both shrunk to LR's size")
    teacher: Weight = Field(default=0.0, description="of the L1 between SR and the result of generator.teacher")
    teacher_steps: Positive | None = Field(
        default=None,
        description="in so many adversarial iterations what teacher compares with goes over to HR; none: never",
    )
    autoencoded: Weight = Field(
        default=0.0, description="of the L1 between SR and HR, both shrunk and enlarged by generator.decoder (AESOP)"
    )
    artifact: Weight = Field(
        default=0.0, description="of the L1 where SR looks like an artifact to the averaged generator (LDL)"
    )
    dists: Weight = Field(default=0.0, description="of DISTS, similarity of structure and texture; needs its weights")
    lpips: Weight = Field(default=0.0, description="of LPIPS with VGG-16; needs the weights vgg16")
    sliced: Weight = Field(
        default=0.0, description="of the sliced Wasserstein distance of the trunk's features: what, not where"
    )
    frequency: Weight = Field(
        default=0.0, description="of the same of the amplitudes and phases of the features' spectra (FDL)"
    )
    own: dict[str, OwnLossConfig] = Field(default={}, description="losses of your own by name")
    trunk: Literal["vgg19", "vgg16", "st-vgg16"] = Field(
        default="vgg19", description="perceptual trunk of L_P, sliced and frequency"
    )
    layers: tuple[str, ...] | None = Field(
        default=None, description="layers of the trunk to compare, by name; none: all three"
    )
    relativistic: Literal["average", "paired"] = Field(
        default="average", description="compare with the batch's mean, or SR with its HR"
    )

    @property
    def weights(self) -> dict[str, float]:
        """η of each loss by name, those of users' own left out."""
        return {name: getattr(self, name) for name in LOSS_NAMES}

    @property
    def judged(self) -> bool:
        """Whether a loss needs the discriminator."""
        return self.adversarial > 0 or self.disc_perceptual > 0

    @property
    def looks_through_trunk(self) -> bool:
        """Whether a loss needs the perceptual trunk."""
        return self.perceptual > 0 or self.sliced > 0 or self.frequency > 0


LOSS_NAMES = tuple(name for name, field in LossConfig.model_fields.items() if field.annotation is float)
"""Losses of ours: the settings of `losses` that are weights."""
