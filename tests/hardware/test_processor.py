"""What is known of the machine without any framework."""

import sys

import pytest

from gramgan import installed
from gramgan.hardware import processor


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert processor.threads() == 3
    for text in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert processor.threads() >= 1


def test_packages() -> None:
    assert installed.package_version("numpy")[0].isdigit()
    assert installed.package_version("no-such-package") == ""
    assert installed.is_installed("numpy")
    assert not installed.is_installed("no_such_module")


def test_a_cpu_build_of_torch_has_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_DRIVERS", ("/",))  # as if a driver were there
    monkeypatch.setattr(processor, "package_version", lambda _: "2.13.0+cpu")
    assert not processor.may_have_accelerator()
    if sys.platform == "linux":
        monkeypatch.setattr(processor, "package_version", lambda _: "2.13.0")
        assert processor.may_have_accelerator()


def test_the_processor_has_a_name() -> None:
    assert processor.processor_name()
    assert processor.processor_name() in processor.processor_key()
