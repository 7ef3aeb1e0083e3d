"""How a picture is cut into tiles, and with which weights their results are put together again.

Every pixel of the result comes from tiles that saw at least `overlap` pixels of the picture around it (or all there
is up to the picture's border). So where `overlap` covers the network's effective receptive field, tiled and whole are
the same, and where it nearly does, the linear blending between neighbours leaves no edge to be seen.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from gramgan.images.info import Window

Put = Callable[[Window, np.ndarray], None]
"""Takes a final part of the picture, `[C, height, width]` in [0, 1]."""
Cell = tuple[int, int]
"""A tile's row and column in its plan."""

MAX_FADE = 8
"""Widest zone, in low-resolution pixels, over which one tile fades into the next."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis; all numbers are low-resolution pixels of the picture.

    The network sees [start, stop). Its result counts in [keep_start, keep_stop), of which the first `fade_in` pixels
    are blended with the tile before and the last `fade_out` with the tile after (0 at the picture's border).
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int
    fade_in: int
    fade_out: int

    @property
    def size(self) -> int:
        """How many pixels the network sees."""
        return self.stop - self.start


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one picture: every row of tiles with every column."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    @property
    def cells(self) -> list[Cell]:
        """Of every tile, in reading order."""
        return [(row, column) for row in range(len(self.rows)) for column in range(len(self.columns))]


def plan_tiles(height: int, width: int, tile: int, overlap: int, align: int = 1) -> TilePlan:
    """Cut a picture of `height`×`width` into tiles that all have one shape.

    Args:
        height: of the picture in low-resolution pixels, at least 1.
        width: the same.
        tile: largest side of the part of a tile that is used, in low-resolution pixels; the network sees up to
            `tile + 2 * overlap`. Tiles get smaller evenly rather than leaving a narrow one at the end.
        overlap: context in low-resolution pixels around every pixel that is used.
        align: tiles begin at multiples of it. Above 1 the last of a row or column may be smaller than the others.

    Raises:
        ValueError: a size below 1 or a negative overlap.
    """
    return TilePlan(rows=plan_axis(height, tile, overlap, align), columns=plan_axis(width, tile, overlap, align))


def plan_axis(length: int, tile: int, overlap: int, align: int = 1) -> tuple[Span, ...]:
    """`plan_tiles` along one axis."""
    if length < 1 or tile < 1 or overlap < 0:
        raise ValueError(f"cannot cut {length} pixels into tiles of {tile} with an overlap of {overlap}")
    if length <= tile + 2 * overlap:
        return (Span(0, length, 0, length, 0, 0),)

    fade = _fade(tile)
    starts, size = _aligned(length, tile, overlap, fade, align) if align > 1 else _even(length, tile, overlap, fade)
    # Both neighbours have full context between the later's start + overlap and the earlier's stop - overlap: fade
    # there.
    fades = [(later + earlier + size - fade) // 2 for earlier, later in pairwise(starts)]
    spans = []
    for i, start in enumerate(starts):
        first, last = i == 0, i == len(starts) - 1
        spans.append(
            Span(
                start=start,
                stop=min(start + size, length),
                keep_start=0 if first else fades[i - 1],
                keep_stop=length if last else fades[i] + fade,
                fade_in=0 if first else fade,
                fade_out=0 if last else fade,
            )
        )
    return tuple(spans)


def _even(length: int, tile: int, overlap: int, fade: int) -> tuple[list[int], int]:
    """Where tiles of one size begin that cover an axis evenly, and their size."""
    # The first and the last tile need context on one side only: `count` tiles cover count * (tile - fade) + fade + 2
    # * overlap.
    used = length - 2 * overlap - fade
    count = -(-used // (tile - fade))
    size = -(-used // count) + fade + 2 * overlap
    return [i * (length - size) // (count - 1) for i in range(count)], size


def _aligned(length: int, tile: int, overlap: int, fade: int, align: int) -> tuple[list[int], int]:
    """The same at multiples of `align`; the last one ends with the picture."""
    size = -(-(tile + 2 * overlap) // align) * align
    while (step := (size - 2 * overlap - fade) // align * align) <= 0:
        size += align
    count = 1 + max(0, -(-(length - size) // step))
    return [i * step for i in range(count)], size


def span_weights(span: Span, scale: int) -> np.ndarray:
    """Weight of each result pixel of `span`: float32 `[scale * (keep_stop - keep_start)]` in (0, 1].

    A linear ramp in each zone of blending, 1 elsewhere. Fade widths are powers of two, so that the weights of
    neighbours sum to 1 exactly and not only nearly.
    """
    weights = np.ones(scale * (span.keep_stop - span.keep_start), dtype=np.float32)
    if span.fade_in:
        weights[: scale * span.fade_in] = _ramp(scale * span.fade_in)
    if span.fade_out:
        weights[-scale * span.fade_out :] = _ramp(scale * span.fade_out)[::-1]
    return weights


def final_window(plan: TilePlan, cell: Cell, scale: int) -> Window:
    """The part of the result that is final with the tile at `cell`: what it uses, less where a later one fades in.

    The windows of all tiles cover the picture exactly once.
    """
    row, column = plan.rows[cell[0]], plan.columns[cell[1]]
    return Window(
        x=scale * column.keep_start,
        y=scale * row.keep_start,
        width=scale * (column.keep_stop - column.fade_out - column.keep_start),
        height=scale * (row.keep_stop - row.fade_out - row.keep_start),
    )


def needed_tiles(plan: TilePlan, missing: Collection[Cell]) -> list[Cell]:
    """The tiles to compute, in reading order, so that the windows of `missing` tiles become final.

    A window is blended from its own tile and those to the left, above, and above left.
    """
    wanted = set(missing)
    return [
        (row, column)
        for row in range(len(plan.rows))
        for column in range(len(plan.columns))
        if not wanted.isdisjoint({(row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)})
    ]


def cut_tiles(plan: TilePlan, tiles: list[Cell], strips: Iterator[np.ndarray]) -> Iterator[tuple[Cell, np.ndarray]]:
    """The low-resolution tiles `[C, h, w]`; `strips` are the rows of tiles, one for each row that is in `tiles`."""
    for _, cells in groupby(tiles, key=lambda cell: cell[0]):
        strip = next(strips)
        for cell in cells:
            column = plan.columns[cell[1]]
            yield cell, strip[:, :, column.start : column.stop].copy()


class Composer:
    """Blends tiles that come in reading order.

    It holds no more of the picture than one tile and the zone where the next row of tiles fades in, over the whole
    width. Where tiles are left out that `needed_tiles` does not name, nothing of the missing windows depends on them.
    """

    def __init__(self, plan: TilePlan, channels: int, scale: int, missing: Collection[Cell], put: Put) -> None:
        """`put` gets the windows of `missing`; the result has `channels` and is `scale` times as large."""
        self._plan, self._scale, self._missing, self._put = plan, scale, set(missing), put
        width = scale * plan.columns[-1].keep_stop
        fade = scale * max(row.fade_out for row in plan.rows)
        self._above = np.zeros((channels, fade, width), np.float32)  # the last row's share of the zone below it
        self._left = np.zeros((channels, 0, 0), np.float32)  # the last tile's share of the zone to its right
        self._last: Cell = (-1, -1)

    def add(self, cell: Cell, tile: np.ndarray) -> None:
        """Take in the result `[C, scale * h, scale * w]` of the whole tile at `cell`, its context included."""
        scale, row, column = self._scale, self._plan.rows[cell[0]], self._plan.columns[cell[1]]
        top, left = scale * (row.keep_start - row.start), scale * (column.keep_start - column.start)
        down, across = span_weights(row, scale), span_weights(column, scale)
        piece = tile[:, top : top + len(down), left : left + len(across)] * down[:, None]
        piece *= across

        if column.fade_in and self._last == (cell[0], cell[1] - 1):
            piece[:, :, : scale * column.fade_in] += self._left
        final = piece.shape[2] - scale * column.fade_out
        self._left, piece = piece[:, :, final:].copy(), piece[:, :, :final]

        window = final_window(self._plan, cell, scale)
        columns = slice(window.x, window.x + window.width)
        if row.fade_in:
            piece[:, : scale * row.fade_in] += self._above[:, : scale * row.fade_in, columns]
        if row.fade_out:
            self._above[:, : scale * row.fade_out, columns] = piece[:, window.height :]
        self._last = cell
        if cell in self._missing:
            # A blend of clipped values may still round to above 1.
            final_rows = piece[:, : window.height]
            self._put(window, np.clip(final_rows, 0, 1, out=final_rows))


def _ramp(length: int) -> np.ndarray:
    return (np.arange(length, dtype=np.float32) + 0.5) / length


def _fade(tile: int) -> int:
    """The largest power of two that is at most a quarter of `tile` and `MAX_FADE`; 0 for tiles below 4."""
    fade = MAX_FADE
    while fade > tile // 4:
        fade //= 2
    return fade
