"""From picture to picture: pages and frames, any scale, what surrounds the pixels, and going on after a crash."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gramgan import __version__
from gramgan.errors import UserError
from gramgan.hardware.allocator import keep_memory
from gramgan.images import MULTI_PAGE_SUFFIXES, PagesWriter, Raster, RasterInfo, RasterWriter, write_image
from gramgan.images.canvas import remove_steps
from gramgan.images.resize import resize_array
from gramgan.progress import Progress, silent
from gramgan.scientific.bands import parse_bands
from gramgan.scientific.base import Reading
from gramgan.scientific.detect import open_scientific
from gramgan.scientific.radiometry import parse_radiometry
from gramgan.scientific.record import fit_bands, fit_radiometry
from gramgan.upscaling.control import TEXTURE_THRESHOLD, Control
from gramgan.upscaling.engine import SCALE, Upscaler
from gramgan.upscaling.passes import Parts, comment, intermediates, report_residual, resume_key, run_passes, tell_plan
from gramgan.upscaling.scales import Scale, ScalePlan, parse_scale
from gramgan.upscaling.scientific import ScientificJob, upscale_scientific

if TYPE_CHECKING:
    from gramgan.upscaling.models import OpenModel

Icc = Literal["keep", "srgb"]
ICC = ("keep", "srgb")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a result but the picture itself; the options of `gramgan upscale`.

    Attributes:
        model: a name from `gramgan weights list` or a weight file; None for the default.
        scale: how many times larger, 1 to 64; None for 4, unless `size` is given.
        size: the result's size instead: `1920x1080`, or `1920x` or `x1080` to keep proportions.
        strength: 0 (the PSNR-oriented generator) to 1 (the texture generator): their weights are interpolated.
        psnr_model: that PSNR-oriented generator; None for the one that the model's card names.
        texture_mask: texture only where the input has some; elsewhere the bicubic enlargement.
        texture_threshold: grey levels of fine detail in the input where texture begins.
        consistency: the result, shrunk, is the input again; None: for scientific files, and where the card says so.
        bands: of scientific files, which the network sees together: `3,2,1`, `4`, `5:nearest` (see `scientific.bands`).
        radiometry: of scientific files, which values are black and white (see `scientific.radiometry`).
        cog: GeoTIFFs are written in the cloud-optimized layout.
        plain: take scientific files for ordinary pictures, where that can be read.
        icc: `keep` the colour profile, or convert to `srgb`.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        backend: `auto`, `torch`, `openvino` or `onnxruntime`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        tile: largest side of the used part of a tile, in input pixels; None: by the free memory.
        overlap: context around it, in input pixels; None: what the weights need.
        allow_huge: lift the limit that protects against decompression bombs.
    """

    model: str | Path | None = None
    scale: float | None = None
    size: str | None = None
    strength: float | None = None
    psnr_model: str | Path | None = None
    texture_mask: bool = False
    texture_threshold: float = TEXTURE_THRESHOLD
    consistency: bool | None = None
    bands: Sequence[str] = ()
    radiometry: str | None = None
    cog: bool = False
    plain: bool = False
    icc: str = "keep"
    quality: int = 95
    backend: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    tile: int | None = None
    overlap: int | None = None
    allow_huge: bool = False

    def check(self) -> Scale:
        """The scale, if all settings that need no weights are in range.

        Raises:
            UserError: one is not.
        """
        if self.icc not in ICC:
            raise UserError(f"icc {self.icc!r}: unknown; use {' or '.join(ICC)}")
        if not 1 <= self.quality <= 100:
            raise UserError(f"quality: {self.quality} is outside of 1 to 100")
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise UserError(
                f"strength: {self.strength} is outside of 0 to 1; 0 is the PSNR-oriented generator, 1 all texture"
            )
        if self.psnr_model is not None and self.strength is None:
            raise UserError(f"psnr_model {self.psnr_model}: has an effect only together with --strength; give both")
        self.control(by_default=False)
        reading = self.reading()
        if self.plain and reading.asked:
            raise UserError(f"{reading.asked[0]}: has no effect together with --plain; give one of them")
        return parse_scale(self.scale, self.size)

    def control(self, *, by_default: bool) -> Control | None:
        """What is done to every tile after the network, if anything.

        Args:
            by_default: whether results are consistent with the input where `consistency` does not say.

        Raises:
            UserError: the threshold is out of range.
        """
        threshold = self.texture_threshold if self.texture_mask else None
        consistent = by_default if self.consistency is None else self.consistency
        if threshold is None and not consistent:
            return None
        return Control(texture_threshold=threshold, consistent=consistent)

    def reading(self) -> Reading:
        """How scientific files are read.

        Raises:
            UserError: bands or radiometry are not readable.
        """
        return Reading(parse_bands(self.bands), parse_radiometry(self.radiometry), self.cog)


@dataclass(frozen=True)
class FileOptions:
    """What `upscale_file` needs besides an `Upscaler`.

    `control` is the refinement that the upscaler was made with, if its residual is to be reported; `resume_key` says
    which model and settings the upscaler has: with it, what a killed job left is continued. `scientific` is for
    scientific files; None takes them for pictures.
    """

    scale: Scale = Scale(factor=SCALE)  # noqa: RUF009 (frozen)
    to_srgb: bool = False
    quality: int = 95
    allow_huge: bool = False
    control: Control | None = None
    resume_key: str | None = None
    scientific: ScientificJob | None = None


def prepare(settings: Settings) -> "tuple[Upscaler, FileOptions, OpenModel]":
    """Open the weights and make everything that `upscale_file` needs for any number of files.

    Raises:
        UserError: a setting is out of range, or weights, backend or device are not there.
    """
    from gramgan.upscaling.models import DEFAULT_MODEL, open_model

    keep_memory()
    scale = settings.check()
    spec = DEFAULT_MODEL if settings.model is None else settings.model
    blend: tuple[str | Path, float] | None = None
    if settings.strength is not None and settings.strength < 1:
        blend = (settings.psnr_model or _partner(spec), settings.strength)
    model = open_model(
        spec, backend=settings.backend, precision=settings.precision, device=settings.device, blend=blend
    )
    overlap = model.card.overlap if settings.overlap is None else settings.overlap

    def refined(control: Control | None) -> Upscaler:
        context = overlap if control is None else control.overlap(overlap)
        return Upscaler(model.backend, name=model.name, overlap=context, tile=settings.tile, refine=control)

    asked = settings
    settings = dataclasses.replace(
        asked,
        bands=tuple(fit_bands(settings.bands, model.card.settings, model.name)),
        radiometry=fit_radiometry(settings.radiometry, model.card.settings, model.name),
    )
    control = settings.control(by_default=model.card.consistent)
    scientific_control = settings.control(by_default=True)
    key = _settings_key(settings, model.sha256, model.backend.name)
    learned = tuple(asked.bands) != settings.bands or asked.radiometry != settings.radiometry
    scientific = ScientificJob(
        upscaler=refined(scientific_control),
        control=scientific_control,
        scale=scale,
        reading=dataclasses.replace(settings.reading(), learned_by=model.name if learned else ""),
        model=model.name,
        settings=key,
    )
    options = FileOptions(
        scale=scale,
        to_srgb=settings.icc == "srgb",
        quality=settings.quality,
        allow_huge=settings.allow_huge,
        # Told where somebody asked for it; where it is the card's wish, a line for each picture would only be noise.
        control=control if settings.consistency else None,
        resume_key=key,
        scientific=None if settings.plain else scientific,
    )
    return refined(control), options, model


def upscale_file(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    options: FileOptions | None = None,
    progress: Progress | None = None,
) -> Path:
    """Enlarge a picture from file to file, with memory bounded by one row of tiles.

    Depth, grey, alpha, ICC profile, EXIF, XMP and resolution of the source go into the target as far as its format
    holds them, and a comment says that texture was synthesised. All pages or frames are done if the target's format
    holds several, else the first. Scales that are no power of the network's are reached by several passes and by
    shrinking (`scales.ScalePlan`), on a 16-bit or float picture in a hidden file beside the target.

    Args:
        upscaler: see `prepare`.
        source: an image file.
        target: where the result goes; its suffix chooses the format. Written whole or not at all.
        options: None: four times larger, the profile kept, nothing to go on with after a crash.
        progress: told (tiles done, tiles in all), of all pages and passes together.

    Returns:
        `target`.

    Raises:
        UserError: the source cannot be read, the target cannot be written or is the source itself, or the size that
            is asked for is out of range.
    """
    options = options or FileOptions()
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: this is the input itself; choose another name or folder for the output")
    if options.scientific is not None:
        file = open_scientific(source, options.scientific.reading, allow_huge=options.allow_huge)
        if file is not None:
            if options.to_srgb:
                file.close()
                raise UserError(f"{source}: icc srgb would change its values; leave it out for a {file.form}")
            with contextlib.closing(file):
                upscale_scientific(file, target, options.scientific, progress or silent)
            return target
    first = Raster.open(source, allow_huge=options.allow_huge, to_srgb=options.to_srgb)
    pages = first.info.pages
    if pages > 1 and target.suffix.lower() in MULTI_PAGE_SUFFIXES:
        _upscale_pages(upscaler, first, target, options, progress or silent)
        return target
    if pages > 1:
        _log.info("%s: %d images in it, and %s holds one: the first is done", source, pages, target.suffix)
    key = resume_key(source, options.resume_key)
    plan = _plan(first.info, options)
    writer = RasterWriter(target, plan.width, plan.height, **_form(first.info, plan, options), resume_key=key)
    remove_steps(target, intermediates(plan) + 1)
    with writer:
        run_passes(upscaler, first, writer, plan, key, options.control, Parts(progress or silent, plan).part)
    return target


def upscale(
    image: np.ndarray | Path | str,
    output: Path | str | None = None,
    *,
    model: str | Path | None = None,
    scale: float | None = None,
    size: str | None = None,
    strength: float | None = None,
    psnr_model: str | Path | None = None,
    texture_mask: bool = False,
    texture_threshold: float = TEXTURE_THRESHOLD,
    consistency: bool | None = None,
    bands: Sequence[str] = (),
    radiometry: str | None = None,
    cog: bool = False,
    plain: bool = False,
    icc: Icc = "keep",
    quality: int = 95,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    tile: int | None = None,
    overlap: int | None = None,
    allow_huge: bool = False,
    progress: Progress | None = None,
) -> np.ndarray | Path:
    """Make a picture larger, four times unless `scale` or `size` says otherwise.

    Opens the weights at every call; for many pictures call `prepare` once and `upscale_file` for each.

    Args:
        image: a file, or an array as NumPy and Pillow have it: `[H, W]` (grey) or `[H, W, C]` with C from 1 to 4 (the
            second or fourth channel is alpha); uint8, uint16, or float in [0, 1].
        output: a file to write instead of returning an array; its suffix chooses the format.
        model: this and all that follow: see `Settings`.
        scale: 1 to 64.
        size: such as `1920x1080`, `1920x` or `x1080`.
        strength: 0 to 1.
        psnr_model: a name or a weight file.
        texture_mask: texture only where the input has some.
        texture_threshold: in grey levels.
        consistency: the result, shrunk, is the input again; None: for scientific files, and where the card says so.
        bands: such as `["3,2,1", "4"]`.
        radiometry: a name or `LOW,HIGH`.
        cog: cloud-optimized GeoTIFFs.
        plain: scientific files as ordinary pictures.
        icc: `keep` or `srgb`.
        quality: 1 to 100.
        backend: `auto`, `torch`, `openvino` or `onnxruntime`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        tile: in input pixels.
        overlap: in input pixels.
        allow_huge: lift the size limit for files (see `Raster.open`).
        progress: told (tiles done, tiles in all).

    Returns:
        An array of the same dtype and number of dimensions (for a file: of the file's own depth, its first page), or
        the path `output`.

    Raises:
        UserError: a file cannot be read or written, weights are missing, or a setting is out of range.
        TypeError: an array of another dtype.
        ValueError: an array of another shape, or float values outside of [0, 1].
    """
    settings = Settings(
        model=model,
        scale=scale,
        size=size,
        strength=strength,
        psnr_model=psnr_model,
        texture_mask=texture_mask,
        texture_threshold=texture_threshold,
        consistency=consistency,
        bands=bands,
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
    asked = settings.reading().asked
    if asked and (isinstance(image, np.ndarray) or output is None):
        raise UserError(
            f"{asked[0]}: is for scientific files, from file to file; leave it out, or name a file and output"
        )
    pixels = _from_hwc(image) if isinstance(image, np.ndarray) else None
    upscaler, options, _ = prepare(settings)
    if isinstance(image, np.ndarray):
        assert pixels is not None
        result = _upscale_array(upscaler, pixels, "image", options, progress)
        if output is None:
            return _to_hwc(result, image.dtype, image.ndim == 3)
        bits: Literal[8, 16, 32] = 8 if image.dtype == np.uint8 else 16 if image.dtype == np.uint16 else 32
        write_image(output, result, bits=bits, quality=quality, comment=comment(options.scale))
        return Path(output)
    if output is not None:
        return upscale_file(upscaler, Path(image), Path(output), options, progress)
    raster = Raster.open(image, allow_huge=allow_huge, to_srgb=options.to_srgb)
    if raster.info.pages > 1:
        _log.info("%s: %d images in it: the first is done", image, raster.info.pages)
    result = _upscale_array(upscaler, raster.read(), str(image), options, progress)
    return _to_hwc(result, np.dtype(raster.info.dtype), raster.info.channels > 1)


def _upscale_array(
    upscaler: Upscaler, pixels: np.ndarray, name: str, options: FileOptions, progress: Progress | None
) -> np.ndarray:
    """A picture in memory by all passes: `[C, H, W]` in [0, 1] → `[C, height, width]` in [0, 1]."""
    has_alpha = pixels.shape[0] in (2, 4)
    plan = options.scale.plan(pixels.shape[2], pixels.shape[1], name)
    tell_plan(name, plan, options.scale)
    parts = Parts(progress or silent, plan)
    for number, stage in enumerate(plan.stages):
        if pixels.shape[1:] != (stage.height, stage.width):
            pixels = resize_array(pixels, stage.width, stage.height, has_alpha)
        pixels = upscaler.upscale_array(pixels, parts.part(number))
        report_residual(name, number, plan, options.control)
    return pixels if plan.native else resize_array(pixels, plan.width, plan.height, has_alpha)


def _upscale_pages(upscaler: Upscaler, first: Raster, target: Path, options: FileOptions, progress: Progress) -> None:
    pages = first.info.pages
    plan = _plan(first.info, options)
    parts = Parts(progress, plan, pages)
    key = resume_key(first.info.path, options.resume_key)
    with PagesWriter(target, animation=first.info.animation, resume_key=key) as writer:
        for page in range(pages):
            if writer.skip_finished():
                continue
            raster = first
            if page:
                raster = Raster.open(first.info.path, page=page, allow_huge=options.allow_huge, to_srgb=options.to_srgb)
                plan = options.scale.plan(raster.info.width, raster.info.height, str(raster.info.path))
            with writer.page(plan.width, plan.height, **_form(raster.info, plan, options)) as one:
                offset = page * parts.stages
                run_passes(
                    upscaler,
                    raster,
                    one,
                    plan,
                    None,
                    options.control,
                    lambda stage, offset=offset: parts.part(offset + stage),
                )


def _plan(info: RasterInfo, options: FileOptions) -> ScalePlan:
    plan = options.scale.plan(info.width, info.height, str(info.path))
    tell_plan(str(info.path), plan, options.scale)
    return plan


def _form(info: RasterInfo, plan: ScalePlan, options: FileOptions) -> "dict":
    return {
        "like": info,
        "colour_channels": info.colour_channels,
        "has_alpha": info.has_alpha,
        "bits": info.bits,
        "quality": options.quality,
        "comment": comment(options.scale),
    }


def _partner(spec: str | Path) -> str | Path:
    from gramgan.weights.interpolate import find_partner  # imports torch, which blending needs anyway

    return find_partner(spec)


def _settings_key(settings: Settings, weights: str, backend: str) -> str:
    """What decides the pixels; not what only decides how they are encoded, or how fast they come."""
    values = dataclasses.asdict(settings)
    for name in ("allow_huge", "tile", "overlap"):  # the engine's plan holds the last two
        del values[name]
    return json.dumps({"version": __version__, "weights": weights, "backend": backend, **values}, default=str)


def _from_hwc(image: np.ndarray) -> np.ndarray:
    """A user's array as float32 `[C, H, W]` in [0, 1]."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise ValueError(f"an image array must be [H, W] or [H, W, C] with 1 to 4 channels, not {list(image.shape)}")
    if image.dtype in (np.uint8, np.uint16):
        pixels = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    elif image.dtype.kind == "f":
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise ValueError("a float image must be finite and in [0, 1]; scale or clip it first")
        pixels = image.astype(np.float32)
    else:
        raise TypeError(f"an image array must be uint8, uint16 or float, not {image.dtype}")
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def _to_hwc(pixels: np.ndarray, dtype: np.dtype, with_channels: bool) -> np.ndarray:
    """float32 `[C, H, W]` in [0, 1] in the user's dtype, as `[H, W, C]` or `[H, W]`."""
    image = pixels.transpose(1, 2, 0) if with_channels else pixels[0]
    if dtype.kind == "f":
        return np.ascontiguousarray(image, dtype=dtype)
    white = np.iinfo(dtype).max
    return np.ascontiguousarray(np.floor(image * white + 0.5).astype(dtype))
