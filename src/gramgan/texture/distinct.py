"""Patches of one photograph that are nearly identical: one of them is enough."""

import numpy as np

NEAR_LEVELS = 3
"""Patches are nearly identical if no value of theirs differs by more than so many of 255 grey levels."""

_CELL = 6  # grey levels; width of the cells that near patches are looked for in
_BEGINNING = 32  # values
_COMPARED = 16_384  # patches compared at a time
_ROUNDS = 3  # patches of one cell are compared with so many of its first ones


def keep_distinct(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out patches that nearly equal an earlier one.

    Equal patches are found by a hash. Then patches are sorted into cells by their mean colour and slopes, once in each
    of two grids that are half a cell apart, and compared value by value with the first ones of their cell. So none is
    left out wrongly, and no two that are kept are equal; some nearly identical ones at the borders of cells, and in
    cells that hold many, are not found.

    Args:
        patches: uint8 `[3, side, side, N]`, the more important first.

    Returns:
        The positions of patches that are kept, ascending, and for how many each stands: int64 `[M]`, `[M]`.
    """
    number = patches.shape[-1]
    count = np.ones(number, np.int64)
    kept = np.arange(number)
    if number < 2:
        return kept, count
    rows = np.ascontiguousarray(patches.reshape(-1, number).T)
    kept = _without_near(rows, _hashes(rows), kept, count)
    features = _features(patches)
    for shift in (0.0, 0.5):
        kept = _without_near(rows, _cells(features[:, kept], shift), kept, count)
    return kept, count[kept]


def _hashes(rows: np.ndarray) -> np.ndarray:
    """Equal for equal rows, and hardly for others: uint8 `[N, L]` → uint64 `[N]`."""
    whole = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8))).view(np.uint64)
    factors = np.random.default_rng(0).integers(0, 2**63, whole.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return whole @ factors


def _without_near(rows: np.ndarray, cells: np.ndarray, kept: np.ndarray, count: np.ndarray) -> np.ndarray:
    """`kept` without those that are near one of the first of their cell; `count` is carried over to that one."""
    order = np.argsort(cells, kind="stable")
    cells, waiting = cells[order], kept[order]
    dropped = np.zeros(len(rows), bool)
    for _ in range(_ROUNDS):
        first = np.ones(len(cells), bool)
        first[1:] = cells[1:] != cells[:-1]
        if first.all():
            break
        leader = waiting[np.flatnonzero(first)[np.cumsum(first) - 1]]
        follow = np.flatnonzero(~first)
        near = _are_near(rows, waiting[follow], leader[follow])
        dropped[waiting[follow[near]]] = True
        np.add.at(count, leader[follow[near]], count[waiting[follow[near]]])
        rest = follow[~near]  # may be near the next one
        cells, waiting = cells[rest], waiting[rest]
    return kept[~dropped[kept]]


def _are_near(rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether row `a[i]` nearly equals row `b[i]`. Most do not, which their beginnings show."""
    near = np.arange(len(a))
    for columns in (slice(_BEGINNING), slice(_BEGINNING, None)):
        here = rows[:, columns]
        parts = []
        for start in range(0, len(near), _COMPARED):
            part = near[start : start + _COMPARED]
            first, second = here[a[part]], here[b[part]]
            parts.append(part[(np.maximum(first, second) - np.minimum(first, second) <= NEAR_LEVELS).all(axis=1)])
        near = np.concatenate(parts) if parts else near
    result = np.zeros(len(a), bool)
    result[near] = True
    return result


def _features(patches: np.ndarray) -> np.ndarray:
    """Grey levels that near patches nearly share: two colour differences, brightness, slopes: float32 `[6, N]`."""
    side = patches.shape[1]
    half = side // 2
    red, green, blue = patches.reshape(3, side * side, -1).sum(axis=1, dtype=np.int32)
    luma = patches.sum(axis=0, dtype=np.uint16)
    a, b, c, d = (
        luma[rows, columns].sum(axis=(0, 1), dtype=np.int32)
        for rows in (slice(half), slice(half, None))
        for columns in (slice(half), slice(half, None))
    )
    colours = np.stack((red - green, blue - green)).astype(np.float32)
    slopes = np.stack((a + b + c + d, a + b - c - d, a + c - b - d, a + d - b - c)).astype(np.float32) / 3
    return np.concatenate((colours, slopes)) / np.float32(side * side)


def _cells(features: np.ndarray, shift: float) -> np.ndarray:
    cells = np.floor(features / np.float32(_CELL) + np.float32(shift)).astype(np.int64) + 128
    result = np.zeros(features.shape[1], np.int64)
    for row in cells:
        result = result << 8 | row
    return result
