"""Gram-GAN in QGIS's processing toolbox."""

from typing import Any

from qgis.core import QgsApplication, QgsProcessingProvider

from .algorithm import UpscaleRaster


class Provider(QgsProcessingProvider):
    """The toolbox's group of Gram-GAN."""

    def id(self) -> str:
        """Name in models and scripts."""
        return "gramgan"

    def name(self) -> str:
        """Name for people."""
        return "Gram-GAN"

    def loadAlgorithms(self) -> None:  # noqa: N802 (QGIS's name)
        """What is in the group."""
        self.addAlgorithm(UpscaleRaster())


class Plugin:
    """What QGIS starts and ends."""

    def __init__(self) -> None:
        self.provider: Provider | None = None

    def initProcessing(self) -> None:  # noqa: N802
        """Where there is a toolbox and no window."""
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:  # noqa: N802
        """Where there is a window."""
        self.initProcessing()

    def unload(self) -> None:
        """The end."""
        QgsApplication.processingRegistry().removeProvider(self.provider)


def classFactory(_: Any) -> Plugin:  # noqa: N802
    """What QGIS calls with its interface."""
    return Plugin()
