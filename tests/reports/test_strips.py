import numpy as np
import pytest

from gramgan.reports.strips import Panel, comparison, patch_gallery


def noise(size: int, seed: int) -> np.ndarray:
    # Kept away from the white of the paper and the black of the ink, so that it can be found again.
    return np.random.default_rng(seed).integers(40, 200, (size, size, 3), np.uint8)


def find(strip: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """Upper left corners (row, column) at which `picture` stands in `strip`, pixel for pixel."""
    height, width = picture.shape[:2]
    rows, columns = np.nonzero((strip == picture[0, 0]).all(axis=2))
    return [
        (int(y), int(x))
        for y, x in zip(rows, columns, strict=True)
        if strip[y : y + height, x : x + width].shape == picture.shape
        and (strip[y : y + height, x : x + width] == picture).all()
    ]


def repeated(picture: np.ndarray, factor: int) -> np.ndarray:
    return np.kron(picture, np.ones((factor, factor, 1), np.uint8))


def test_panels_stand_pixel_for_pixel_in_their_grid() -> None:
    pictures = [[noise(16, 10 * row + column) for column in range(3)] for row in range(2)]
    strip = comparison([[Panel(p, f"column {c}", "caption") for c, p in enumerate(row)] for row in pictures], zoom=2)
    places = [[find(strip, repeated(picture, 2)) for picture in row] for row in pictures]
    assert all(len(place) == 1 for row in places for place in row)
    corners = np.array([[place[0] for place in row] for row in places])
    assert (corners[:, :, 0] == corners[:, :1, 0]).all(), "a row's pictures must be in line"
    assert (corners[:, :, 1] == corners[:1, :, 1]).all(), "a column's pictures must be in line"
    assert len(set(np.diff(corners[0, :, 1]))) == 1, "columns must be equally far apart"


def test_float_and_8_bit_panels_look_the_same() -> None:
    picture = noise(12, 1)
    planes = (picture / 255).astype(np.float32).transpose(2, 0, 1)
    assert (comparison([[Panel(picture)]]) == comparison([[Panel(planes)]])).all()


def test_low_resolution_panel_is_enlarged_to_the_same_size() -> None:
    small, large = noise(8, 1), noise(32, 2)
    strip = comparison([[Panel(small, "Low resolution"), Panel(large, "Truth")]], zoom=2)
    assert find(strip, repeated(small, 8))
    assert find(strip, repeated(large, 2))


def test_titles_are_not_repeated_where_they_stay_the_same() -> None:
    def rows(second: str) -> list[list[Panel]]:
        return [[Panel(noise(40, 1), "Bicubic")], [Panel(noise(40, 2), second)]]

    assert comparison(rows("Truth")).shape[0] > comparison(rows("Bicubic")).shape[0]


def test_labels_are_drawn_outside_of_the_pictures() -> None:
    bare, labelled = (comparison([[Panel(noise(64, 1), *texts)]]) for texts in ((), ("Title", "28.43 dB")))
    assert labelled.shape[0] > bare.shape[0] and labelled.shape[1] == bare.shape[1]
    assert (labelled < 60).any(axis=2).sum() > (bare < 60).any(axis=2).sum()
    assert find(labelled, repeated(noise(64, 1), 2))


def test_rows_may_differ_in_length() -> None:
    strip = comparison([[Panel(noise(8, 1)), Panel(noise(8, 2))], [Panel(noise(8, 3), caption="alone")]])
    assert all(find(strip, repeated(noise(8, seed), 2)) for seed in (1, 2, 3))


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        comparison([[]])
    with pytest.raises(ValueError, match="zoom"):
        comparison([[Panel(noise(8, 1))]], zoom=0)


def test_gallery_shows_each_patch_beside_its_truth_and_its_texture() -> None:
    sr, hr, chosen = (np.stack([noise(4, seed + i) for i in range(5)]) for seed in (0, 10, 20))
    picture = patch_gallery(sr, hr, chosen, [f"distance {i}" for i in range(5)], zoom=10, columns=2)
    for i in range(5):
        (a, b, c) = (find(picture, repeated(patch, 10)) for patch in (sr[i], hr[i], chosen[i]))
        assert len(a) == len(b) == len(c) == 1
        assert a[0][0] == b[0][0] == c[0][0]
        assert a[0][1] < b[0][1] < c[0][1]


def test_gallery_takes_float_patches() -> None:
    patches = np.random.default_rng(0).random((2, 3, 4, 4), np.float32)
    assert patch_gallery(patches, patches, patches).dtype == np.uint8


def test_gallery_needs_as_many_of_each() -> None:
    patches = np.stack([noise(4, 1), noise(4, 2)])
    with pytest.raises(ValueError, match="2, 2, 1"):
        patch_gallery(patches, patches, patches[:1])
    with pytest.raises(ValueError, match="equally many"):
        patch_gallery([], [], [])
    with pytest.raises(ValueError, match="1 captions"):
        patch_gallery(patches, patches, patches, ["one"])
