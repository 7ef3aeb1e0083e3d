"""What is known of an image file: what its header says and what its first picture has been through."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gramgan.condition.measuring import of_file
from gramgan.condition.record import Condition
from gramgan.images import Raster, RasterInfo
from gramgan.images.icc import profile_name
from gramgan.images.strips import look_through


@dataclass(frozen=True)
class Inspection:
    """A file's header and condition, and in `notes` what is odd about it."""

    path: Path
    info: RasterInfo
    condition: Condition
    notes: tuple[str, ...] = ()

    @property
    def profile(self) -> str | None:
        """The name of the embedded colour profile, "unnamed" for one without; None where there is no profile."""
        return None if self.info.icc is None else profile_name(self.info.icc) or "unnamed"

    def describe(self) -> str:
        """One line: format, size, depth, channels, profile, pages, condition, notes."""
        info = self.info
        depth = "float" if info.dtype == "float32" else f"{info.bits} bits"
        kind = ("grey" if info.colour_channels == 1 else "RGB") + (" with alpha" if info.has_alpha else "")
        parts = [info.format, f"{info.width}x{info.height}", f"{depth} {kind}"]
        if self.profile:
            parts.append(f"profile {self.profile}")
        if info.pages > 1:
            parts.append(f"{info.pages} {'frames' if info.animation else 'pages'}")
        return "; ".join((f"{', '.join(parts)}: {self.condition.describe()}", *self.notes))

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        info = self.info
        return {
            "file": str(self.path),
            "format": info.format,
            "width": info.width,
            "height": info.height,
            "bits": info.bits,
            "colour_channels": info.colour_channels,
            "alpha": info.has_alpha,
            "profile": self.profile,
            "dpi": None if info.dpi is None else [round(one, 2) for one in info.dpi],
            "pages": info.pages,
            "notes": list(self.notes),
            "condition": self.condition.to_dict(),
        }


def inspect_file(path: Path, *, allow_huge: bool = False) -> Inspection:
    """Look at an image file; of several pages or frames the first is measured.

    Raises:
        UserError: it is missing, no image, damaged, or larger than 256 megapixels without `allow_huge`.
    """
    raster = Raster.open(path, allow_huge=allow_huge)
    deep = look_through(raster)
    return Inspection(
        path, raster.info, of_file(path, allow_huge=allow_huge), (*raster.info.notes, *filter(None, [deep]))
    )
