"""What a picture has been through, as one record."""

from dataclasses import dataclass
from typing import Any, Literal

QuantisationTable = tuple[tuple[int, ...], ...]
"""Quantisation steps `[8][8]`, vertical frequency first."""
CLEAN_NOISE = 1.5
"""Grey levels of noise, below which a picture counts as clean."""
CLEAN_QUALITY = 92
"""JPEG quality, from which on a picture counts as clean."""
SMALL = 16
"""Pixels a side, below which nothing is said of a picture in which nothing was found."""
OVERSHARPENED = 0.08
"""Halo as a share of an edge's contrast, from which on a picture is said to be oversharpened."""
TOO_LARGE = 2.0
"""From here on a picture is said to be so many times too large for its detail; many a photograph is 1.7."""


@dataclass(frozen=True)
class Noise:
    """Noise, in grey levels of 255.

    `sigma`: the standard deviation of each colour channel (one, or red, green and blue). `kind`: "independent" between
    the channels (sensors), "grey" (the same in all: grain, grey pictures), "compressed" (that of luma before JPEG took
    most of it), or "none": nothing that can be told from texture, and `sigma` is an upper bound of at most 1.5.
    `coarse`: middle against high frequencies, 1 for white noise, 3 to 6 after demosaicing. `levels`: `(brightness,
    sigma)` pairs in grey levels for noise that depends on the signal, where the picture has enough places of that
    brightness.
    """

    sigma: tuple[float, ...]
    kind: Literal["independent", "grey", "compressed", "none"]
    coarse: float = 1.0
    levels: tuple[tuple[float, float], ...] = ()

    @property
    def level(self) -> float:
        """Root mean square over the channels."""
        return (sum(one * one for one in self.sigma) / len(self.sigma)) ** 0.5

    @property
    def by_signal(self) -> tuple[float, float] | None:
        """`(a, b)` of variance = a + b · brightness, in grey levels; None where fewer than three levels are known.

        Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling and fitting for
        single-image raw-data, IEEE TIP 2008; least squares with relative weights, since the error of a variance grows
        with it.
        """
        if len(self.levels) < 3:
            return None
        import numpy as np

        brightness, sigma = np.array(self.levels).T
        variance = np.square(sigma)
        slope, start = np.polyfit(brightness, variance, 1, w=1 / np.maximum(variance, 1e-3))
        return float(start), float(slope)


@dataclass(frozen=True)
class Jpeg:
    """Compression as JPEG, of this file or of what it was made from.

    `quality`: that of libjpeg whose tables come closest, 1 to 100. `luma_table`, `chroma_table`: quantisation steps
    as they lie in the upright picture; the second None for grey ones. `offset`: row and column (0 to 7) of the first
    corner of a luma block in the picture. `subsampling`: "4:4:4", "4:2:0" …, and `chroma_offset`: row and column of the
    first corner of a chroma block (0 to 15 for 4:2:0); None where that is unknown or there is no colour. `source`:
    "file" (its own tables) or "pixels" (found in the picture).
    """

    quality: int
    luma_table: QuantisationTable
    chroma_table: QuantisationTable | None
    offset: tuple[int, int]
    subsampling: str | None
    chroma_offset: tuple[int, int] | None
    source: Literal["file", "pixels"]


@dataclass(frozen=True)
class Softness:
    """How sharp the sharpest edges are.

    `edge_width`: pixels in which they rise (contrast over steepest slope); 1 to 1.8 is sharp. `enlarged`: about how
    many times too large the picture is for its detail (1: not at all), by enlarging or for want of focus. `overshoot`:
    by which share of its contrast an edge between two even places goes beyond them, on each side; from 0.08 on the
    picture was oversharpened. None without such edges.
    """

    edge_width: float
    enlarged: float
    overshoot: float | None


@dataclass(frozen=True)
class Condition:
    """What a picture has been through; what cannot be told is None.

    `width`, `height`: of the picture in pixels, `measured`: how many of its pixels were looked at.
    """

    width: int
    height: int
    measured: int
    noise: Noise | None
    jpeg: Jpeg | None
    softness: Softness | None

    @property
    def noise_level(self) -> float:
        """Noise in grey levels of 255 (0 where there is none, or none is known)."""
        return 0.0 if self.noise is None or self.noise.kind == "none" else self.noise.level

    @property
    def clean(self) -> bool:
        """Neither noise nor JPEG that enlarging would show; softness plays no part."""
        return self.noise_level < CLEAN_NOISE and (self.jpeg is None or self.jpeg.quality >= CLEAN_QUALITY)

    @property
    def too_large(self) -> bool:
        """Whether the picture is larger than its detail asks for."""
        return self.softness is not None and self.softness.enlarged >= TOO_LARGE

    @property
    def oversharpened(self) -> bool:
        """Whether its edges have halos."""
        return self.softness is not None and (self.softness.overshoot or 0.0) >= OVERSHARPENED

    def describe(self) -> str:
        """One short line, such as "noise 6, JPEG quality about 70"."""
        if self.noise is None and min(self.width, self.height) < SMALL:
            return "too small to tell"
        parts = []
        if self.noise_level >= CLEAN_NOISE:
            parts.append(f"noise {self.noise_level:.0f}")
        if self.jpeg is not None:
            about = "" if self.jpeg.source == "file" else "about "
            parts.append(f"JPEG quality {about}{self.jpeg.quality}")
        if self.clean:
            parts.insert(0, "clean")
        if self.softness is not None and self.too_large:
            parts.append(f"about {self.softness.enlarged:.1f}x too large for its detail".replace(".0x", "x"))
        if self.oversharpened:
            parts.append("oversharpened")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON: plain numbers, strings, lists and None."""
        noise, jpeg, soft = self.noise, self.jpeg, self.softness
        return {
            "clean": self.clean,
            "summary": self.describe(),
            "width": self.width,
            "height": self.height,
            "measured_pixels": self.measured,
            "noise": None
            if noise is None
            else {
                "level": round(noise.level, 2),
                "kind": noise.kind,
                "sigma": [round(one, 2) for one in noise.sigma],
                "coarse": round(noise.coarse, 2),
                "levels": [[round(one, 2) for one in pair] for pair in noise.levels],
                "by_signal": None if noise.by_signal is None else [round(one, 4) for one in noise.by_signal],
            },
            "jpeg": None
            if jpeg is None
            else {
                "quality": jpeg.quality,
                "source": jpeg.source,
                "offset": list(jpeg.offset),
                "subsampling": jpeg.subsampling,
                "chroma_offset": None if jpeg.chroma_offset is None else list(jpeg.chroma_offset),
                "luma_table": [list(row) for row in jpeg.luma_table],
                "chroma_table": None if jpeg.chroma_table is None else [list(row) for row in jpeg.chroma_table],
            },
            "softness": None
            if soft is None
            else {
                "edge_width": round(soft.edge_width, 2),
                "enlarged": round(soft.enlarged, 2),
                "overshoot": None if soft.overshoot is None else round(soft.overshoot, 3),
            },
        }
