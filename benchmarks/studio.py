"""The studio beside the command: the same picture by the page's own requests and by `gramgan upscale`, in turns.

    python benchmarks/studio.py [--picture FILE] [--side 384] [--runs 3] [--model gramgan-x4]

The page's time is from its request to the finished file on disk (it asks every 50 ms), the command's from its start to
its end. A first job of each, which measures backends and converts networks, does not count. `startup_s` is from the
program's start to the first page's answer. The last line's `ratio` is page / command: above 1 the page is slower.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from gramgan.images import find_images, read_rgb8, write_image

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
PROGRAM = [sys.executable, "-m", "gramgan"]


@contextlib.contextmanager
def studio(folder: Path) -> Iterator[tuple[str, float]]:
    """The address of a studio over `folder`, and the seconds until its page was there."""
    began = time.perf_counter()
    command = [
        *PROGRAM,
        "studio",
        "--no-browser",
        "--port",
        "0",
        "--folder",
        str(folder),
        "--runs",
        str(folder / "runs"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = "http://" + process.stdout.readline().split("://")[1].split("/")[0].strip()
        with urlopen(address, timeout=60) as answer:
            answer.read()
        try:
            yield address, time.perf_counter() - began
        finally:
            process.terminate()


def ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(address + path, data, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.load(answer)


def by_page(address: str, picture: Path, model: str) -> float:
    """Seconds from the page's request to the finished result."""
    (opened,) = ask(address, "/api/pictures", {"path": str(picture)})["pictures"]
    began = time.perf_counter()
    (job,) = ask(address, "/api/upscale", {"pictures": [opened["id"]], "settings": {"model": model}})["jobs"]
    while True:
        state = next(one["state"] for one in ask(address, "/api/jobs")["jobs"] if one["id"] == job)
        if state not in ("waiting", "running"):
            break
        time.sleep(0.05)
    if state != "done":
        raise SystemExit(f"the studio's job ended as {state!r}")
    return time.perf_counter() - began


def by_command(picture: Path, target: Path, model: str) -> float:
    began = time.perf_counter()
    command = [*PROGRAM, "upscale", str(picture), "-o", str(target), "--model", model]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="default: the middle of one of ../shared/photos, or noise")
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", default="gramgan-x4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = folder / "in.png"
        side = arguments.side
        source = arguments.picture or next(iter(find_images(PHOTOS)), None) if PHOTOS.is_dir() else arguments.picture
        if source is None:
            write_image(picture, np.random.default_rng(0).random((3, side, side), np.float32))
        else:
            pixels = read_rgb8(source)
            top, left = (max(0, (length - side) // 2) for length in pixels.shape[1:])
            write_image(picture, pixels[:, top : top + side, left : left + side] / np.float32(255))
        times: dict[str, list[float]] = {"page": [], "command": []}
        with studio(folder) as (address, startup):
            for turn in range(arguments.runs + 1):
                taken = (
                    by_page(address, picture, arguments.model),
                    by_command(picture, folder / f"out{turn}.png", arguments.model),
                )
                for way, seconds in zip(times, taken, strict=True):
                    print(f"{way}: {seconds:.2f} s" + (" (not counted)" if turn == 0 else ""))
                    times[way] += [seconds] if turn else []
    page, command = (statistics.median(taken) for taken in times.values())
    print(f"result: page_s={page:.3f} command_s={command:.3f} ratio={page / command:.3f} startup_s={startup:.2f}")


if __name__ == "__main__":
    main()
