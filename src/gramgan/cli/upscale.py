"""`gramgan upscale`: make pictures larger."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gramgan.upscaling.files import Settings
    from gramgan.upscaling.jobs import Job

_SIZE, _CONTROL, _SCIENTIFIC, _FILES, _MACHINE = "Size", "Texture", "Scientific files", "Files", "Machine"


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
    model: Annotated[
        str | None,
        typer.Option(help="Known weights (`gramgan weights list`) or a weight file.", metavar="NAME|PATH"),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="How many times larger, 1 to 64. The network does 4; the rest is repeated passes and shrinking. "
            "(default: 4)",
            rich_help_panel=_SIZE,
            metavar="FACTOR",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Size of the results in pixels instead; 1920x or x1080 keeps the proportions.",
            rich_help_panel=_SIZE,
            metavar="WxH",
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="From 0, the PSNR-oriented generator, to 1, all texture: the weights are interpolated.",
            rich_help_panel=_CONTROL,
            metavar="0…1",
        ),
    ] = None,
    psnr_model: Annotated[
        str | None,
        typer.Option(
            help="The PSNR-oriented generator for --strength, if the weights' card names none.",
            rich_help_panel=_CONTROL,
            metavar="NAME|PATH",
        ),
    ] = None,
    texture_mask: Annotated[
        bool,
        typer.Option(
            "--texture-mask",
            help="Texture only where the input has some; what is smooth or out of focus is enlarged bicubically.",
            rich_help_panel=_CONTROL,
        ),
    ] = False,
    texture_threshold: Annotated[
        float | None,
        typer.Option(
            help="Grey levels of fine detail in the input where texture begins for --texture-mask; more for noisy "
            "pictures. (default: 1)",
            rich_help_panel=_CONTROL,
            metavar="LEVELS",
            show_default=False,
        ),
    ] = None,
    consistency: Annotated[
        bool | None,
        typer.Option(
            "--consistency/--no-consistency",
            help="Make results that, shrunk again, are the input (back-projection). For clean input: noise and JPEG "
            "blocks come back too. (default: for scientific files, and for weights whose card says so)",
            rich_help_panel=_CONTROL,
            show_default=False,
        ),
    ] = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            help="Bands that the network sees as red, green and blue (3,2,1), one by itself (4), or classes that are "
            "repeated and not drawn (5:nearest); give it once for each group, the others stand alone. (default: what "
            "the file says)",
            rich_help_panel=_SCIENTIFIC,
            metavar="R,G,B|N",
            show_default=False,
        ),
    ] = None,
    radiometry: Annotated[
        str | None,
        typer.Option(
            help="Stored values that are black and white: LOW,HIGH, full, reflectance, sentinel-2 (offset since "
            "baseline 04.00), minmax or percentile. (default: what the file says, or all of an unsigned type)",
            rich_help_panel=_SCIENTIFIC,
            metavar="NAME|LOW,HIGH",
            show_default=False,
        ),
    ] = None,
    cog: Annotated[
        bool, typer.Option("--cog", help="Write cloud-optimized GeoTIFFs.", rich_help_panel=_SCIENTIFIC)
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Take GeoTIFF, OME and ImageJ files for ordinary pictures and lose what they say besides.",
            rich_help_panel=_SCIENTIFIC,
        ),
    ] = False,
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
    quality: Annotated[
        int, typer.Option(help="Of JPEG, WebP and AVIF, 1 to 100.", rich_help_panel=_FILES, metavar="Q")
    ] = 95,
    icc: Annotated[
        str,
        typer.Option(help="Colour profile: keep it, or convert to srgb.", rich_help_panel=_FILES, metavar="keep|srgb"),
    ] = "keep",
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Leave out pictures whose result is there.", rich_help_panel=_FILES),
    ] = False,
    allow_huge: Annotated[
        bool,
        typer.Option(
            "--allow-huge", help="Read images above the size limit, if you trust them.", rich_help_panel=_FILES
        ),
    ] = False,
    backend: Annotated[
        str,
        typer.Option(
            help="torch, openvino or onnxruntime; auto takes the fastest that is right on this machine.",
            rich_help_panel=_MACHINE,
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, bf16 or fp16; auto takes what is fast and right on this machine.", rich_help_panel=_MACHINE
        ),
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=_MACHINE)] = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            help="Largest side of a tile in input pixels; smaller takes less memory. (default: by the free memory)",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Context around a tile in input pixels. (default: what the weights need)",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make pictures larger, with synthesised texture.

    Depth, transparency, pages and frames, colour profile and EXIF are kept. An input is never overwritten. The same
    command again goes on where a stopped or crashed one was. Exit code 1: some pictures of several could not be done
    (they are listed at the end).
    """
    import contextlib
    import sys
    import time

    from gramgan.errors import UserError
    from gramgan.upscaling.control import TEXTURE_THRESHOLD
    from gramgan.upscaling.files import Settings
    from gramgan.upscaling.jobs import FORMATS, NameTemplate, plan_jobs
    from gramgan.upscaling.models import DEFAULT_MODEL
    from gramgan.upscaling.streams import STREAM, input_file, output_file

    start = time.perf_counter()
    if texture_threshold is not None and not texture_mask:
        raise UserError(
            f"texture_threshold {texture_threshold:g}: has an effect only together with --texture-mask; give both"
        )
    settings = Settings(
        model=model,
        scale=scale,
        size=size,
        strength=strength,
        psnr_model=psnr_model,
        texture_mask=texture_mask,
        texture_threshold=TEXTURE_THRESHOLD if texture_threshold is None else texture_threshold,
        consistency=consistency,
        bands=bands or (),
        radiometry=radiometry,
        cog=cog,
        plain=plain,
        icc=icc,
        quality=quality,
        backend=backend,
        precision=precision,
        device=device,
        tile=tile,
        overlap=overlap,
        allow_huge=allow_huge,
    )
    factor = settings.check()
    if STREAM in (output, *inputs) and (len(inputs) > 1 or name is not None):
        raise UserError("-: stands for one picture; give no other inputs and no --name with it")
    if form is not None and form not in FORMATS:
        raise UserError(f"format {form!r}: unknown; use {', '.join(FORMATS)}")
    template = None
    if name is not None:
        template = NameTemplate(name, scale=str(factor), model=Path(model or DEFAULT_MODEL).stem)

    with contextlib.ExitStack() as stack:
        sources: list[Path | str] = list(inputs)
        target = output
        if inputs == [STREAM]:
            sources = [stack.enter_context(input_file(sys.stdin.buffer))]
        if output == STREAM:
            target = str(stack.enter_context(output_file(sys.stdout.buffer, FORMATS[form or "png"])))
        jobs = plan_jobs(sources, target, form, template)
        alone = len(jobs) == 1 and Path(sources[0]) == jobs[0].source
        _run(settings, jobs, None if alone else Path(target), start, skip_existing, quiet=output == STREAM)


def _run(
    settings: "Settings", jobs: "list[Job]", folder: Path | None, start: float, skip_existing: bool, *, quiet: bool
) -> None:
    """Do all jobs and say how it went; `folder` is None for a file by itself, `quiet` keeps standard output clean."""
    import sys
    import time

    from gramgan.cli.console import progress_bar, say
    from gramgan.errors import UserError
    from gramgan.upscaling.files import prepare, upscale_file
    from gramgan.upscaling.folder_journal import FolderJournal

    def tell(text: str) -> None:
        if quiet:
            print(text, file=sys.stderr)
        else:
            say(text)

    waiting = [job for job in jobs if not (skip_existing and job.target.exists())]
    there = len(jobs) - len(waiting)
    if not waiting:
        tell(f"{folder or jobs[0].target}: nothing to do, {_results(there)} there already")
        return
    upscaler, options, model = prepare(settings)
    if settings.model is None:
        tell(f"No --model given: using {model.name} ({model.card.licence}).")
    journal = None if folder is None else FolderJournal(folder, options.resume_key or "")
    finished = 0
    if journal is not None:
        unfinished = [job for job in waiting if not journal.holds(job)]
        finished = len(waiting) - len(unfinished)
        waiting = unfinished
        if finished:
            tell(f"{folder}: going on with a job that was stopped; {_results(finished)} done already")

    failures: list[UserError] = []
    try:
        for number, job in enumerate(waiting, start=1):
            picture = job.source.name
            try:
                with progress_bar(picture if folder is None else f"[{number}/{len(waiting)}] {picture}") as progress:
                    upscale_file(upscaler, job.source, job.target, options, progress)
                if journal is not None:
                    journal.add(job)
            except UserError as error:
                if folder is None:
                    raise
                failures.append(error)
    except KeyboardInterrupt:
        print("stopped; the same command again goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    if journal is not None and not failures:
        journal.finish()

    seconds = time.perf_counter() - start
    for error in failures:
        print(f"failed: {error}", file=sys.stderr)
    if folder is None:
        if not quiet:
            say(f"{jobs[0].target}: done in {seconds:.1f} s")
        return
    counts = [f"{len(waiting) - len(failures)} of {len(jobs)} pictures done in {seconds:.1f} s"]
    if there:
        counts.append(f"{there} skipped (there already)")
    if finished:
        counts.append(f"{finished} done before")
    if failures:
        counts.append(f"{len(failures)} failed (listed above)")
    say(f"{folder}: {', '.join(counts)}")
    if failures:
        raise typer.Exit(1)


def _results(count: int) -> str:
    return f"{count} result{'s' * (count != 1)}"
