"""Tiles put together: blended with their neighbours, and handed on as soon as a part of the picture is final."""

from collections.abc import Callable, Collection

import numpy as np

from gramgan.images import Window
from gramgan.upscaling.tiles import TilePlan, span_weights

Put = Callable[[Window, np.ndarray], None]
"""Takes a final part of the picture, `[C, height, width]` in [0, 1]."""
Place = tuple[int, int]
"""A tile's row and column in its plan."""


def final_window(plan: TilePlan, place: Place, scale: int) -> Window:
    """The part of the result that is final with the tile at `place`: what it uses, less where a later one fades in.

    The windows of all tiles cover the picture exactly once.
    """
    row, column = plan.rows[place[0]], plan.columns[place[1]]
    return Window(
        x=scale * column.keep_start,
        y=scale * row.keep_start,
        width=scale * (column.keep_stop - column.fade_out - column.keep_start),
        height=scale * (row.keep_stop - row.fade_out - row.keep_start),
    )


def needed_tiles(plan: TilePlan, missing: Collection[Place]) -> list[Place]:
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


class Composer:
    """Blends tiles that come in reading order.

    It holds no more of the picture than one tile and the zone where the next row of tiles fades in, over the whole
    width. Where tiles are left out that `needed_tiles` does not name, nothing of the missing windows depends on them.
    """

    def __init__(self, plan: TilePlan, channels: int, scale: int, missing: Collection[Place], put: Put) -> None:
        """`put` gets the windows of `missing`; the result has `channels` and is `scale` times as large."""
        self._plan, self._scale, self._missing, self._put = plan, scale, set(missing), put
        width = scale * plan.columns[-1].keep_stop
        fade = scale * max(row.fade_out for row in plan.rows)
        self._above = np.zeros((channels, fade, width), np.float32)  # the last row's share of the zone below it
        self._left = np.zeros((channels, 0, 0), np.float32)  # the last tile's share of the zone to its right
        self._last: Place = (-1, -1)

    def add(self, place: Place, tile: np.ndarray) -> None:
        """Take in the result `[C, scale * h, scale * w]` of the whole tile at `place`, its context included."""
        scale, row, column = self._scale, self._plan.rows[place[0]], self._plan.columns[place[1]]
        top, left = scale * (row.keep_start - row.start), scale * (column.keep_start - column.start)
        down, across = span_weights(row, scale), span_weights(column, scale)
        piece = tile[:, top : top + len(down), left : left + len(across)] * down[:, None]
        piece *= across

        if column.fade_in and self._last == (place[0], place[1] - 1):
            piece[:, :, : scale * column.fade_in] += self._left
        final = piece.shape[2] - scale * column.fade_out
        self._left, piece = piece[:, :, final:].copy(), piece[:, :, :final]

        window = final_window(self._plan, place, scale)
        columns = slice(window.x, window.x + window.width)
        if row.fade_in:
            piece[:, : scale * row.fade_in] += self._above[:, : scale * row.fade_in, columns]
        if row.fade_out:
            self._above[:, : scale * row.fade_out, columns] = piece[:, window.height :]
        self._last = place
        if place in self._missing:
            # A blend of clipped values may still round to above 1.
            final_rows = piece[:, : window.height]
            self._put(window, np.clip(final_rows, 0, 1, out=final_rows))
