"""Whether an image's samples fill the range that they are taken for: 12-bit data in 16 bits, for example."""

_DEPTHS = (8, 10, 12, 14)  # of cameras, scanners and sensors, stored in 16 bits
ENOUGH = 2 ** _DEPTHS[-1]
"""A sample of this value settles that 16 bits are used."""


def depth_note(highest: int) -> str | None:
    """A remark on 16-bit samples of which none is above `highest`; None if they fill their range."""
    for bits in _DEPTHS:
        if 0 < highest < 2**bits:
            return (
                f"its 16 bits hold nothing above {highest}, as {bits}-bit data does, and are taken for "
                f"{'dark' if bits == _DEPTHS[-1] else 'nearly black'}; multiply the samples by {2 ** (16 - bits)}"
            )
    return None
