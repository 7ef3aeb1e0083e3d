"""How scores, settings and times are named and written on every page and list."""

from collections.abc import Iterator
from typing import Any

SCORE_TITLES = {
    "psnr_y": "PSNR-Y, dB",
    "ssim_y": "SSIM-Y",
    "st_lpips": "ST-LPIPS",
    "lpips_alex": "LPIPS",
    "dists": "DISTS",
    "texture_distance": "texture distance",
    "texture_distance_textured": "texture distance where textured",
    "gram_distance": "Gram distance",
    "colour_drift": "colour drift, ΔE",
}
SCORE_FORMATS = {"psnr_y": ".2f", "ssim_y": ".4f", "st_lpips": ".4f", "lpips_alex": ".4f", "dists": ".4f"}
_HIGHER_IS_BETTER = ("psnr", "ssim")


def higher_is_better(metric: str) -> bool:
    """Whether a score is better the higher it is."""
    return metric.startswith(_HIGHER_IS_BETTER)


def duration(seconds: float) -> str:
    """Such as `2 h 05 min`, `3 min 20 s` or `4.5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`{"train": {"seed": 0}}` as `("train.seed", 0)`; sections in a list are numbered."""
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(number): entry for number, entry in enumerate(value)}
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown_value(value: object) -> str:
    """A setting's value as text."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
