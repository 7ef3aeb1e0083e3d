"""What a texture database is a mixture of, as a picture: the share of each domain, and the licences in it."""

from pathlib import Path
from typing import TYPE_CHECKING

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.reports.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gramgan.texture.database import DatabaseInfo

_SUFFIXES = (".png", ".svg", ".pdf")
_MOST = len(PALETTE) - 1  # licences with a colour of their own; the others share one
_OTHERS = "#9A9A9A"


def save_mixture(info: "DatabaseInfo", path: Path) -> None:
    """Write the picture to `path`.

    Raises:
        UserError: its suffix is none of png, svg and pdf, or it cannot be written.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path}: a picture's name ends in {', '.join(_SUFFIXES)}; choose one of them")
    figure = mixture(info)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=160, bbox_inches="tight")


def mixture(info: "DatabaseInfo") -> "Figure":
    """A bar for each domain, the most frequent on top, divided by licence."""
    from matplotlib.figure import Figure

    domains = list(info.by_domain)
    licences = list(info.by_licence)
    own = licences[:_MOST] if len(licences) > len(PALETTE) else licences
    parts = [(name, [name], colour) for name, colour in zip(own, PALETTE, strict=False)]
    if len(own) < len(licences):
        parts.append((f"{len(licences) - len(own)} others", licences[len(own) :], _OTHERS))
    figure = Figure(figsize=(8, 1.6 + 0.42 * len(domains) + 0.16 * len(parts)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(domains)
    for label, members, colour in parts:
        widths = [
            100 * sum(info.licences_by_domain[domain].get(name, 0) for name in members) / info.patches
            for domain in domains
        ]
        axes.barh(range(len(domains)), widths, left=left, color=colour, label=label, height=0.62)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for row, end in enumerate(left):
        count = info.by_domain[domains[row]]
        axes.annotate(f" {end:.1f} %  ({count:,})", (end, row), va="center", fontsize=9)
    axes.set_yticks(range(len(domains)), domains)
    axes.invert_yaxis()
    axes.set_xlim(0, max(left) * 1.25)
    axes.set_xlabel("share of the patches, %")
    axes.spines[["top", "right"]].set_visible(False)
    k, name = info.descriptor.k, info.descriptor.name
    axes.set_title(f"{info.path.name}: {info.patches:,} patches of {k}×{k}, {name}", loc="left", fontsize=11)
    figure.legend(loc="outside lower left", ncols=min(3, len(parts)), frameon=False, fontsize=9, title="licences")
    return figure
