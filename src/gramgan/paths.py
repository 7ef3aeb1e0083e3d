"""Where the program keeps what it downloads or measures, outside of the user's own folders."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder for Gram-GAN; the environment variable `GRAMGAN_CACHE` moves it."""
    override = os.environ.get("GRAMGAN_CACHE")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("gramgan", appauthor=False))
