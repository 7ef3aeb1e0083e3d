"""Whether colours have to be converted before a network may see them."""

_NAMES = tuple(
    name for text in ("sRGB", "IEC 61966-2", "IEC61966-2") for name in (text.encode(), text.encode("utf-16-be"))
)


def is_srgb(profile: bytes) -> bool:
    """Whether an ICC profile is one of the many of sRGB: it says so in its description, as text or as UTF-16."""
    return any(name in profile for name in _NAMES)
