"""How the studio starts and ends, and what it costs."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from served import Served, started

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("uvicorn", reason="the extra `studio` is not installed")


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gramgan", "studio", "--no-browser", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ended = _run("--port", str(other.getsockname()[1]), "--runs", str(tmp_path / "runs"))
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: 127.0.0.1:")
    assert ended.stderr.count("\n") == 1


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ended = _run("--folder", str(tmp_path / "none"), "--runs", str(tmp_path / "runs"), "--port", "0")
    assert ended.returncode == 2
    assert ended.stderr == f"error: --folder {tmp_path / 'none'}: no such folder; check the name\n"


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    hidden = "import sys\nfor name in ('starlette', 'uvicorn'): sys.modules[name] = None\n"
    code = f"{hidden}from gramgan.cli.app import run\nsys.exit(run(['studio', '--no-browser']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "error: studio: needs starlette, uvicorn; install them with pip install 'gramgan[studio]'\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_its_end_nothing_is_left_but_trainings(place: Path, number: signal.Signals) -> None:
    with started(place) as studio:
        studio.upload("a.png", (studio.folder / "one.png").read_bytes())
        assert list(studio.work.iterdir())
        studio.process.send_signal(number)
        studio.process.wait(30)
        assert list(studio.work.iterdir()) == []


def test_a_port_in_a_row_is_taken_where_none_is_named(tmp_path: Path) -> None:
    with started(tmp_path, port=None) as first, started(tmp_path, port=None) as second:
        assert first.port != second.port
        assert {first.port, second.port} <= set(range(7860, 7880))


def test_the_first_page_loads_no_framework(served: Served) -> None:
    """What makes it quick: torch is loaded by the first work, and not by a page."""
    code = "import sys, gramgan.studio.serve; print(*{'torch', 'lance', 'matplotlib'}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_from_the_command_to_the_page_it_takes_four_seconds_at_most(place: Path) -> None:
    taken = []
    for _ in range(5):
        began = time.monotonic()
        with started(place) as studio:
            for path in (
                "/",
                "/static/upscale.js",
                "/static/core.js",
                "/static/viewer.js",
                "/api/pictures",
                "/api/jobs",
            ):
                assert studio.get(path).status == 200
            taken.append(time.monotonic() - began)
        if taken[-1] <= 4:
            break
    assert min(taken) <= 4
