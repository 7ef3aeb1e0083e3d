"""The 50-iteration test run: sample photographs if there are none, a texture database, all five losses."""

import sys

from gramgan.cli.legacy import run, trainer

if __name__ == "__main__":
    sys.exit(run(trainer, sys.argv[1:], "trainer.py"))
