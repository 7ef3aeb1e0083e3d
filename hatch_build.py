"""Puts the manual pages into the wheel, so that `man gramgan` works where it is installed."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface):
    """The pages are made from the definitions of the command line when a wheel is built; none is kept."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write them, and name where they go."""
        sys.path.insert(0, str(Path(self.root) / "src"))
        from gramgan.cli import manual

        self._folder = tempfile.TemporaryDirectory()
        for name, text in manual.pages().items():
            page = Path(self._folder.name) / name
            page.write_text(text, encoding="ascii", newline="\n")
            build_data["shared_data"][str(page)] = f"share/man/man1/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copies that went into the wheel."""
        self._folder.cleanup()
