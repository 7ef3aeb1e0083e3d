"""Train Gram-GAN under the name and with the flags of the method's first script; `gramgan train` has all settings."""

import sys

from gramgan.cli.legacy import graham_gan_model, run_script

if __name__ == "__main__":
    sys.exit(run_script(graham_gan_model, sys.argv[1:], "graham_gan_model.py"))
