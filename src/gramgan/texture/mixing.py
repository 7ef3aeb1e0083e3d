"""Several texture databases in one training.

Each patch of a step is given to one database, drawn with a probability in proportion to the databases' weights, and
its target is that database's exact nearest neighbour. So a weight is a share of targets, whatever the databases' sizes
and however far apart their textures lie: 0.7 and 0.3 mean 70 % and 30 %. (Dividing distances by weights would mean
something else for every descriptor, density and stage of the training.) Databases without weights are searched as one:
the nearest of all their patches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gramgan.ops.transfer import send
from gramgan.share import WHOLE, Share, SharedMaker, own_memory
from gramgan.texture.candidates import NO_PATCH, DatabasePart, DatabaseSource, Targets
from gramgan.texture.search import RECALL, SearchBackend


class MixedSource:
    """Gives each patch to one of several databases, by chance."""

    def __init__(
        self,
        sources: Sequence[DatabaseSource],
        weights: Sequence[float],
        random: torch.Generator,
        share: Share = WHOLE,
    ) -> None:
        """`weights` are in proportion to the patches' shares; `random` is a CPU generator that the run saves.

        Raises:
            ValueError: sources of another descriptor or scale, or weights that are none.
        """
        if len(sources) != len(weights) or not sources or min(weights) <= 0:
            raise ValueError(f"{len(sources)} sources need as many weights above 0, got {list(weights)}")
        self.descriptor = sources[0].descriptor
        if any(source.descriptor != self.descriptor for source in sources):
            raise ValueError("mixed sources of targets need the same descriptor and scale")
        self.sources = list(sources)
        self._limits = (torch.tensor(weights, dtype=torch.float64).cumsum(0) / sum(weights))[:-1]
        self._random = random
        self._share = share

    @torch.no_grad()
    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """The nearest real textures of `query` `[B, N, D]`, given the HR images `[B, 3, H, W]` in [0, 1]."""
        images, patches = query.shape[:2]
        drawn = torch.rand(self._share.whole(images), patches, generator=self._random, dtype=torch.float64)
        choice = torch.bucketize(drawn[self._share.rows(images)], self._limits, right=True).flatten()
        asked = query.flatten(0, 1)
        gram, distance = torch.empty_like(asked), asked.new_empty(len(asked))
        patch_id = torch.full((len(asked),), NO_PATCH, dtype=torch.int64, device=query.device)
        for number, source in enumerate(self.sources):
            # Which patches, the host knows: a mask on the device would make it wait to learn how many.
            mine = send((choice == number).nonzero().squeeze(1), query.device)
            found = source.targets(asked[mine].unsqueeze(0), hr)
            gram[mine], distance[mine], patch_id[mine] = found.gram[0], found.distance[0], found.patch_id[0]
        return Targets(gram.view_as(query), distance.view(images, patches), patch_id.view(images, patches))


def database_source(
    parts: Sequence[DatabasePart],
    weights: Sequence[float] | None,
    random: torch.Generator,
    backend: SearchBackend = "auto",
    device: str | torch.device = "cpu",
    recall: float = RECALL,
    share: Share = WHOLE,
    place: SharedMaker = own_memory,
) -> DatabaseSource | MixedSource:
    """The databases of a training as one source, on the first one's scale: mixed by weights, or as one without.

    Raises:
        UserError: a database or domain has no patches, or they differ in descriptor or k.
    """
    if weights is None or len(parts) == 1:
        return DatabaseSource(parts, backend, device, recall=recall, place=place)
    descriptor = parts[0].database.descriptor
    sources = [
        DatabaseSource([part], backend, device, descriptor=descriptor, recall=recall, place=place) for part in parts
    ]
    return MixedSource(sources, weights, random, share)
