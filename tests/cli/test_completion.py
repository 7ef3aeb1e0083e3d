"""What bash offers at the tab key."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _offered(folder: Path, line: str) -> list[str]:
    words = line.split(" ")
    code = "import sys; from gramgan.cli.app import run; sys.exit(run([]))"
    said = {"_GRAMGAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    program = Path(sys.executable).with_name("gramgan")
    command = [str(program)] if program.is_file() else [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **said}, capture_output=True, text=True, check=False)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gramgan up", ["upscale"]),
        ("gramgan train --pres", ["--preset"]),
        ("gramgan train --preset ref", ["reference"]),
        ("gramgan upscale a.png --model gramgan-x4-l", ["gramgan-x4-lite", "gramgan-x4-lite-psnr"]),
        ("gramgan upscale a.png --model own", ["own.safetensors"]),
        ("gramgan evaluate truths --model gramgan-x4-p", ["gramgan-x4-photo"]),
        ("gramgan train --resume runs/", ["runs/first"]),
    ],
)
def test_commands_options_and_values(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "log.jsonl").touch()
    (tmp_path / "own.safetensors").touch()
    assert _offered(tmp_path, line) == offered
