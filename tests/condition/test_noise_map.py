import numpy as np

from gramgan.condition import measure, noise_map


def scan(noise: float) -> np.ndarray:
    """A noisy picture with a clean, smoothly shaded panel in its right half."""
    y, x = np.mgrid[:256, :384] / 384
    picture = np.stack([90 + 60 * x, 120 + 50 * y, 140 - 40 * x * y])
    picture[:, :, :192] += np.random.default_rng(0).normal(0, noise, (3, 256, 192))
    return (np.round(picture) / 255).astype(np.float32)


def test_noise_is_where_it_is() -> None:
    picture = scan(8)
    levels = noise_map(picture, measure(picture))
    assert levels.shape == (4, 6)
    np.testing.assert_allclose(levels[:, :3], 8, atol=1)
    assert levels[:, 3:].max() < 1


def test_tiles_at_the_border_and_tiny_pictures() -> None:
    picture = scan(5)[:, :70, :130]
    assert noise_map(picture, measure(picture)).shape == (2, 3)
    np.testing.assert_allclose(noise_map(picture, measure(picture)), 5, atol=1)
    dot = picture[:, :1, :1]
    assert noise_map(dot, measure(dot)).tolist() == [[0.0]]


def test_a_clean_picture_has_none() -> None:
    picture = scan(0)
    assert noise_map(picture, measure(picture)).max() < 1
