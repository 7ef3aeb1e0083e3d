"""Where photographs come from, and under which licence."""

from gramgan.collect.collection import Collected
from gramgan.collect.gather import MIN_PHOTO_SIZE, collect_folder, collect_samples
from gramgan.collect.holdout import split
from gramgan.collect.manifest import LeftOutFile, ManifestEntry, known_licences, read_manifest

__all__ = [
    "MIN_PHOTO_SIZE",
    "Collected",
    "LeftOutFile",
    "ManifestEntry",
    "collect_folder",
    "collect_samples",
    "known_licences",
    "read_manifest",
    "split",
]
