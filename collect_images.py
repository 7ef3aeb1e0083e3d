"""Fill `downloaded_images/` with photographs to train on; the same as `gramgan collect`, with the same options."""

import sys

from gramgan.cli.app import run

if __name__ == "__main__":
    sys.exit(run(["collect", *sys.argv[1:]]))
