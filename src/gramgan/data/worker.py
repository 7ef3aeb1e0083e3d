"""A process that decodes crops for a training: requests on its standard input, crops on its standard output.

It is a program of its own (`python -m gramgan.data.worker`) and no fork or spawn of the training: it loads no torch,
starts in a fifth of a second, takes some 50 MB, and needs no `if __name__ == "__main__":` in a user's script.
"""

import json
import os
import struct
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from gramgan import own_process
from gramgan.data.cutting import cut_crop
from gramgan.data.items import ImagePlace, Item
from gramgan.data.order import Draw
from gramgan.errors import UserError
from gramgan.hardware.allocator import keep_memory

HEADER = struct.Struct("<cI")
"""Kind of a reply and its length in bytes."""
READY, CROP, UNREADABLE, FAILED = b"r", b"c", b"u", b"f"
"""Kinds of replies: the worker has started; HR and LR samples; why an image cannot be used; a traceback."""
KINDS = (READY, CROP, UNREADABLE, FAILED)


def request(item: Item, draw: Draw, side: int, augment: bool, scale: int) -> bytes:
    """What to send for a crop, a line of JSON."""
    values = {"item": _plain(item), "draw": asdict(draw), "side": side, "augment": augment, "scale": scale}
    return json.dumps(values).encode("ascii") + b"\n"


def main() -> None:
    """Answer requests until the training closes its end, or is gone."""
    own_process.set_up()
    keep_memory()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not get between the replies
    try:
        _reply(replies, READY, b"")
        for line in sys.stdin.buffer:
            _reply(replies, *_answer(line))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # without another attempt to flush


def _answer(line: bytes) -> tuple[bytes, bytes]:
    try:
        values = json.loads(line)
        how = {key: values[key] for key in ("augment", "scale")}
        high, low = cut_crop(_item(values["item"]), Draw(**values["draw"]), values["side"], **how)
    except UserError as error:
        return UNREADABLE, str(error).encode("utf-8", "surrogateescape")
    except Exception:  # noqa: BLE001 (one odd file must not end a training: it is named there, with this traceback)
        return FAILED, traceback.format_exc().encode("utf-8", "surrogateescape")
    return CROP, high.tobytes() + (b"" if low is None else low.tobytes())


def _reply(replies: BinaryIO, kind: bytes, content: bytes) -> None:
    replies.write(HEADER.pack(kind, len(content)))
    replies.write(content)
    replies.flush()


def _plain(item: Item) -> dict[str, Any]:
    return {
        part: None if place is None else asdict(place) | {"path": str(place.path.absolute())}
        for part, place in (("high", item.high), ("low", item.low))
    }


def _item(values: dict[str, Any]) -> Item:
    places = {
        part: None if place is None else ImagePlace(**place | {"path": Path(place["path"])})
        for part, place in values.items()
    }
    return Item(name="", **places)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
