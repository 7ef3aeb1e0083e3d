"""What a texture database holds, in numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gramgan.texture.descriptors import Descriptor
from gramgan.texture.snapshot import TableLike


@dataclass(frozen=True)
class DatabaseInfo:
    """What `gramgan db info` shows."""

    path: Path
    identity: str
    version: int
    patches: int
    descriptor: Descriptor
    bytes_on_disk: int
    by_domain: dict[str, int]
    by_licence: dict[str, int]
    by_scale: dict[str, int]
    by_source: dict[str, int]
    licences_by_domain: dict[str, dict[str, int]]
    warped: int


def info_of(table: TableLike) -> DatabaseInfo:
    """Counts by domain, licence, scale and photograph.

    Raises:
        UserError: a fragment is damaged.
    """
    counts = table.counts(["domain", "licence", "scale", "source_id"])
    scales = counts["scale"]
    files = [table.path] if table.path.is_file() else [file for file in table.path.rglob("*") if file.is_file()]
    return DatabaseInfo(
        path=table.path,
        identity=table.metadata.identity,
        version=table.version,
        patches=sum(counts["domain"].values()),
        descriptor=table.metadata.descriptor,
        bytes_on_disk=sum(file.stat().st_size for file in files),
        by_domain=counts["domain"],
        by_licence=counts["licence"],
        by_scale={f"{scale:g}": scales[scale] for scale in sorted(scales, reverse=True)},
        by_source=counts["source_id"],
        licences_by_domain=_licences_by_domain(table),
        warped=int(np.count_nonzero(table.numbers("warped"))),
    )


def _licences_by_domain(table: TableLike) -> dict[str, dict[str, int]]:
    domain_codes, domains = table.words("domain")
    licence_codes, licences = table.words("licence")
    pairs = np.bincount(domain_codes.astype(np.int64) * len(licences) + licence_codes)
    found: dict[str, dict[str, int]] = {domain: {} for domain in domains}
    for pair in np.flatnonzero(pairs).tolist():
        domain, licence = divmod(pair, len(licences))
        found[domains[domain]][licences[licence]] = int(pairs[pair])
    return found
