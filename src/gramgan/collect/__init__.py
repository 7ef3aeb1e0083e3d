"""Where photographs come from, and under which licence."""

from gramgan.collect.collection import Collected
from gramgan.collect.gather import MIN_SIZE, collect_folder, collect_samples
from gramgan.collect.holdout import split
from gramgan.collect.manifest import Entry, LeftOut, known_licences, read_manifest

__all__ = [
    "MIN_SIZE",
    "Collected",
    "Entry",
    "LeftOut",
    "collect_folder",
    "collect_samples",
    "known_licences",
    "read_manifest",
    "split",
]
