"""The discriminator: its layers, its features, and that it learns."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from gramgan.config import Config
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.hardware.probe import probe_training
from gramgan.images import find_images, read_rgb
from gramgan.networks.build import load_generator
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.texture.mask import local_deviation
from gramgan.training.objective import Guides, Objective
from gramgan.training.optimizer import PRECISION_FLAG, build_optimizer
from gramgan.training.step import TrainingStep

CROPS = 5  # of each photograph


@pytest.fixture(scope="module")
def network() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig())


def test_layers_are_those_of_the_design(network: Discriminator) -> None:
    convs = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512]
    assert [conv.stride[0] for conv in convs] == [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1]
    assert {conv.kernel_size for conv in convs} == {(3, 3)}
    assert len([layer for layer in network.modules() if isinstance(layer, nn.Linear)]) == 2
    assert list(network.buffers()) == []  # no statistics of batches


def test_a_narrower_one_has_the_same_layers() -> None:
    narrow = Discriminator(DiscriminatorConfig(width=32))
    convs = [layer for layer in narrow.modules() if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [32, 32, 64, 64, 128, 128, 256, 256, 256, 256, 256]
    critique = narrow(torch.rand(2, 3, 96, 64))
    assert critique.early.shape == (2, 128, 24, 16)
    assert critique.late.shape == (2, 256, 3, 2)


def test_features_are_taken_before_activation_and_not_overwritten(network: Discriminator) -> None:
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        critique = network(images)
        x, outputs = images * 2 - 1, []
        for conv in network.convs:
            outputs.append(conv(x))
            x = F.leaky_relu(outputs[-1], 0.2)
        logit = network.logit(F.leaky_relu(network.hidden(x.mean(dim=(2, 3))), 0.2))
    torch.testing.assert_close(critique.early, outputs[4])
    torch.testing.assert_close(critique.late, outputs[10])
    torch.testing.assert_close(critique.logit, logit)
    assert critique.early.shape == (2, 256, 24, 16)
    assert critique.late.shape == (2, 512, 3, 2)
    assert critique.logit.shape == (2, 1)


def test_a_new_discriminator_tells_images_apart(network: Discriminator) -> None:
    # With PyTorch's default initialisation the signal dies on the way: the logits differ by less than 1e-5.
    images = torch.stack([torch.rand(3, 64, 64), torch.rand(3, 1, 1).expand(3, 64, 64)])
    with torch.no_grad():
        logits = network(images).logit
    assert (logits[0] - logits[1]).abs() > 1e-2


def test_images_below_64_pixels_are_refused(network: Discriminator) -> None:
    with pytest.raises(ValueError, match="at least 64"):
        network(torch.rand(1, 3, 64, 63))


def test_spectral_normalisation_bounds_every_layer() -> None:
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(spectral_norm=True))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 13
    with torch.no_grad():
        norms = [float(torch.linalg.matrix_norm(layer.weight.flatten(1), 2)) for layer in (layers[0], layers[4])]
    assert norms == pytest.approx([1, 1], abs=0.05)


class Recalled(nn.Module):
    """A frozen generator whose results were computed before."""

    sr: Tensor

    def forward(self, lr: Tensor) -> Tensor:
        return self.sr


@pytest.mark.slow
@pytest.mark.network
def test_it_learns(photos_folder: Path, real_esrgan_path: Path) -> None:
    """Batches of 2, paired form, against frozen starting weights: 80 % of held-out pairs within 300 iterations."""
    verdict = probe_training("cpu")
    fabric = Fabric(accelerator="cpu", devices=1, precision=PRECISION_FLAG[verdict.precision])  # pyright: ignore[reportArgumentType]
    layout = torch.channels_last if verdict.channels_last else torch.contiguous_format
    photos = find_images(photos_folder)[::3]
    hr = torch.cat([_textured_crops(path) for path in photos]).contiguous(memory_format=layout)
    generator = load_generator(real_esrgan_path).network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    with torch.no_grad(), fabric.autocast():
        parts = [generator(lr) for lr in degrade_bicubic(hr).split(8)]
    sr = torch.cat(parts).float().contiguous(memory_format=layout)
    held_out, training = slice(4 * CROPS), torch.arange(4 * CROPS, len(hr))  # four photographs, and the others

    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig()).to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    d_optimizer = build_optimizer(discriminator, 1e-4)
    config = Config.model_validate({"losses": {"relativistic": "paired"}})
    recalled = Recalled()
    unused = torch.optim.SGD([torch.zeros(1)], 1.0)
    step = TrainingStep(
        fabric, config, recalled, unused, discriminator, d_optimizer, Objective(fabric, config, Guides())
    )

    ranked_right = [0.0]
    for iteration in range(1, 301):
        pair = training[torch.randint(len(training), (2,))]
        recalled.sr = sr[pair]
        step.warm_discriminator(torch.empty(0), hr[pair])
        if iteration % 25 == 0:
            with torch.no_grad():
                difference = discriminator(hr[held_out]).logit - discriminator(sr[held_out]).logit
            ranked_right.append(float((difference > 0).float().mean()))
            if min(ranked_right[-2:]) >= 0.8:  # twice, so that it is no luck
                break
    assert min(ranked_right[-2:]) >= 0.8, ranked_right


def _textured_crops(path: Path, side: int = 128) -> Tensor:
    """The most textured tiles of a photograph, `[CROPS, 3, 128, 128]`: out of focus, SR and HR look alike."""
    photo = torch.from_numpy(read_rgb(path))
    tiles = photo.unfold(1, side, side).unfold(2, side, side).permute(1, 2, 0, 3, 4).flatten(0, 1)
    texture = local_deviation(tiles[..., ::2, ::2]).mean(dim=(1, 2, 3))
    return tiles[texture.topk(CROPS).indices]
