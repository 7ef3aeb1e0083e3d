"""What an encoder writes, with something of ours put into it on the way to the disk."""

from collections.abc import Callable
from pathlib import Path

from gramgan.images.vips import pyvips


def save_with(
    save: Callable[[pyvips.Target], None], path: Path, place: Callable[[bytes], int | None], data: bytes
) -> None:
    """Write a file by `save`, with `data` inserted.

    Args:
        save: encodes an image into a target, from the first byte to the last.
        path: the file.
        place: given the file's first bytes, says before which of them `data` goes; None if there are too few of them.
        data: what is inserted.

    Raises:
        OSError: the file cannot be written.
        pyvips.Error: the encoder failed.
    """
    head: bytes | None = b""
    failed: OSError | None = None
    with path.open("wb") as file:

        def write(written: bytes | bytearray | memoryview) -> int:
            chunk = bytes(written)
            nonlocal head, failed
            try:
                if head is None:
                    file.write(chunk)
                    return len(chunk)
                head += chunk
                at = place(head)
                if at is not None:
                    file.write(head[:at] + data + head[at:])
                    head = None
            except OSError as error:
                failed = error
                return -1
            return len(chunk)

        target = pyvips.TargetCustom()
        target.on_write(write)
        try:
            save(target)
        except pyvips.Error:
            if failed is not None:
                raise failed from None
            raise
        if head:
            file.write(head)
