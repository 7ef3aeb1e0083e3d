"""Pictures of patches: in the photograph they come from, many on a map, and where in a photograph they were taken."""

from collections.abc import Iterable, Sequence

import numpy as np

from gramgan.reports.pixels import Colour, repeat_pixels
from gramgan.texture.origins import Context

PATCH_TILE = 192
"""Side of a picture of one patch, in pixels."""

_CONTEXT = 48  # pixels of the photograph around a patch, for patches up to a quarter of that
_INSET = 64  # side of the enlarged patch within its surroundings, in pixels
_BACKGROUND: Colour = (28, 30, 33)
_LIGHT: Colour = (255, 255, 255)
_DARK: Colour = (0, 0, 0)
_DOT: Colour = (255, 64, 129)
_MAP_WIDTH, _MAP_HEIGHT = 1300, 806
_MAP_TILE = 12


def context_side(k: int) -> int:
    """How many pixels of a photograph `in_context` shows around a patch of k×k."""
    return max(_CONTEXT, 4 * k)


def in_context(patch: np.ndarray, context: Context | None) -> np.ndarray:
    """A patch, uint8 `[k, k, 3]`, framed within its surroundings and enlarged in a corner, `PATCH_TILE` a side.

    Without `context` the patch alone fills the picture. Pixels are repeated, nothing is interpolated.
    """
    k = patch.shape[0]
    canvas = np.full((PATCH_TILE, PATCH_TILE, 3), _BACKGROUND, np.uint8)
    if context is None:
        _put_centred(canvas, repeat_pixels(patch, max(1, PATCH_TILE // k)))
        return canvas
    zoom = max(1, PATCH_TILE // max(context_side(k), *context.picture.shape[:2]))
    left, top = _put_centred(canvas, repeat_pixels(context.picture, zoom))
    x, y = left + context.x * zoom, top + context.y * zoom
    for margin, colour in ((3, _DARK), (2, _LIGHT)):
        _frame(canvas, x - margin, y - margin, k * zoom + 2 * margin, colour, margin - 1)
    inset = repeat_pixels(patch, max(1, _INSET // k))
    side = inset.shape[0]
    # In the corner that the patch itself is farthest from.
    inset_x = 4 if x + k * zoom / 2 > PATCH_TILE * 0.6 else PATCH_TILE - side - 4
    inset_y = 4 if y + k * zoom / 2 > PATCH_TILE * 0.6 else PATCH_TILE - side - 4
    draw_frame(canvas, inset_x, inset_y, side)
    canvas[inset_y : inset_y + side, inset_x : inset_x + side] = inset
    return canvas


def map_grid(k: int) -> tuple[int, int]:
    """Columns and rows of the map of patches of k×k pixels."""
    return _MAP_WIDTH // _pitch(k), _MAP_HEIGHT // _pitch(k)


def texture_map(patches: Sequence[np.ndarray], cells: np.ndarray) -> np.ndarray:
    """Patches, uint8 `[k, k, 3]` each, in the `cells` (numbered row by row, as `map_grid` has them) of a map."""
    return _in_cells(patches, cells.tolist(), *map_grid(patches[0].shape[0]))


def mosaic(patches: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Patches, uint8 `[k, k, 3]` each, row by row in a square of about `side` pixels; at most one patch a cell."""
    across = max(1, min(side // _pitch(patches[0].shape[0]), int(np.ceil(np.sqrt(len(patches))))))
    down = min(across, -(-len(patches) // across))
    return _in_cells(patches[: across * down], range(across * down), across, down)


def with_dots(picture: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """A greyed copy of `picture` `[H, W, 3]` with a dot at each of `positions` `[N, 2]`, x and y in [0, 1]."""
    height, width = picture.shape[:2]
    grey = picture.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    shown = (0.2 * picture + 0.5 * grey).astype(np.uint8)
    x = (positions[:, 0] * width).astype(np.int64).clip(0, width - 1)
    y = (positions[:, 1] * height).astype(np.int64).clip(0, height - 1)
    for shift_y in (0, 1):
        for shift_x in (0, 1):
            shown[(y + shift_y).clip(max=height - 1), (x + shift_x).clip(max=width - 1)] = _DOT
    return shown


def draw_frame(picture: np.ndarray, x: int, y: int, side: int) -> None:
    """Draw a frame around the square of `side` pixels at (x, y) of `picture` `[H, W, 3]`, in place."""
    _frame(picture, x - 3, y - 3, side + 6, _DARK, 1)
    _frame(picture, x - 2, y - 2, side + 4, _LIGHT, 2)


def _map_zoom(k: int) -> int:
    return max(1, round(_MAP_TILE / k))


def _pitch(k: int) -> int:
    return _map_zoom(k) * k + 1


def _in_cells(patches: Sequence[np.ndarray], cells: Iterable[int], columns: int, rows: int) -> np.ndarray:
    k = patches[0].shape[0]
    zoom, pitch = _map_zoom(k), _pitch(k)
    canvas = np.full((rows * pitch + 1, columns * pitch + 1, 3), _BACKGROUND, np.uint8)
    for patch, cell in zip(patches, cells, strict=False):
        y, x = (index * pitch + 1 for index in divmod(cell, columns))
        canvas[y : y + zoom * k, x : x + zoom * k] = repeat_pixels(patch, zoom)
    return canvas


def _put_centred(canvas: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    left, top = (canvas.shape[1] - width) // 2, (canvas.shape[0] - height) // 2
    canvas[top : top + height, left : left + width] = picture
    return left, top


def _frame(canvas: np.ndarray, x: int, y: int, side: int, colour: Colour, width: int) -> None:
    """The outline of a square, `width` pixels thick inwards; what lies outside the canvas is left out."""
    height, length = canvas.shape[:2]
    right, bottom = min(x + side, length), min(y + side, height)
    left, top = max(0, x), max(0, y)
    canvas[top : max(0, y + width), left:right] = colour
    canvas[max(0, y + side - width) : bottom, left:right] = colour
    canvas[top:bottom, left : max(0, x + width)] = colour
    canvas[top:bottom, max(0, x + side - width) : right] = colour
