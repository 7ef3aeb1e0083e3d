"""`python -m gramgan`: the command `gramgan`, for launchers that want a module."""

from gramgan.cli.app import main

main()
