"""What the doctor says of a broken installation."""

import importlib.metadata

import pytest

from gramgan.hardware import doctor


def requirements(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: list(lines))


def test_all_is_well_here() -> None:
    found = {library.name: library for library in doctor.libraries()}
    assert {"torch", "pyvips", "pylance", "numpy"} <= set(found)
    assert [library for library in found.values() if library.fault] == []
    assert found["torch"].version == importlib.metadata.version("torch")


def test_missing_old_and_broken_libraries_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(module: str) -> None:
        if module == "pyvips":
            raise OSError("libvips.so.42: cannot open shared object file:\nNo such file or directory")

    requirements(monkeypatch, "no-such-package>=1", "numpy>=99", "pyvips", "torch", "ruff; extra == 'dev'")
    monkeypatch.setattr(doctor.importlib, "import_module", load)
    assert {library.name: library.fault for library in doctor.libraries()} == {
        "no-such-package": "is missing",
        "numpy": ">=99 is needed",
        "pyvips": "cannot be loaded (libvips.so.42: cannot open shared object file: No such file or directory)",
        "torch": "",
    }


def test_extras_name_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements(
        monkeypatch,
        "torch",
        "numpy; extra == 'here'",
        "numpy; extra == 'half'",
        "no-such-package>=2; extra == 'half'",
        "only-there; extra == 'here' and python_version < '3'",
    )
    monkeypatch.setattr(
        importlib.metadata, "metadata", lambda name: type("", (), {"get_all": lambda *_: ["here", "half", "dev"]})()
    )
    assert doctor.extras() == [doctor.Extra("here", ()), doctor.Extra("half", ("no-such-package",))]


def test_the_processor_is_a_device() -> None:
    first = doctor.devices()[0]
    assert first.name == "cpu"
    assert first.model
    assert 2**20 < first.free_bytes < 2**50
