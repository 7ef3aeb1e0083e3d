"""The machine that a run was made on, in words that stay with the run."""

import os
import platform

import torch

from gramgan import __version__
from gramgan.hardware.probe import device_name


def machine(device: str) -> dict[str, str]:
    """What computes on `device` (as torch names it), by title: device, processor, system, versions."""
    return {
        "device": f"{device}: {device_name(device)}",
        "processor": f"{device_name('cpu')}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "system": platform.platform(),
        "versions": f"Gram-GAN {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
    }
