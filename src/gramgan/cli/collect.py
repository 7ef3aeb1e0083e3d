"""`gramgan collect`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramgan.cli.console import progress_bar, say
from gramgan.cli.options import Ray, team_on
from gramgan.errors import UserError

if TYPE_CHECKING:
    from gramgan.collect import Collected
    from gramgan.collect.services import Service

_SHOWN = 10  # lines about files left out; all of them are in left-out.csv


def collect(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to fill; files that are there stay.")] = Path(
        "downloaded_images"
    ),
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Take the photographs of this folder (default: sample photographs)."
        ),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option("--search", metavar="WORDS", help="Search Openverse and Wikimedia Commons; may be repeated."),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="With --search: only openverse, or only commons. May be repeated."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            "--accept",
            metavar="CODES",
            help="With --search: licences to accept, of cc0, pdm, by, by-sa, by-nc, by-nd, by-nc-sa, by-nc-nd "
            "(default: cc0,pdm,by).",
        ),
    ] = None,
    urls: Annotated[
        Path | None,
        typer.Option(
            "--urls",
            metavar="FILE",
            help="Download the addresses in this file: one a line, or a .csv with a column url.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Download a data set: div2k (4 GB) or flickr2k (more than 10 GB).")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="With --search, --urls: stop at so many photographs (default: 100; all of --urls).",
        ),
    ] = None,
    min_size: Annotated[
        int, typer.Option("--min-size", min=1, help="Leave out images with fewer pixels than this in either direction.")
    ] = 192,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="With --from, --urls: the licence of these photographs, for the manifest."),
    ] = None,
    contact: Annotated[
        str,
        typer.Option(
            "--contact",
            help="Your mail address or page, sent with each request: Wikimedia asks that of programs that fetch much.",
        ),
    ] = "",
    allow_huge: Annotated[
        bool, typer.Option("--allow-huge", help="With --from: accept images above 256 megapixels.")
    ] = False,
    ray: Ray = None,
) -> None:
    """Fill a folder with photographs to train on; manifest.csv lists their sources and licences."""
    from gramgan.collect import collect_folder, collect_samples

    ways = {"--from": source, "--search or --urls": search or urls, "--dataset": dataset}
    chosen = [name for name, value in ways.items() if value]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]}: these are different sources; run the command once for each")
    _refuse_misplaced(search, service, accept, urls, limit, licence, source)
    from_net = bool(search or urls or dataset)
    if contact and not from_net:
        raise UserError("--contact: nothing is fetched from the net; leave it out")
    if allow_huge and from_net:
        raise UserError("--allow-huge: files from the net are never that large; leave it out")
    if ray is not None and source is None:
        raise UserError("--ray: it is for the photographs of a folder; use it together with --from")
    if search or urls:
        result = _from_net(output, search or [], service, accept, urls, limit, min_size, licence, contact)
    elif dataset:
        result = _from_archives(output, dataset, min_size, contact)
    else:
        with team_on(ray) as team, progress_bar("collecting") as progress:
            if source is None:
                result = collect_samples(output, min_size=min_size, progress=progress)
            else:
                result = collect_folder(
                    source,
                    output,
                    min_size=min_size,
                    licence=licence or "not stated",
                    allow_huge=allow_huge,
                    progress=progress,
                    team=team,
                )
    for one in result.left_out[:_SHOWN]:
        say(f"left out: {one.file}: {one.reason}")
    if len(result.left_out) > _SHOWN:
        say(f"left out: {len(result.left_out) - _SHOWN} more, listed in {output / 'left-out.csv'}")
    sides = Counter(entry.split for entry in result.entries)
    say(
        f"{len(result.entries)} photographs ({result.new} new, {len(result.left_out)} left out): "
        f"{sides['train']} to train on, {sides['holdout']} to judge by"
    )
    say(f"photographs: {output}, listed with their licences in {output / 'manifest.csv'}")


def _refuse_misplaced(
    search: list[str] | None,
    service: list[str] | None,
    accept: str | None,
    urls: Path | None,
    limit: int | None,
    licence: str | None,
    source: Path | None,
) -> None:
    """An option that would have no effect is a misunderstanding."""
    if licence is not None and source is None and urls is None:
        what = "--accept chooses among those" if search else "use it together with --from or --urls"
        raise UserError(f"--licence: these photographs have their own licences; {what}")
    for name, value in (("--service", service), ("--accept", accept)):
        if value and not search:
            raise UserError(f"{name}: it belongs to --search; give words to search for")
    if limit is not None and not search and not urls:
        raise UserError("--limit: it belongs to --search and --urls; leave it out")


def _from_net(
    output: Path,
    search: list[str],
    service: list[str] | None,
    accept: str | None,
    urls: Path | None,
    limit: int | None,
    min_size: int,
    licence: str | None,
    contact: str,
) -> "Collected":
    from gramgan.collect.addresses import read_addresses
    from gramgan.collect.licences import PERMISSIVE, parse_codes
    from gramgan.collect.net import LIMIT, collect_found, polite
    from gramgan.collect.services.base import Query

    codes = parse_codes(accept) if accept else PERMISSIVE
    listed = read_addresses(urls, licence or "not stated") if urls else []
    searches = [(each, Query(words, codes, min_size)) for words in search for each in _services(service)]
    if limit is None:
        limit = LIMIT if search else len(listed)
    with progress_bar("collecting") as progress:
        return collect_found(
            output, searches, listed, manners=polite(contact), limit=limit, min_size=min_size, progress=progress
        )


def _services(names: list[str] | None) -> "list[Service]":
    from gramgan.collect.services import SERVICES

    unknown = [name for name in names or [] if name not in SERVICES]
    if unknown:
        raise UserError(f"--service {unknown[0]}: no such service; choose from {', '.join(SERVICES)}")
    return [SERVICES[name] for name in dict.fromkeys(names or SERVICES)]


def _from_archives(output: Path, name: str, min_size: int, contact: str) -> "Collected":
    from gramgan.collect.datasets import DATASETS, fetch_archives, unpack_archives
    from gramgan.collect.net import polite

    if name not in DATASETS:
        raise UserError(f"--dataset {name}: no such data set; choose from {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    say(f"terms: {dataset.terms}")
    with progress_bar("downloading") as progress:
        archives = fetch_archives(dataset, output, manners=polite(contact), progress=progress)
    with progress_bar("unpacking") as progress:
        return unpack_archives(dataset, archives, output, min_size=min_size, progress=progress)
