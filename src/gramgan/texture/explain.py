"""Why a patch was pulled where it was: spots of an image and the real textures that lie nearest to them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.errors import UserError
from gramgan.ops.luma import luma_full
from gramgan.ops.transfer import constant
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.encoding import gram_vectors, texture_channels

_BLOCK = 2**21  # components compared in float64 at a time: 16 MiB
_REGION = 16  # pixels: the side of the squares whose contrast says where an image is textured
_TEXTURED = 0.25  # of the strongest contrast: regions below it are looked at only where there are not enough others
_TYPICAL = 10_000  # vectors that `typical_distance` compares with


def textured_spots(image: np.ndarray, number: int, k: int) -> list[tuple[int, int]]:
    """Patches of `image` to look at: from its most textured regions, and spread over it.

    Regions are taken by falling contrast; one that is near to a region taken before is passed over. How near follows
    from `number` and from how many regions are textured, and is lessened until there are enough.

    Args:
        image: uint8 RGB `[3, H, W]`, at least k×k pixels.
        number: how many.
        k: patch side in pixels.

    Returns:
        At most `number` upper left corners (x, y), the most textured first.
    """
    deviation = _deviation(image, max(_REGION, k))
    order = np.argsort(-deviation, axis=None, kind="stable")
    textured = np.count_nonzero(deviation >= _TEXTURED * deviation.max())
    order = order[: max(textured, number)]
    y, x = np.divmod(order, deviation.shape[1])
    centres = np.stack((x, y), axis=1).astype(np.float64)
    apart = np.sqrt(len(order) / number)
    while True:
        free, chosen = np.ones(len(order), bool), []
        while len(chosen) < number and free.any():
            first = int(free.argmax())
            chosen.append(first)
            free &= np.linalg.norm(centres - centres[first], axis=1) >= apart
            free[first] = False
        if len(chosen) == min(number, len(order)):
            break
        apart *= 0.8
    side = max(_REGION, k)
    return [_busiest_patch(image, int(x[i]) * side, int(y[i]) * side, side, k) for i in chosen]


def corner_of(image: np.ndarray, x: int, y: int, k: int) -> tuple[int, int]:
    """Upper left corner of the patch of k×k pixels around pixel (x, y) of `image` `[3, H, W]`, moved in at borders.

    Raises:
        UserError: the pixel lies outside.
    """
    height, width = image.shape[1:]
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(
            f"--at {x},{y}: lies outside the image, whose pixels are 0,0 to {width - 1},{height - 1}; choose another"
        )
    return min(max(0, x - k // 2), width - k), min(max(0, y - k // 2), height - k)


def cut_patches_at(image: np.ndarray, corners: list[tuple[int, int]], k: int) -> np.ndarray:
    """The patches of `image` `[3, H, W]` at upper left `corners` (x, y): `[N, k, k, 3]`."""
    return np.stack([image[:, y : y + k, x : x + k].transpose(1, 2, 0) for x, y in corners])


def spot_vectors(image: np.ndarray, corners: list[tuple[int, int]], descriptor: Descriptor) -> Tensor:
    """Standardised Gram vectors of the patches of `image` at upper left `corners` (x, y): float32 `[N, D]`.

    `image` is uint8 RGB `[3, H, W]`. Derivatives are taken on the image and not on the cut patch, as for a database.
    """
    k = descriptor.k
    # One pixel of context, repeated at the image's border, where `encode` does the same.
    padded = F.pad(torch.from_numpy(image).unsqueeze(0).float() / 255, (1, 1, 1, 1), mode="replicate")
    windows = torch.cat([padded[..., y : y + k + 2, x : x + k + 2] for x, y in corners])
    channels = texture_channels(windows, descriptor.name)[..., 1:-1, 1:-1].flatten(2)
    vectors = gram_vectors(channels, centred=descriptor.name == "rgb-centred")
    return vectors / constant(descriptor.scale, vectors.dtype, vectors.device)


def nearest(vectors: np.ndarray, queries: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `vectors` `[N, D]` for each of a few `queries` `[M, D]`, by comparing all: float64, exact.

    For a dozen queries that is faster than building any index.

    Returns:
        Distances float64 and rows int64, `[M, neighbours]` each, the nearest first; of equal ones the first row.

    Raises:
        ValueError: more neighbours are asked for than there are vectors.
    """
    if neighbours > len(vectors):
        raise ValueError(f"{neighbours} neighbours of {len(vectors)} vectors")
    size = max(1, _BLOCK // vectors.shape[1])
    asked = torch.from_numpy(queries.astype(np.float64))
    distances = np.full((len(queries), neighbours), np.inf)
    rows = np.full((len(queries), neighbours), -1, np.int64)
    for start in range(0, len(vectors), size):
        block = torch.from_numpy(vectors[start : start + size].astype(np.float64))
        # Without matrix products, which would lose digits to cancellation.
        found = torch.cdist(asked, block, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        for index, distance in enumerate(found):
            near = np.flatnonzero(distance < distances[index, -1])
            every = np.concatenate((distances[index], distance[near]))
            best = np.argsort(every, kind="stable")[:neighbours]
            distances[index], rows[index] = every[best], np.concatenate((rows[index], near + start))[best]
    return distances, rows


def typical_distance(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Median distance of each of `queries` `[M, D]` to patches of `vectors` `[N, D]` drawn at random: float64 `[M]`.

    What "near" is measured by: the distance to a texture that nobody chose.
    """
    random = np.random.default_rng(0)
    drawn = vectors[random.choice(len(vectors), min(len(vectors), _TYPICAL), replace=False)].astype(np.float64)
    return np.array([np.median(np.linalg.norm(drawn - query, axis=1)) for query in queries.astype(np.float64)])


def _deviation(image: np.ndarray, side: int) -> np.ndarray:
    """Standard deviation of luma in squares of `side` pixels, less in a smaller image: `[rows, columns]`."""
    luma = luma_full(torch.from_numpy(image).unsqueeze(0).float() / 255)
    height, width = luma.shape[-2:]
    size = (min(side, height), min(side, width))
    mean = F.avg_pool2d(luma, size)
    square = F.avg_pool2d((luma - luma.mean()).square(), size)
    return (square - (mean - luma.mean()).square()).clamp_min(0).sqrt()[0, 0].numpy()


def _busiest_patch(image: np.ndarray, left: int, top: int, side: int, k: int) -> tuple[int, int]:
    """Corner of the patch with the greatest contrast of luma within a region."""
    region = torch.from_numpy(image[:, top : top + side, left : left + side].copy()).unsqueeze(0).float() / 255
    luma = luma_full(region)
    deviation = F.unfold(luma, k).std(dim=1, correction=0)[0]
    y, x = divmod(int(deviation.argmax()), luma.shape[-1] - k + 1)
    return left + x, top + y
