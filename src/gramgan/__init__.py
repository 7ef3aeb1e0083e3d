"""Gram-GAN: 4x super-resolution that shows a GAN what real texture looks like.

The public API; everything is imported when it is first used, so that `import gramgan` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gramgan.config import Config, load_config
    from gramgan.errors import UserError
    from gramgan.evaluation.compare import evaluate
    from gramgan.evaluation.report import EvaluationReport, ModelScores
    from gramgan.networks.build import LoadedGenerator, OwnGenerator, load_generator, load_own_generator
    from gramgan.texture.database import TextureDatabase
    from gramgan.texture.sources import Source
    from gramgan.training.run import RunResult, train
    from gramgan.upscaling.api import Upscaling, upscale
    from gramgan.upscaling.engine import Upscaler
    from gramgan.upscaling.settings import Settings

_HOME = {
    "Config": "gramgan.config",
    "EvaluationReport": "gramgan.evaluation.report",
    "LoadedGenerator": "gramgan.networks.build",
    "ModelScores": "gramgan.evaluation.report",
    "OwnGenerator": "gramgan.networks.build",
    "RunResult": "gramgan.training.run",
    "Settings": "gramgan.upscaling.settings",
    "Source": "gramgan.texture.sources",
    "UserError": "gramgan.errors",
    "TextureDatabase": "gramgan.texture.database",
    "evaluate": "gramgan.evaluation.compare",
    "load_config": "gramgan.config",
    "load_generator": "gramgan.networks.build",
    "load_own_generator": "gramgan.networks.build",
    "Upscaler": "gramgan.upscaling.engine",
    "Upscaling": "gramgan.upscaling.api",
    "train": "gramgan.training.run",
    "upscale": "gramgan.upscaling.api",
}

__all__ = [
    "Config",
    "EvaluationReport",
    "LoadedGenerator",
    "ModelScores",
    "OwnGenerator",
    "RunResult",
    "Settings",
    "Source",
    "TextureDatabase",
    "Upscaler",
    "Upscaling",
    "UserError",
    "__version__",
    "evaluate",
    "load_config",
    "load_generator",
    "load_own_generator",
    "train",
    "upscale",
]


if not TYPE_CHECKING:  # which would let every name pass

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'gramgan' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
