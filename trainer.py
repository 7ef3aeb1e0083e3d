"""The 50-iteration test run: sample photographs if there are none, a texture database, all five losses."""

import sys

from gramgan.cli.legacy import run_script, trainer

if __name__ == "__main__":
    sys.exit(run_script(trainer, sys.argv[1:], "trainer.py"))
