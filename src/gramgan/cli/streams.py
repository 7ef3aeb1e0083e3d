"""Pictures from standard input and to standard output, by way of temporary files: no format of pictures is a stream."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gramgan.errors import UserError

STREAM = "-"
"""The name that stands for standard input or output."""


@contextlib.contextmanager
def input_file(stream: BinaryIO) -> Iterator[Path]:
    """What `stream` holds as a file called `stdin`, while the block runs; its path in error messages becomes `-`.

    Raises:
        UserError: the stream is a terminal or holds nothing, or there is no room for the file.
    """
    if stream.isatty():
        raise UserError("-: standard input is the keyboard; pipe a picture into the command, or name a file")
    with _folder() as folder:
        path = folder / "stdin"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file)
        except OSError as error:
            raise UserError(f"-: standard input cannot be kept ({error.strerror}); give a file") from None
        if path.stat().st_size == 0:
            raise UserError("-: nothing came from standard input; pipe a picture into the command")
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(str(path), STREAM)) from error


@contextlib.contextmanager
def output_file(stream: BinaryIO, suffix: str) -> Iterator[Path]:
    """A file to write, whose content goes to `stream` when the block has ended well.

    Args:
        stream: standard output.
        suffix: of the file, which decides its format.

    Raises:
        UserError: the stream is a terminal or was closed by its reader.
    """
    if stream.isatty():
        raise UserError("-: standard output is the screen; send it to a file or another program, or name a file")
    with _folder() as folder:
        path = folder / f"stdout{suffix}"
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(str(path), STREAM)) from error
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream)
            stream.flush()
        except OSError as error:
            raise UserError(f"-: standard output cannot be written ({error.strerror}); check its reader") from None


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gramgan-") as name:
        yield Path(name)
