"""What holds where nobody says otherwise, for folders that cannot import one another."""

QUALITY = 95
"""Of JPEG, WebP and AVIF, 1 to 100."""
