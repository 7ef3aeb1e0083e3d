"""The training benchmarks run where they are meant to."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABSENT = ("lance", "faiss", "pykdtree", "pyvips", "pyarrow")

# What a GPU machine lacks is missing here too.
_RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys({absent!r}))
sys.argv = ["train_gpu.py", *{arguments!r}]
sys.path.insert(0, {folder!r})
runpy.run_path({script!r}, run_name="__main__")
"""


def run_gpu_script(*arguments: str) -> str:
    folder = ROOT / "benchmarks"
    code = _RUN.format(absent=ABSENT, arguments=arguments, folder=str(folder), script=str(folder / "train_gpu.py"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_gpu_script_runs_without_tables_indices_and_image_libraries() -> None:
    lines = run_gpu_script("--device", "cpu", "--quick").splitlines()
    assert any(line.startswith("| Gram-GAN | ") for line in lines)
    figures = dict(part.split("=") for part in lines[-1].removeprefix("result: ").split())
    assert float(figures["its_2"]) > 0
    assert float(figures["loss_difference"]) < 1e-5  # both are the CPU here
    assert float(figures["picture_difference"]) < 1e-5
    assert figures["peak_gib"] == "nan"
    assert re.fullmatch(r"\d+\.\d\d", figures["vs_fp32_2"])
