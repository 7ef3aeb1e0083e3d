"""What `make docs` does besides reading pages: the reference from the code, and the checkout's files beside docs/."""

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "NOTICE": "project/notice.md",
    "examples/README.md": "how-to/examples.md",
}
"""Files of the checkout that are pages of the site; README.md has its counterpart in docs/."""
COPIED = ("CITATION.cff", "LICENSE", *(f"examples/{path.name}" for path in sorted((ROOT / "examples").glob("*.py"))))
"""Files of the checkout that the site holds as they are."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and files from outside of docs/."""
    for source, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            text = (ROOT / source).read_text(encoding="utf-8")
            if not source.endswith(".md"):
                text = f"# {source}\n\n```text\n{text}\n```\n"
            files.append(File.generated(config, page, content=text))
    for name in COPIED:
        files.append(File.generated(config, name, content=(ROOT / name).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what follows from the code, and lead links as the checkout has them to where things are in the site."""
    del config, files
    here = page.file.src_uri
    source = next(
        (source for source, target in PAGES.items() if target == here and source != "README.md"), f"docs/{here}"
    )
    return reference.filled(_links(markdown, source, here))


def _links(markdown: str, source: str, here: str) -> str:
    """Links of a page that is at `source` in the checkout and `here` in the site."""

    def led(match: re.Match[str]) -> str:
        address = urlsplit(match["to"])
        if address.scheme or address.netloc or not address.path:
            return match[0]
        target = os.path.normpath(PurePosixPath(source).parent / address.path)
        if target in PAGES:
            inside = PAGES[target]
        elif target.startswith("docs/") or target in COPIED:
            inside = target.removeprefix("docs/")
        else:
            raise PluginError(f"{source}: links to {target}, which the site does not have; name it without a link")
        to = os.path.relpath(inside, PurePosixPath(here).parent) + (f"#{address.fragment}" if address.fragment else "")
        return f"{match['before']}{to}{match['after']}"

    return re.sub(r'(?P<before>\]\(|<img src=")(?P<to>[^)\s"]+)(?P<after>[)"])', led, markdown)
