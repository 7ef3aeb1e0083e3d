"""`gramgan upscale`: make pictures larger."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramgan.cli.options import with_settings
from gramgan.upscaling.settings import Settings

if TYPE_CHECKING:
    from gramgan.upscaling.api import Upscaling
    from gramgan.upscaling.jobs import FolderJournal, Job

_FILES = "Files"
_LONGEST_PAUSE = 10.0  # seconds between two looks at what another process is doing


@with_settings
def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders that are searched with all their subfolders, patterns such as 'in/**/*.jpg', or "
            "- for standard input.",
            metavar="INPUT",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="For one input file: a file whose suffix chooses the format, or - for standard output. Otherwise, or "
            "without a suffix: a folder where results keep their names and places in the tree and are PNG, or TIFF or "
            "an animation if the input is.",
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
            help="Names of the results in a folder, of {stem}, {scale}, {model} and {suffix}: "
            '"{stem}_x{scale}{suffix}".',
            rich_help_panel=_FILES,
            metavar="TEMPLATE",
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave out pictures whose result is there.", rich_help_panel=_FILES),
    ] = False,
) -> None:
    """Make pictures larger, with synthesised texture.

    Depth, transparency, pages and frames, colour profile and EXIF are kept. An input is never overwritten. The same
    command again goes on where a stopped or crashed one was. Exit code 1: some pictures of several could not be done
    (they are listed at the end).
    """
    import contextlib
    import sys
    import time

    from gramgan.cli.streams import STREAM, input_file, output_file
    from gramgan.errors import UserError
    from gramgan.upscaling.api import Upscaling
    from gramgan.upscaling.jobs import FORMATS, NameTemplate, plan_jobs
    from gramgan.upscaling.model import DEFAULT_MODEL

    start = time.perf_counter()
    upscaling = Upscaling(settings)
    if STREAM in (output, *inputs) and (len(inputs) > 1 or name is not None):
        raise UserError("-: stands for one picture; give no other inputs and no --name with it")
    if form is not None and form not in FORMATS:
        raise UserError(f"format {form!r}: unknown; use {', '.join(FORMATS)}")
    template = None
    if name is not None:
        template = NameTemplate(
            name, str(upscaling.wanted), "auto" if upscaling.chooses else Path(settings.model or DEFAULT_MODEL).stem
        )

    with contextlib.ExitStack() as stack:
        sources: list[Path | str] = list(inputs)
        target = output
        if inputs == [STREAM]:
            sources = [stack.enter_context(input_file(sys.stdin.buffer))]
        if output == STREAM:
            target = str(stack.enter_context(output_file(sys.stdout.buffer, FORMATS[form or "png"])))
        jobs = plan_jobs(sources, target, form, template)
        alone = len(jobs) == 1 and Path(sources[0]) == jobs[0].source
        _run(upscaling, jobs, None if alone else Path(target), start, skip_existing, quiet=output == STREAM)


def _run(
    upscaling: "Upscaling", jobs: "list[Job]", folder: Path | None, start: float, skip_existing: bool, *, quiet: bool
) -> None:
    """Do all jobs and say how it went; `folder` is None for a file by itself, `quiet` keeps standard output clean."""
    import time

    from gramgan.cli.console import complain, say
    from gramgan.upscaling.jobs import FolderJournal

    tell = complain if quiet else say
    waiting = [job for job in jobs if not (skip_existing and job.target.exists())]
    there = len(jobs) - len(waiting)
    if not waiting:
        tell(f"{folder or jobs[0].target}: nothing to do, {_results(there)} there already")
        return
    if not upscaling.chooses:
        _ = upscaling.model  # opened before the first picture: what is wrong with it is wrong for all of them
    journal = None if folder is None else FolderJournal(folder, upscaling.key)
    finished = 0
    if journal is not None:
        unfinished = [job for job in waiting if not journal.holds(job)]
        finished = len(waiting) - len(unfinished)
        waiting = unfinished
        if finished:
            tell(f"{folder}: going on with a job that was stopped; {_results(finished)} done already")

    try:
        failures, elsewhere = _do(upscaling, waiting, journal)
    except KeyboardInterrupt:
        complain("stopped; the same command again goes on from here")
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


def _do(upscaling: "Upscaling", jobs: "list[Job]", journal: "FolderJournal | None") -> tuple[list[str], int]:
    """Do the jobs; `journal` is None for a file by itself.

    What another process is doing, or has done since this one began, is left to it.

    Returns:
        What failed, a line for each, and how many another process has done.

    Raises:
        UserError: the file by itself could not be done.
    """
    import time

    from gramgan.cli.console import progress_bar
    from gramgan.errors import BusyError, UserError, in_one_line

    before = {job: job.written() for job in jobs}
    failures: list[str] = []
    elsewhere, number, pause = 0, 0, 1.0
    waiting = jobs
    while waiting:
        busy = []
        for job in waiting:
            if journal is not None and job.written() != before[job]:
                elsewhere += 1
                continue
            number += 1
            label = job.source.name if journal is None else f"[{number}/{len(jobs)}] {job.source.name}"
            try:
                with progress_bar(label) as progress:
                    upscaling.file(job.source, job.target, progress)
                if journal is not None:
                    journal.add(job)
            except BusyError:
                if journal is None:
                    raise
                busy.append(job)
                number -= 1
            except UserError as error:
                if journal is None:
                    raise
                failures.append(in_one_line(error, job.source))
            except Exception as error:  # noqa: BLE001 (one odd file must not end the job)
                failures.append(in_one_line(error, job.source))
        if len(busy) == len(waiting):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        waiting = busy
    return failures, elsewhere


def _results(count: int) -> str:
    return f"{count} result{'s' * (count != 1)}"
