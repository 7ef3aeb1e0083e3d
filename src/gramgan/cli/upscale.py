"""`gramgan upscale`: make pictures larger."""

import contextlib
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramgan.cli.console import complain, progress_bar, say
from gramgan.cli.options import Ray, team_on, with_settings
from gramgan.errors import UserError, in_one_line
from gramgan.upscaling.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gramgan.team import Team
    from gramgan.upscaling.api import Upscaling
    from gramgan.upscaling.jobs import FolderJournal, Job, Stamp
    from gramgan.upscaling.spread import Outcome

_FILES = "Files"
_LONGEST_PAUSE = 10.0  # seconds between two looks at what another process is doing


@with_settings
def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders (with all their subfolders), patterns such as 'in/**/*.jpg', or - for "
            "standard input.",
            metavar="INPUT",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="For one input file: a file, whose suffix chooses the format, or - for standard output. "
            "Otherwise, or without a suffix: a folder, where results keep their names and places in the tree. "
            "There TIFFs stay TIFF, animations stay animations, and everything else becomes PNG.",
            metavar="OUT",
            show_default=False,
        ),
    ],
    settings: Settings,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of the results: png, jpg, webp, tiff, avif or gif.",
            rich_help_panel=_FILES,
            metavar="FORMAT",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Names of the results in a folder, made of {stem}, {scale}, {model}, {source_suffix} and "
            '{suffix}: "{stem}_x{scale}{suffix}".',
            rich_help_panel=_FILES,
            metavar="TEMPLATE",
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Skip pictures whose result exists.", rich_help_panel=_FILES),
    ] = False,
    ray: Ray = None,
) -> None:
    """Enlarge pictures with synthesised texture.

    Results keep depth, transparency, pages, frames, colour profile and EXIF. No input is overwritten. After a stop or
    a crash, the same command continues. Exit code 1: some of several pictures failed; they are listed at the end.
    """
    from gramgan.cli.streams import STREAM, input_file, output_file
    from gramgan.places import as_place
    from gramgan.upscaling.api import Upscaling
    from gramgan.upscaling.jobs import RESULT_SUFFIXES, NameTemplate, plan_jobs
    from gramgan.upscaling.model import DEFAULT_MODEL
    from gramgan.upscaling.spread import by_tiles

    start = time.perf_counter()
    device = settings.device
    if ray is not None and device == "cuda":  # the workers' GPUs; this machine need not have one
        settings = replace(settings, device="auto")
    upscaling = Upscaling(settings)
    if STREAM in (output, *inputs) and (len(inputs) > 1 or name is not None):
        raise UserError("-: stands for one picture; give no other inputs and no --name with it")
    if settings.texture_map and output == STREAM:
        raise UserError("texture_map: lies beside a result, and standard output has no place for it; leave it out")
    if form is not None and form not in RESULT_SUFFIXES:
        raise UserError(f"format {form!r}: unknown; use {', '.join(RESULT_SUFFIXES)}")
    template = None
    if name is not None:
        template = NameTemplate(
            name, str(upscaling.wanted), "auto" if upscaling.chooses else Path(settings.model or DEFAULT_MODEL).stem
        )

    with contextlib.ExitStack() as stack:
        team = stack.enter_context(team_on(ray, device, ("torch",)))  # first of all: its workers begin meanwhile
        sources: list[Path | str] = list(inputs)
        target = output
        if inputs == [STREAM]:
            sources = [stack.enter_context(input_file(sys.stdin.buffer))]
        if output == STREAM:
            target = str(stack.enter_context(output_file(sys.stdout.buffer, RESULT_SUFFIXES[form or "png"])))
        jobs = plan_jobs(sources, target, form, template)
        alone = len(jobs) == 1 and as_place(sources[0]) == jobs[0].source
        if team is not None:
            upscaling = Upscaling(settings, elsewhere=by_tiles(team, settings))
        _run(upscaling, jobs, None if alone else as_place(target), start, skip_existing, team, quiet=output == STREAM)


def _run(
    upscaling: "Upscaling",
    jobs: "list[Job]",
    folder: Path | None,
    start: float,
    skip_existing: bool,
    team: "Team | None",
    *,
    quiet: bool,
) -> None:
    """Do all jobs and say how it went; `folder` is None for a file by itself, `quiet` keeps standard output clean."""
    from gramgan.upscaling.jobs import FolderJournal, written

    tell = complain if quiet else say
    before = written(jobs, folder)
    waiting = [job for job in jobs if not (skip_existing and before[job])]
    there = len(jobs) - len(waiting)
    if not waiting:
        tell(f"{folder or jobs[0].target}: nothing to do, {_results(there)} there already")
        return
    if not upscaling.chooses:
        _ = upscaling.model  # opened before the first picture: what is wrong with it is wrong for all of them
    journal = None if folder is None else FolderJournal(folder, upscaling.key)
    finished = 0
    if journal is not None:
        unfinished = [job for job in waiting if not journal.holds(job, before[job])]
        finished = len(waiting) - len(unfinished)
        waiting = unfinished
        if finished:
            tell(f"{folder}: going on with a job that was stopped; {_results(finished)} done already")

    try:
        failures, elsewhere = _do(upscaling, waiting, journal, before, folder, team)
    except KeyboardInterrupt:
        complain("stopped; the same command continues from here")
        raise typer.Exit(130) from None
    if journal is not None and not failures:
        journal.finish()

    seconds = time.perf_counter() - start
    for failure in failures:
        complain(f"failed: {failure}")
    if folder is None:
        if failures:
            raise typer.Exit(1)
        if not quiet:
            say(f"{jobs[0].target}: done in {seconds:.1f} s")
        return
    done = len(waiting) - len(failures) - elsewhere
    counts = [f"{done} of {len(jobs)} pictures done in {seconds:.1f} s"]
    if there:
        counts.append(f"{there} skipped (there already)")
    if finished:
        counts.append(f"{finished} done before")
    if elsewhere:
        counts.append(f"{elsewhere} done by another process")
    if failures:
        counts.append(f"{len(failures)} failed (listed above)")
    say(f"{folder}: {', '.join(counts)}")
    if failures:
        raise typer.Exit(1)


def _do(
    upscaling: "Upscaling",
    jobs: "list[Job]",
    journal: "FolderJournal | None",
    before: "dict[Job, Stamp | None]",
    folder: Path | None,
    team: "Team | None",
) -> tuple[list[str], int]:
    """Do the jobs; `journal` and `folder` are None for a file by itself, `before` says what was `written` at first.

    What another process is doing, or has done since this one began, is left to it.

    Returns:
        What failed, a line for each, and how many another process has done.

    Raises:
        UserError: the file by itself could not be done.
    """
    if journal is None:
        try:
            with progress_bar(jobs[0].source.name) as progress:
                upscaling.file(jobs[0].source, jobs[0].target, progress)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 (the log has the rest)
            return [in_one_line(error, jobs[0].source)], 0
        return [], 0
    failures: dict[Job, str] = {}
    elsewhere, pause = 0, 1.0
    waiting = jobs

    def untouched(these: "Iterable[Job]") -> "Iterator[Job]":
        nonlocal elsewhere
        for job in these:
            try:
                is_new = job.written() != before[job]
            except UserError:  # from a storage; the job itself will say it
                is_new = False
            if is_new:
                elsewhere += 1
            else:
                yield job

    while waiting:
        busy = []
        whole, cut = ([], waiting) if team is None else _divided(waiting, team, upscaling.settings.allow_huge)
        outcomes = chain(
            _by_workers(upscaling.settings, untouched(whole), len(whole), jobs[0].source.parent, folder, team),
            _here(upscaling, untouched(cut), len(jobs) - len(cut), len(jobs)),
        )
        for job, outcome in outcomes:
            if outcome.busy:
                busy.append(job)
            elif outcome.failed:
                failures[job] = outcome.failed
            else:
                try:
                    journal.add(job)
                except UserError as error:
                    failures[job] = str(error)
        if len(busy) == len(waiting):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        waiting = busy
    return [failures[job] for job in jobs if job in failures], elsewhere


def _divided(jobs: "list[Job]", team: "Team", allow_huge: bool) -> "tuple[list[Job], list[Job]]":
    """Pictures that are given to one worker each, and those that are cut among all of them."""
    from gramgan.upscaling.spread import is_large

    if len(jobs) < team.size:
        return [], jobs
    cut = [job for job in jobs if is_large(job)] if allow_huge else []
    return [job for job in jobs if job not in cut], cut


def _here(upscaling: "Upscaling", jobs: "Iterable[Job]", before: int, total: int) -> "Iterator[tuple[Job, Outcome]]":
    """One picture after the other, with a bar for each."""
    from gramgan.upscaling.spread import done

    for number, job in enumerate(jobs, start=before + 1):
        with progress_bar(f"[{number}/{total}] {job.source.name}") as progress:
            outcome = done(upscaling, job, progress)
        yield job, outcome


def _by_workers(
    settings: Settings, jobs: "Iterable[Job]", total: int, reads: Path, folder: Path | None, team: "Team | None"
) -> "Iterator[tuple[Job, Outcome]]":
    """Pictures as they arrive from the workers, with one bar for all."""
    from gramgan.upscaling.spread import PictureWork

    if team is None or not total:
        return
    given: list[Job] = []

    def noted() -> "Iterator[Job]":
        for job in jobs:
            given.append(job)
            yield job

    arriving = team.arriving(PictureWork(settings), noted(), reads=reads, into=folder)
    with progress_bar("upscaling") as progress:
        for done, (number, outcome) in enumerate(arriving, start=1):
            progress(done, total)
            yield given[number], outcome


def _results(count: int) -> str:
    return f"{count} result{'s' * (count != 1)}"
