"""The documentation leaves nothing public out, its links lead somewhere, and the site loads nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import reference
import typer
from pydantic import BaseModel

import gramgan
from gramgan.cli import manual
from gramgan.config import Config, _known_keys, preset_names

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
FOLDERS = ("src", "tests", "benchmarks", "studies", "examples", "docs")
MENTIONS = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml", ".md")]


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Where a page can be linked to, as the site names its headings, with what is filled in from the code."""
    text = reference.filled(text_of(page))
    ids = set(re.findall(r'id="([^"]+)"|\{#([\w-]+)\}', text))
    headings = re.findall(r"^#+ (.+?)(?: \{#.*)?$", text, re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"`|\[|\]\([^)]*\)", "", one)) for one in headings)
    return {one for pair in ids for one in pair} | {re.sub(r"[-\s]+", "-", one.strip().lower()) for one in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"""\]\(([^)\s]+)\)|src="([^"]+)\"""", text_of(page)):
        address = urlsplit(next(filter(None, link)))
        if address.scheme:
            continue
        target = page if not address.path else (page.parent / address.path).resolve()
        assert target.exists(), f"{page.name}: {address.path}"
        if address.fragment and target.suffix == ".md":
            assert address.fragment in anchors(target), f"{page.name}: {address.path}#{address.fragment}"


def test_pages_that_code_and_messages_name_exist() -> None:
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in [*MENTIONS, *ROOT.iterdir()]
        if path.is_file() and path != Path(__file__)
        for name in re.findall(r"(?<![\w/.])docs/[\w/.-]+\.(?:md|png|jpg|webp|svg)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert not {(path, name) for path, name in named if not (ROOT / name).exists()}


def test_every_page_has_its_place_in_the_navigation() -> None:
    navigation = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1])
    assert len(navigation) == len(set(navigation))
    assert {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")} <= set(navigation)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_settings_in_blocks_of_code_exist(page: Path) -> None:
    known = manual.commands()
    blocks = re.findall(r"^```(?:sh|bat)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for words in re.findall(r"(?:^|[;|] ?|\$ |-m |/)(gramgan [^|;#>]*)", line):
            starts = (" ".join(words.split()[:count]) for count in (3, 2, 1))
            name = next(start for start in starts if start in known)
            assert name != "gramgan" or words.split()[1].startswith("--"), f"{page.name}: {words}"
            flags = {flag for one in known[name].params for flag in [*one.opts, *one.secondary_opts]} | {"--help"}
            given = set(re.findall(r"(?<= )--?[a-z][a-z0-9-]*", words))
            assert given <= flags, f"{page.name}: {name} has no {', '.join(given - flags)}"
            for key in re.findall(r"--set '?([a-z_.]+)", words):
                assert key in _known_keys() or key.startswith("losses.own."), f"{page.name}: {key}"


def test_every_command_and_option_is_in_the_reference() -> None:
    text = reference.commands()
    paths = list(manual.commands())
    assert {"gramgan upscale", "gramgan db build", "gramgan weights get"} <= set(paths)
    for path in paths:
        assert re.search(rf"^##+ {path}$", text, re.MULTILINE), path
    for option in ("--denoise", "--preset", "--descriptor", "--no-consistency", "--allow-huge"):
        assert f"`{option}`" in text, option
    assert 'id="upscale-denoise"' in text


def test_every_setting_is_in_the_reference() -> None:
    text = reference.settings()
    for section, values in Config():
        for name in type(values).model_fields if isinstance(values, BaseModel) else ():
            assert f'id="{reference.place(f"{section}.{name}")}"' in text, f"{section}.{name}"


def test_every_preset_has_a_table_of_what_it_changes() -> None:
    text = reference.presets()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == preset_names()
    finetune = text.split("## finetune")[1].split("\n## ")[0]
    assert re.search(r"losses\.<wbr>adversarial</code>\]\([^)]*\) \| <code>0\.02</code>", finetune)
    assert "mask" not in finetune.split("| --- |")[1]


def test_the_help_of_train_names_every_preset() -> None:
    train = manual.commands()["gramgan train"]
    (preset,) = [one for one in train.params if one.name == "preset"]
    assert set(preset_names()) <= set(re.findall(r"\w+", preset.help))


def test_an_option_without_help_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def enlarge(strength: float = 1.0) -> None:
        """Make it larger."""

    monkeypatch.setattr(manual, "app", app)
    with pytest.raises(manual.UndocumentedError, match="gramgan: strength has no help text"):
        reference.commands()


def test_a_setting_without_a_description_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Config):
        speed: int = 1

    monkeypatch.setattr(reference, "Config", Odd)
    with pytest.raises(manual.UndocumentedError, match="speed: the setting has no description"):
        reference.settings()


def test_every_public_name_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    assert {name.rsplit(".", 1)[1] for name in shown} | {"__version__"} == set(gramgan.__all__)
    for path in shown:
        module, name = path.rsplit(".", 1)
        found = getattr(gramgan, name)
        assert found.__module__ == module
        assert found.__doc__, path
        public = {member: value for member, value in vars(found).items() if not member.startswith("_")}
        # A field's default has no docstring.
        members = {member: value for member, value in public.items() if callable(value) or isinstance(value, property)}
        if isinstance(found, type) and not issubclass(found, BaseModel):
            assert all(value.__doc__ for value in members.values()), path


def test_no_docstring_only_points_elsewhere() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(r'"""(See|As in) `[^`]+`\.?(""")?$', path.read_text(encoding="utf-8"), re.MULTILINE), path


class Links(HTMLParser):
    """What a page of the site loads, where its links go, and where it can be linked to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.text = ""
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.loads += [found[name] for name in ("src", "data") if name in found]
        if tag == "link":
            self.loads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Links]:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("the tools of `make docs` are not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return {page: Links(page) for page in sorted(folder.rglob("*.html")) if page.name != "404.html"}


def within(page: Path, address: str) -> Path:
    return (page.parent / unquote(address)).resolve() if address else page


def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Links]) -> None:
    for page, found in site.items():
        for address in found.loads:
            parts = urlsplit(address)
            assert not parts.scheme, f"{page.name} loads {address}"
            assert not parts.netloc, f"{page.name} loads {address}"
            assert within(page, parts.path).exists(), f"{page.name} loads {address}, which is not there"


def test_links_of_the_site_lead_somewhere(site: dict[Path, Links]) -> None:
    for page, found in site.items():
        for address in map(urlsplit, found.links):
            if address.scheme or address.netloc or address.path == ".":
                continue
            target = within(page, address.path)
            assert target.exists(), f"{page.name}: {address.geturl()}"
            if address.fragment and target in site:
                assert unquote(address.fragment) in site[target].ids, f"{page.name}: {address.geturl()}"


def clicks(site: dict[Path, Links], start: Path, wanted: Path) -> int:
    """How many links lead from one page to another."""
    reached, border, count = {start}, {start}, 0
    while wanted not in reached:
        assert border, f"no link leads to {wanted.name}"
        border = {target for page in border for target in targets(site, page)} - reached
        reached, count = reached | border, count + 1
    return count


def targets(site: dict[Path, Links], page: Path) -> Iterator[Path]:
    for address in map(urlsplit, site[page].links):
        target = within(page, address.path)
        if not address.scheme and target in site:
            yield target


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("tutorials/enlarge.html", "gramgan upscale holiday/ -o larger/"),
        ("reference/commands.html", "--denoise 0…1"),
        ("reference/presets.html", "losses.adversarial"),
        ("project/cite.html", "10.3390/s23042098"),
    ],
)
def test_a_stranger_finds_it_in_three_clicks(site: dict[Path, Links], page: str, says: str) -> None:
    home = next(each for each in site if each.name == "index.html")
    wanted = home.parent / page
    assert says in site[wanted].text
    assert clicks(site, home, wanted) <= 3
