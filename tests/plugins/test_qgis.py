"""The QGIS plugin, started as QGIS starts it, with the few classes of `qgis.core` that it uses."""

import configparser
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gramgan.images import write_image


class Parameter:
    Double = "double"

    def __init__(self, name: str, *more: Any) -> None:
        self.name, self.more = name, more


class Algorithm:
    """`QgsProcessingAlgorithm`: keeps parameters, and reads values from a dict."""

    def __init__(self) -> None:
        self.parameters: list[Parameter] = []

    def addParameter(self, parameter: Parameter) -> bool:  # noqa: N802
        self.parameters.append(parameter)
        return True

    def parameterAsRasterLayer(self, given: dict[str, Any], name: str, _: object) -> Any:  # noqa: N802
        return SimpleNamespace(source=lambda: str(given[name]))

    def parameterAsString(self, given: dict[str, Any], name: str, _: object) -> str:  # noqa: N802
        return str(given.get(name, ""))

    def parameterAsDouble(self, given: dict[str, Any], name: str, _: object) -> float:  # noqa: N802
        return float(given[name])

    parameterAsOutputLayer = parameterAsString  # noqa: N815


class Provider:
    def __init__(self) -> None:
        self.algorithms: list[Algorithm] = []

    def addAlgorithm(self, algorithm: Algorithm) -> bool:  # noqa: N802
        self.algorithms.append(algorithm)
        return True


class QgsProcessingException(Exception):  # noqa: N818 (QGIS's name)
    pass


class Feedback:
    def __init__(self, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.told: list[float] = []

    def isCanceled(self) -> bool:  # noqa: N802
        return self.cancelled

    def setProgress(self, percent: float) -> None:  # noqa: N802
        self.told.append(percent)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> list[Provider]:
    providers: list[Provider] = []
    core = ModuleType("qgis.core")
    for name in ("Number", "RasterDestination", "RasterLayer", "String"):
        setattr(core, f"QgsProcessingParameter{name}", Parameter)
    known = SimpleNamespace(addProvider=providers.append, removeProvider=providers.remove)
    vars(core).update(
        QgsProcessingAlgorithm=Algorithm,
        QgsProcessingContext=object,
        QgsProcessingFeedback=Feedback,
        QgsProcessingProvider=Provider,
        QgsProcessingException=QgsProcessingException,
        QgsApplication=SimpleNamespace(processingRegistry=lambda: known),
    )
    monkeypatch.setitem(sys.modules, "qgis", ModuleType("qgis"))
    monkeypatch.setitem(sys.modules, "qgis.core", core)
    return providers


@pytest.fixture
def algorithm(plugins: Path, registry: list[Provider], loaded: Callable[[Path, str], ModuleType]) -> Any:
    plugin = loaded(plugins / "qgis" / "gramgan_qgis", "gramgan_qgis").classFactory(None)
    plugin.initGui()
    (provider,) = registry
    provider.loadAlgorithms()  # type: ignore[attr-defined]
    (found,) = provider.algorithms
    made = found.createInstance()  # type: ignore[attr-defined]
    made.initAlgorithm()
    plugin.unload()
    assert not registry
    return made


@pytest.fixture
def given(weights: Path, tmp_path: Path) -> dict[str, Any]:
    write_image(tmp_path / "in.tif", np.random.default_rng(0).random((3, 20, 24), np.float32))
    return {"INPUT": tmp_path / "in.tif", "SCALE": 4, "MODEL": weights, "OUTPUT": tmp_path / "out.tif"}


def test_metadata_has_what_qgis_asks_for(plugins: Path) -> None:
    read = configparser.ConfigParser()
    read.read(plugins / "qgis" / "gramgan_qgis" / "metadata.txt", "utf-8")
    wanted = {"name", "qgisMinimumVersion", "description", "about", "version", "author", "hasProcessingProvider"}
    assert {name.lower() for name in wanted} <= set(read["general"])


def test_a_raster_is_enlarged_with_progress(algorithm: Any, given: dict[str, Any]) -> None:
    assert [each.name for each in algorithm.parameters] == ["INPUT", "SCALE", "MODEL", "BANDS", "RADIOMETRY", "OUTPUT"]
    feedback = Feedback()
    result = algorithm.processAlgorithm(given, None, feedback)
    assert result == {"OUTPUT": str(given["OUTPUT"])}
    assert Path(result["OUTPUT"]).stat().st_size > 0
    assert feedback.told[-1] == 100


def test_cancel_leaves_no_result(algorithm: Any, given: dict[str, Any]) -> None:
    assert algorithm.processAlgorithm(given, None, Feedback(cancelled=True)) == {}
    assert not given["OUTPUT"].exists()


def test_what_a_user_can_put_right_is_qgis_s_own_error(algorithm: Any, given: dict[str, Any]) -> None:
    with pytest.raises(QgsProcessingException, match="no such"):
        algorithm.processAlgorithm(given | {"INPUT": "/nowhere.tif"}, None, Feedback())
