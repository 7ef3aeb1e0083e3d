"""The algorithm: a raster layer's file made larger."""

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)


class UpscaleRaster(QgsProcessingAlgorithm):
    """`gramgan:upscale`."""

    def name(self) -> str:
        """Name in models and scripts."""
        return "upscale"

    def displayName(self) -> str:  # noqa: N802 (QGIS's name)
        """Name for people."""
        return "Upscale raster"

    def shortHelpString(self) -> str:  # noqa: N802
        """What stands beside the form."""
        return (
            "Enlarges a raster from file to file. Coordinates, all bands, no-data and physical values stay, and what "
            "was made shrinks to the original again. Fine texture is synthesised, not measured."
        )

    def createInstance(self) -> "UpscaleRaster":  # noqa: N802
        """A fresh one for each run."""
        return UpscaleRaster()

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:  # noqa: N802
        """The form's fields."""
        number = QgsProcessingParameterNumber
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Raster"))
        self.addParameter(number("SCALE", "How many times larger", number.Double, 4.0, False, 1.0, 64.0))
        for key, title in (
            ("MODEL", "Weights: a known name or a file (empty: Gram-GAN's own)"),
            ("BANDS", "Bands seen as red, green and blue, such as 3,2,1 (empty: what the file says)"),
            ("RADIOMETRY", "Values that are black and white: 0,3000 or reflectance (empty: what the file says)"),
        ):
            self.addParameter(QgsProcessingParameterString(key, title, "", False, True))
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Larger raster"))

    def processAlgorithm(  # noqa: N802
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """One run: `{"OUTPUT": path}`."""
        try:
            import gramgan
        except ImportError as error:
            raise QgsProcessingException(f"{error}; in QGIS's Python: pip install 'gramgan[geo]'") from None

        class Cancelled(Exception):  # noqa: N818 (no error)
            pass

        def progress(done: int, total: int) -> None:
            if feedback.isCanceled():
                raise Cancelled
            feedback.setProgress(100 * done / max(total, 1))

        source = self.parameterAsRasterLayer(parameters, "INPUT", context).source()
        target = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        bands = self.parameterAsString(parameters, "BANDS", context)
        try:
            gramgan.upscale(
                Path(source),
                Path(target),
                scale=self.parameterAsDouble(parameters, "SCALE", context),
                model=self.parameterAsString(parameters, "MODEL", context) or None,
                bands=tuple(bands.split(";")) if bands else (),
                radiometry=self.parameterAsString(parameters, "RADIOMETRY", context) or None,
                progress=progress,
            )
        except gramgan.UserError as error:
            raise QgsProcessingException(str(error)) from None
        except Cancelled:
            return {}
        return {"OUTPUT": target}
