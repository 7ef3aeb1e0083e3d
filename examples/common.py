"""The command line that the examples share: a short training of the preset `lite` with one part of your own."""

import argparse
from pathlib import Path
from typing import Any

import gramgan


def train(preset: str = "lite", **parts: Any) -> None:
    """Train with `parts` (see `gramgan.train`); `--set` changes settings, as for `gramgan train`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--output", type=Path, default=Path("runs/example"), help="the run's folder")
    parser.add_argument("--set", action="append", default=[], help="one setting, KEY=VALUE")
    given = parser.parse_args()
    config = gramgan.load_config(preset, overrides=[f"data.photos={given.photos}", *given.set])
    result = gramgan.train(config, given.output, **parts)
    print(f"done: {result.best or result.folder}")
