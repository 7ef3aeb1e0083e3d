"""`gramgan studio`: a page on this machine for all that the command line does."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import say
from gramgan.errors import UserError
from gramgan.installed import is_installed


def studio(
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--folder",
            help="A folder that the page may read and write, with all its subfolders; may be repeated. Without it "
            "the page sees uploads and runs only.",
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", help="Folder for new trainings and databases; the page lists the runs in it.")
    ] = Path("runs"),
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen at. Any other than this machine's own needs a password in the variable "
            "GRAMGAN_STUDIO_PASSWORD.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port to listen at. (default: 7860, or the next free one)"),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    max_upload: Annotated[int, typer.Option("--max-upload", min=1, help="Largest uploaded file, in MiB.")] = 1024,
) -> None:
    """Open a page that upscales, trains, and shows textures and scores. Ctrl-C ends it; trainings continue.

    Nothing leaves this machine, and nothing is loaded from elsewhere.
    """
    missing = [name for name in ("starlette", "uvicorn", "jinja2") if not is_installed(name)]
    if missing:
        raise UserError(f"studio: needs {', '.join(missing)}; install them with pip install 'gramgan[studio]'")
    from gramgan.studio.serve import serve

    def ready(address: str) -> None:
        say(f"Gram-GAN Studio: {address} (Ctrl-C ends it)")

    serve(
        folders or [],
        runs,
        host=host,
        port=port,
        password=os.environ.pop("GRAMGAN_STUDIO_PASSWORD", None),  # no business of the trainings that are started
        max_upload=max_upload,
        browser=browser,
        ready=ready,
    )
