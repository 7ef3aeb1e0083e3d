"""The server of the page: its socket, its work folder, its beginning and end."""

import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from gramgan.errors import UserError
from gramgan.studio.app import application
from gramgan.studio.context import Options, Studio
from gramgan.studio.guard import check_password

_TRIES = 20  # ports after the one that was asked for


def serve(
    folders: list[Path],
    runs: Path,
    *,
    host: str,
    port: int | None,
    password: str | None,
    max_upload: int,
    browser: bool,
    ready: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        folders: may be read and written by the page, besides uploads.
        runs: where trainings are started and looked for.
        host: address to listen at.
        port: to listen at; None for 7860 or the next one that is free, 0 for any.
        password: asked of every browser; needed where `host` is not this machine alone.
        max_upload: MiB of one file.
        browser: open the page in the user's browser.
        ready: told the page's address once it can be opened.

    Raises:
        UserError: a folder is missing, the port is taken, or a password is missing.
    """
    check_password(host, password)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server hands it on, and the work folder has to go
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_bound(host, port))
        work = Path(tempfile.mkdtemp(prefix="gramgan-studio-"))
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        studio = Studio(Options(tuple(folders), runs, work, max_upload))
        stack.callback(studio.close)
        config = uvicorn.Config(
            application(studio, host=host, password=password),
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        ready(address)
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int | None) -> socket.socket:
    """A socket that listens already, so that whoever comes before the server has started waits for it."""
    wanted = range(7860, 7860 + _TRIES) if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem: OSError | None = None
    for one in wanted:
        listening = socket.socket(family, socket.SOCK_STREAM)
        if hasattr(socket, "SO_REUSEADDR"):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, one))
            listening.listen(64)
        except OSError as error:
            listening.close()
            problem = error
            continue
        return listening
    assert problem is not None
    where = host if port is None else f"{host}:{port}"
    raise UserError(f"{where}: the page cannot listen there ({problem.strerror or problem}); choose another --port")
