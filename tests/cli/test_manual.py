"""The manual pages: all that the command line defines, in macros that nothing warns about."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from gramgan import __version__
from gramgan.cli import manual

ALLOWED = re.compile(r'\.(TH "[^"]+" 1 "" "[^"]+" "[^"]+"|SH [A-Z ]+|TP|PP)|[^.\'].*|\\&.*')
RENDERERS = {"groff": ["-man", "-ww", "-Tutf8"], "mandoc": ["-T", "utf8", "-W", "error"]}


def read(page: str) -> str:
    """The text of a page as one line, without escapes."""
    plain = re.sub(r"\\\[u([0-9A-F]+)\]", lambda match: chr(int(match[1], 16)), page)
    return " ".join(re.sub(r"\\f[BIR]|\\&", "", plain).replace(r"\-", "-").replace(r"\e", "\\").split())


def test_every_command_has_a_page_with_all_its_options() -> None:
    pages, known = manual.pages(), manual.commands()
    assert {"gramgan.1", "gramgan-upscale.1", "gramgan-db-build.1"} <= set(pages)
    assert len(pages) == len(known)
    for name, command in known.items():
        text = read(pages[f"{name.replace(' ', '-')}.1"])
        assert all(" ".join(part.replace("`", "").split()) in text for part in command.help.split("\n\n")), name
        for option in command.params:
            assert " ".join(option.help.replace("`", "").split()) in text, f"{name}: {option.name}"
            assert all(f" {flag}" in text for flag in manual.flags(option)), f"{name}: {option.name}"
        assert f'"gramgan {__version__}"' in text
    assert "--denoise 0…1" in read(pages["gramgan-upscale.1"])
    assert "Default: 95." in read(pages["gramgan-upscale.1"])
    assert "gramgan-db(1)" in read(pages["gramgan.1"])
    assert "gramgan-db-build(1), gramgan-db-" not in read(pages["gramgan.1"])


def test_a_page_follows_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def enlarge(
        inputs: list[Path] = typer.Argument(help=".png or C:\\in, read as `'PNG'`", metavar="IN"),  # noqa: B008
        times: int = typer.Option(3, min=2, max=9, help="×2 to ×9", rich_help_panel="Size"),
    ) -> None:
        """Make it larger.

        'Larger' - not sharper.
        """

    monkeypatch.setattr(manual, "app", app)
    (page,) = manual.pages().values()
    text = read(page)
    assert "NAME gramgan - Make it larger .SH SYNOPSIS gramgan [OPTIONS] IN … .SH" in text
    assert ".PP 'Larger' - not sharper." in text
    assert ".TP IN … .png or C:\\in, read as 'PNG' Required." in text
    assert ".SH SIZE .TP --times N (2…9) ×2 to ×9 Default: 3." in text
    assert "`" not in text
    check([page])


def check(pages: list[str]) -> None:
    for line in "".join(pages).splitlines():
        assert line.isascii()
        assert ALLOWED.fullmatch(line), line
        assert not re.search(r"\\(?!f[BIR]|-|e|&|\[u[0-9A-F]{4,6}\])", line), line


def test_nothing_warns_of_the_pages(tmp_path: Path) -> None:
    pages = manual.pages()
    check(list(pages.values()))
    for name, text in pages.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    for program, options in RENDERERS.items():
        if shutil.which(program):
            command = [program, *options, *sorted(pages)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")
            shown = re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)
            assert "--texture-threshold LEVELS" in shown
