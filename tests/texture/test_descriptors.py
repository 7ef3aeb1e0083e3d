"""Descriptors against a plain float64 loop over pixels."""

import math

import pytest
import torch

from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName, dimension
from gramgan.texture.encoding import encode


def gram_by_loop(image: torch.Tensor, descriptor: DescriptorName, k: int, stride: int) -> torch.Tensor:
    """[3, H, W] float64 → [N, C, C], one patch and one entry at a time."""
    _, height, width = image.shape
    channels = [image[c] for c in range(3)]
    if descriptor == "rgb-gradient":
        for horizontal in (True, False):
            for c in range(3):
                d = torch.zeros_like(image[c])
                for y in range(height):
                    for x in range(width):
                        if horizontal:
                            d[y, x] = (image[c, y, min(x + 1, width - 1)] - image[c, y, max(x - 1, 0)]) / 2
                        else:
                            d[y, x] = (image[c, min(y + 1, height - 1), x] - image[c, max(y - 1, 0), x]) / 2
                channels.append(d)
    grams = []
    for top in range(0, height - k + 1, stride):
        for left in range(0, width - k + 1, stride):
            patch = [channel[top : top + k, left : left + k] for channel in channels]
            if descriptor == "rgb-centred":
                patch = [p - p.mean() for p in patch]
            grams.append(
                torch.tensor([[float((a * b).sum()) / k**2 for b in patch] for a in patch], dtype=torch.float64)
            )
    return torch.stack(grams)


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize(("k", "stride"), [(4, 4), (4, 2), (5, 3)])
def test_vectors_and_their_distances_are_those_of_the_matrices(descriptor: DescriptorName, k: int, stride: int) -> None:
    image = torch.rand(3, 13, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    matrices = gram_by_loop(image, descriptor, k, stride)
    vectors = encode(image.unsqueeze(0), descriptor, k, stride)[0]
    rows, columns = torch.triu_indices(matrices.shape[-1], matrices.shape[-1])
    expected = matrices[:, rows, columns] * torch.where(
        rows == columns, torch.ones((), dtype=torch.float64), math.sqrt(2)
    )
    torch.testing.assert_close(vectors, expected, rtol=1e-10, atol=1e-12)
    frobenius = (matrices[0] - matrices[1]).square().sum().sqrt()
    torch.testing.assert_close((vectors[0] - vectors[1]).norm(), frobenius)
    in_float32 = encode(image.unsqueeze(0).float(), descriptor, k, stride)[0]
    torch.testing.assert_close(in_float32.double(), vectors, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_matrix_l1_is_the_sum_over_all_matrix_entries(descriptor: DescriptorName) -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    unit = Descriptor(descriptor, 4, (1.0,) * dimension(descriptor))
    vectors = unit.encode(image)[0]
    matrices = gram_by_loop(image[0], descriptor, 4, 4)
    torch.testing.assert_close(unit.matrix_l1(vectors[0] - vectors[3]), (matrices[0] - matrices[3]).abs().sum())


def test_standardised_vectors_are_divided_by_the_scale() -> None:
    image = torch.rand(1, 3, 8, 8)
    scale = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    torch.testing.assert_close(Descriptor("rgb", 4, scale).encode(image), encode(image) / torch.tensor(scale))
    for name in DESCRIPTORS:
        assert len(Descriptor.default(name).scale) == dimension(name)


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_gradient(descriptor: DescriptorName) -> None:
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: encode(x, descriptor, 4, 2), (image,))


def test_low_precision_contexts_do_not_reach_the_descriptor() -> None:
    image = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encode(image), encode(image.clone()))
        assert encode(image).dtype == torch.float32


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="RGB"):
        encode(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="no patch"):
        encode(torch.rand(1, 3, 3, 8))
    with pytest.raises(ValueError, match="6 positive scales"):
        Descriptor("rgb", 4, (1.0,))
