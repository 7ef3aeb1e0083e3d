"""Pictures of pictures: crops side by side, pixel for pixel, and patches beside the real texture chosen for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gramgan.reports.pixels import Colour, paint, repeat_pixels, text_ink, to_rgb8

PatchImages = np.ndarray | Sequence[np.ndarray]

_PAPER: Colour = (255, 255, 255)
_INK: Colour = (28, 30, 33)
_QUIET: Colour = (92, 98, 107)
_MARGIN = 16
_GAP = 10
_TITLE_SIZE = 15
_CAPTION_SIZE = 13
_LEADING = 6


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a strip.

    `image`: float `[3, H, W]` in [0, 1] or uint8 `[H, W, 3]`. `title` stands above its column, `caption` below.
    """

    image: np.ndarray
    title: str = ""
    caption: str = ""


def comparison(rows: Sequence[Sequence[Panel]], zoom: int = 2) -> np.ndarray:
    """Panels in rows and columns, as uint8 `[H, W, 3]`.

    Every pixel of the largest panel of a row becomes a square of `zoom`×`zoom` equal pixels. Smaller panels of the row,
    such as the low-resolution input, are enlarged by the whole number that brings them nearest to the same size.
    Nothing is interpolated. Titles stand above the first row; a later row repeats them only where they differ.

    Raises:
        ValueError: no panel at all, a zoom below 1, or a panel that is not a picture.
    """
    if zoom < 1:
        raise ValueError(f"zoom must be at least 1, not {zoom}")
    if not any(rows):
        raise ValueError("a comparison needs at least one panel")
    pictures = [_enlarged(row, zoom) for row in rows]
    columns = max(len(row) for row in pictures)
    widths = [max((row[i].shape[1] for row in pictures if i < len(row)), default=0) for i in range(columns)]
    canvas = _Stack(widths)
    previous: list[str] = []
    for row, row_pictures in zip(rows, pictures, strict=True):
        titles = [panel.title for panel in row]
        if titles != previous:
            canvas.texts(titles, _TITLE_SIZE, bold=True, colour=_INK)
        previous = titles
        canvas.pictures(row_pictures)
        canvas.texts([panel.caption for panel in row], _CAPTION_SIZE, bold=False, colour=_QUIET)
        canvas.space(_GAP)
    return canvas.compose()


def patch_gallery(
    sr: PatchImages,
    hr: PatchImages,
    chosen: PatchImages,
    captions: Sequence[str] = (),
    zoom: int = 16,
    columns: int = 3,
) -> np.ndarray:
    """For each patch: the generator's, the truth, and the real texture that the search chose, as uint8 `[H, W, 3]`.

    `sr`, `hr`, `chosen`: equally many patches, each uint8 `[k, k, 3]` or float `[3, k, k]` in [0, 1]; an array `[N, …]`
    will do. `captions`, where given, one per patch. `columns` triples stand side by side.

    Raises:
        ValueError: no patches, or different numbers of them.
    """
    count = len(sr)
    if count == 0 or len(hr) != count or len(chosen) != count or len(captions) not in (0, count):
        counts = f"{count}, {len(hr)}, {len(chosen)} (and {len(captions)} captions)"
        raise ValueError(f"a gallery needs equally many patches of each kind, not {counts}")
    triples = [
        _triple([repeat_pixels(to_rgb8(np.asarray(patch)), zoom) for patch in patches])
        for patches in zip(sr, hr, chosen, strict=True)
    ]
    panels = [Panel(triple, "SR · HR · texture", captions[i] if captions else "") for i, triple in enumerate(triples)]
    return comparison([panels[i : i + columns] for i in range(0, count, columns)], zoom=1)


def _triple(patches: list[np.ndarray]) -> np.ndarray:
    gap = np.full((patches[0].shape[0], 4, 3), _PAPER, np.uint8)
    return np.concatenate([patches[0], gap, patches[1], gap, patches[2]], axis=1)


def _enlarged(row: Sequence[Panel], zoom: int) -> list[np.ndarray]:
    pictures = [to_rgb8(panel.image) for panel in row]
    target = zoom * max((max(picture.shape[:2]) for picture in pictures), default=0)
    return [repeat_pixels(picture, max(1, round(target / max(picture.shape[:2])))) for picture in pictures]


class _Stack:
    """Bands of equal width, laid one below the other: a band is a row of pictures or of texts."""

    def __init__(self, widths: list[int]) -> None:
        self._widths = widths
        self._starts = [_MARGIN + sum(widths[:i]) + _GAP * i for i in range(len(widths))]
        self._width = self._starts[-1] + widths[-1] + _MARGIN
        self._bands: list[np.ndarray] = [self._blank(_MARGIN)]

    def pictures(self, pictures: list[np.ndarray]) -> None:
        """Pictures at the left of their columns, their upper edges in line."""
        band = self._blank(max(picture.shape[0] for picture in pictures))
        for start, picture in zip(self._starts, pictures, strict=False):
            band[: picture.shape[0], start : start + picture.shape[1]] = picture
        self._bands.append(band)

    def texts(self, texts: list[str], size: int, bold: bool, colour: Colour) -> None:
        """Texts centred in their columns; no band where all are empty."""
        inks = [text_ink(text, size, bold, width) for text, width in zip(texts, self._widths, strict=False)]
        height = max((ink.shape[0] for ink in inks), default=0)
        if height == 0:
            return
        band = self._blank(height + 2 * _LEADING)
        for start, width, ink in zip(self._starts, self._widths, inks, strict=False):
            paint(band, ink, start + max(0, (width - ink.shape[1]) // 2), _LEADING, colour)
        self._bands.append(band)

    def space(self, height: int) -> None:
        """An empty band."""
        self._bands.append(self._blank(height))

    def compose(self) -> np.ndarray:
        """All bands, as uint8 `[H, W, 3]`."""
        return np.concatenate([*self._bands, self._blank(_MARGIN - _GAP)])

    def _blank(self, height: int) -> np.ndarray:
        return np.full((height, self._width, 3), _PAPER, np.uint8)
