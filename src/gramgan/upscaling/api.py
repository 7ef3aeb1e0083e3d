"""The front door: pictures enlarged with some settings, from file to file or as arrays."""

import functools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from gramgan import __version__
from gramgan.arguments import checked, checked_methods
from gramgan.condition import Condition, measure, of_file
from gramgan.condition.container import lossy_container
from gramgan.errors import UserError
from gramgan.images import Raster, write_image
from gramgan.images.formats.tiff import TIFF
from gramgan.images.strips import look_through
from gramgan.places import as_place
from gramgan.progress import Progress, silent
from gramgan.scientific.detect import scientific_kind
from gramgan.scientific.sidecars import carry_place
from gramgan.upscaling.engine import Elsewhere, Upscaler
from gramgan.upscaling.measured import EVERYTHING, Measured
from gramgan.upscaling.model import DEFAULT_MODEL, PHOTO_MODEL, OpenModel, open_model
from gramgan.upscaling.passes import Enlarger, Scale, comment
from gramgan.upscaling.refine import TEXTURE_THRESHOLD, Refine
from gramgan.upscaling.settings import Decides, Settings
from gramgan.weights.catalog import KNOWN

if TYPE_CHECKING:
    from gramgan.upscaling.texture_memory import TextureMemory
    from gramgan.upscaling.textures import Textures

_log = logging.getLogger(__name__)


@overload
def upscale(
    image: np.ndarray | Path | str,
    output: None = None,
    settings: Settings = ...,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> np.ndarray: ...
@overload
def upscale(
    image: np.ndarray | Path | str,
    output: Path | str,
    settings: Settings = ...,
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> Path: ...
@checked
def upscale(
    image: np.ndarray | Path | str,
    output: Path | str | None = None,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    *,
    progress: Progress | None = None,
    **changes: Any,
) -> np.ndarray | Path:
    """Make a picture larger, as many times as its weights do (ours: four) unless `scale` or `size` says otherwise.

    Opens the weights at every call; for many pictures make one `gramgan.Upscaling` and call its methods for each.

    Args:
        image: a file, or an array as NumPy and Pillow have it: `[H, W]` (grey) or `[H, W, C]` with C from 1 to 4 (the
            second or fourth channel is alpha); uint8, uint16, or float in [0, 1].
        output: a file to write instead of returning an array; its suffix chooses the format.
        settings: see `Settings`.
        progress: told (tiles done, tiles in all).
        changes: single settings by name, such as `scale=2`; they take the place of those in `settings`.

    Returns:
        An array of the same dtype and number of dimensions (for a file: of the file's own depth, its first page), or
        the path `output`.

    Raises:
        UserError: a file cannot be read or written, weights are missing, a setting is out of range, or an array has
            another dtype, shape or range.
        TypeError: there is no such setting.
    """
    settings = replace(settings, **changes)
    if settings.scientific and (isinstance(image, np.ndarray) or output is None):
        raise UserError(
            f"{settings.scientific[0]}: is for scientific files, from file to file; leave it out, or name a file and "
            "output"
        )
    if settings.texture_map and (isinstance(image, np.ndarray) or output is None):
        raise UserError("texture_map: lies beside a result; leave it out, or enlarge from file to file")
    upscaling = Upscaling(settings)
    if isinstance(image, np.ndarray):
        pixels = _from_hwc(image)
        enlarger = upscaling.enlarger(_seen_in(pixels), "image")
        result = enlarger.array(pixels, "image", progress or silent)
        if output is None:
            return _to_hwc(result, image.dtype, image.ndim == 3)
        bits: Literal[8, 16, 32] = 8 if image.dtype == np.uint8 else 16 if image.dtype == np.uint16 else 32
        said = comment(enlarger.scale, enlarger.origin)
        write_image(output, result, bits=bits, quality=settings.quality, comment=said)
        return as_place(output)
    if output is not None:
        return upscaling.file(image, output, progress)
    raster = upscaling.open(as_place(image))
    if raster.info.pages > 1:
        _log.info("%s: %d images in it: the first is done", image, raster.info.pages)
    for note in (*raster.info.notes, *filter(None, [look_through(raster)])):
        _log.warning("%s: %s", image, note)
    enlarger = upscaling.enlarger(_seen_of(as_place(image), settings), str(image))
    result = enlarger.array(raster.read(), str(image), progress or silent)
    return _to_hwc(result, np.dtype(raster.info.dtype), raster.info.channels > 1)


@dataclass(frozen=True)
class PictureHistory:
    """What a picture has been through: its condition, and the lossy format other than JPEG that it is stored in."""

    condition: Condition
    stored: str | None = None

    def __str__(self) -> str:
        """Such as `noise 6, JPEG quality about 70`."""
        return ", ".join(filter(None, (self.condition.describe(), self.stored)))

    @property
    def clean(self) -> bool:
        """Neither noise nor compression that enlarging would show."""
        return self.condition.clean and not self.stored

    @property
    def as_people_have_them(self) -> bool:
        """Whether it is for the weights that were trained on photographs out of cameras and off the web.

        A fine JPEG counts: it may have been a coarse one before. So does what is blurred or was enlarged: the others
        take it for sharp, and leave it as it is.
        """
        return not self.clean or self.condition.jpeg is not None or self.condition.too_large


@dataclass(frozen=True)
class _Opened:
    """Weights that are ready to run, and the engine that runs them on pictures of any size."""

    model: OpenModel
    engine: Upscaler


@checked_methods
class Upscaling:
    """Pictures enlarged with some settings; weights are opened when a picture first needs them, and kept.

    Not for several threads at once.
    """

    def __init__(
        self,
        settings: Settings,
        model: OpenModel | None = None,
        elsewhere: Callable[[str | Path], Elsewhere] | None = None,
    ) -> None:
        """Check the settings.

        Args:
            settings: what decides the results.
            model: weights that are open already; None for those that the settings name.
            elsewhere: of weights, by name or file, who computes tiles with them; None for this process.

        Raises:
            UserError: a setting is out of range.
        """
        self.settings = settings
        self.scale = settings.check()
        self._elsewhere = elsewhere
        self._given = None if model is None else self._ready(model, None)
        self._known: dict[str | Path, _Opened] = {}
        _refine(settings, None)
        if settings.scientific:
            from gramgan.upscaling.scientific import reading_of

            reading_of(settings)

    @property
    def model(self) -> OpenModel:
        """The weights of this job.

        Raises:
            UserError: weights, backend or device are not there, or tile and overlap are out of range.
        """
        return self._weights().model

    @property
    def wanted(self) -> Scale:
        """The scale of the results; by default that of the weights.

        Raises:
            UserError: see `model`.
        """
        decided = self.chooses or not self.scale.by_factor or self.scale.factor is not None
        return self.scale if decided else self.scale.on(self.model.card.scale, self.model.name)

    @property
    def key(self) -> str:
        """A text that only jobs with equal results have in common, as far as it depends on settings and weights."""
        if not self.chooses:
            return self._key(self.model, "pixels", "file")
        weights = [KNOWN[name].files[0].sha256 for name in (DEFAULT_MODEL, PHOTO_MODEL)]
        made = {"version": __version__, "weights": weights, "textures": self._textures and self._textures.identity}
        return json.dumps({**made, **self.settings.deciding("pixels", "file")}, default=str)

    def open(self, source: Path, page: int = 0) -> Raster:
        """Open a picture for enlarging. Raises what `Raster.open` raises."""
        settings = self.settings
        return Raster.open(source, page=page, allow_huge=settings.allow_huge, to_srgb=settings.icc == "srgb")

    def array(self, pixels: np.ndarray, name: str, progress: Progress | None = None) -> np.ndarray:
        """Enlarge a picture in memory.

        Args:
            pixels: float32 `[C, H, W]` in [0, 1]; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
            name: of the picture, for messages.
            progress: told (tiles done, tiles in all), of all passes together.

        Returns:
            float32 `[C, height, width]` in [0, 1].

        Raises:
            UserError: values that are not finite, a size out of range, or no memory for even the smallest tile.
        """
        return self.enlarger(_seen_in(pixels), name).array(pixels, name, progress or silent)

    def file(self, source: Path | str, target: Path | str, progress: Progress | None = None) -> Path:
        """Enlarge a picture from file to file, with memory bounded by one row of tiles.

        Depth, grey, alpha, ICC profile, EXIF, XMP and resolution of the source go into the target as far as its format
        holds them, and a comment says that texture was synthesised. All pages or frames are done if the target's format
        holds several, else the first. Scales that are no power of the network's are reached by several passes and by
        shrinking (`passes.PassPlan`), on a 16-bit or float picture in a hidden file beside the target. What a killed
        job with equal settings left is gone on with.

        Args:
            source: an image file.
            target: where the result goes; its suffix chooses the format. Written whole or not at all.
            progress: told (tiles done, tiles in all), of all pages and passes together.

        Returns:
            `target`, as a path.

        Raises:
            UserError: the source cannot be read, the target cannot be written or is the source itself, or the size that
                is asked for is out of range.
        """
        source, target = as_place(source), as_place(target)
        if target.exists() and source.exists() and target.samefile(source):
            raise UserError(f"{target}: this is the input itself; choose another name or folder for the output")
        if self._scientific(source, target, progress or silent):
            return target
        note = look_through(self.open(source))
        if note is not None:
            _log.warning("%s: %s", source, note)

        def enlarger(page: int) -> Enlarger:
            name = f"{source}: page {page + 1}" if page else str(source)
            return self.enlarger(_seen_of(source, self.settings, page), name)

        quality = self.settings.quality
        enlarger(0).file(lambda page: self.open(source, page), target, quality, progress or silent, enlarger)
        carry_place(source, target)
        return target

    def _scientific(self, source: Path, target: Path, progress: Progress) -> bool:
        """Enlarge `source` if it is a scientific file, or asked or made to be one by the weights; whether it was."""
        settings = self.settings
        if settings.plain:
            return False
        learned = False
        if not self.chooses:
            card = self.model.card
            learned = bool(card.settings.get("bands") or card.settings.get("radiometry"))
        if not (settings.scientific or learned or _is_scientific(source, target)):
            return False
        if settings.textures is not None:
            raise UserError(
                f"{source}: textures are for photographs, and this is a scientific file; leave --textures out, or give "
                "--plain"
            )
        from gramgan.upscaling.scientific import upscale_scientific

        return upscale_scientific(source, target, settings, self.model, self.enlarger(), progress)

    def enlarger(self, seen: PictureHistory | None = None, name: str = "") -> Enlarger:
        """The enlarger for the pictures of one file: weights and refinement.

        Args:
            seen: what the picture has been through; None for a scientific file, all of whose values were measured.
            name: of the picture, for the log.

        Raises:
            UserError: see `model`.
        """
        settings, opened = self.settings, self._weights(seen)
        measured = None if settings.consistency is False else EVERYTHING
        if seen is not None:
            level = logging.INFO if self.chooses else logging.DEBUG
            _log.log(level, "%s: %s: %s", name, seen, opened.model.name)
            if settings.consistency is None:
                measured = Measured.of(seen.condition, settings.denoise)
                if measured is EVERYTHING and not (seen.clean and opened.model.card.consistent):
                    measured = Measured(fine=0)  # these weights may see what bicubic shrinking does not: colours alone
        # Told where somebody asked for it; where it is the default, a line for each picture would only be noise.
        tells = seen is None or settings.consistency is True
        origin = "" if seen is None or seen.clean else str(seen)
        key = self._key(opened.model, "pixels")
        scale = self.scale.on(opened.engine.scale, opened.model.name)
        refine = _refine(settings, measured, self._memory(opened, seen, measured, name))
        return Enlarger(opened.engine, scale, refine, key, tells, origin, str(settings.textures), settings.texture_map)

    def _memory(
        self, opened: _Opened, seen: PictureHistory | None, measured: Measured | None, name: str
    ) -> "TextureMemory | None":
        """What the texture database says of a picture, if there is one and the picture is not clean.

        Raises:
            UserError: see `Textures` and its `memory`.
        """
        settings = self.settings
        if self._textures is None or seen is None:
            return None
        if seen.condition.clean:  # measured: nothing to win there, and harm from foreign textures
            _log.info("%s: a clean picture; nothing of %s is used", name, settings.textures)
            return None

        def refine(condition: Condition) -> tuple[Refine | None, Measured | None]:
            held = measured if measured in (None, EVERYTHING) else Measured.of(condition, settings.denoise)
            return _refine(settings, held), held

        return self._textures.memory(opened.engine, opened.model.sha256, seen.condition, refine)

    @functools.cached_property
    def _textures(self) -> "Textures | None":
        if self.settings.textures is None:
            return None
        from gramgan.upscaling.textures import Textures  # imports torch

        return Textures(self.settings.textures)

    @property
    def chooses(self) -> bool:
        """Whether the weights are chosen for each picture: neither they nor a blend of them were asked for."""
        return self._given is None and self.settings.model is None and self.settings.strength is None

    def weights_for(self, seen: PictureHistory | None) -> str | Path:
        """Name or file of the weights for a picture, None for one that all weights fit; nothing is opened."""
        if self.chooses and seen is not None and seen.as_people_have_them:
            return PHOTO_MODEL
        return DEFAULT_MODEL if self.settings.model is None else self.settings.model

    def engine(self, spec: str | Path) -> Upscaler:
        """What runs the weights of that name or file. Raises what `model` raises."""
        return self._open(spec).engine

    def _weights(self, seen: PictureHistory | None = None) -> _Opened:
        """The weights for a picture: those that the settings name, or what fits what it has been through."""
        return self._given if self._given is not None else self._open(self.weights_for(seen))

    def _open(self, spec: str | Path) -> _Opened:
        if spec not in self._known:
            settings, blend = self.settings, None
            if settings.strength is not None and settings.strength < 1:
                blend = (settings.psnr_model or _partner(spec), settings.strength)
            model = open_model(
                spec, backend=settings.backend, precision=settings.precision, device=settings.device, blend=blend
            )
            self._known[spec] = self._ready(model, None if self._elsewhere is None else self._elsewhere(spec))
        return self._known[spec]

    def _ready(self, model: OpenModel, elsewhere: Elsewhere | None) -> _Opened:
        overlap = model.card.overlap if self.settings.overlap is None else self.settings.overlap
        tile = model.tile if self.settings.tile is None else self.settings.tile
        engine = Upscaler(model.backend, overlap=overlap, tile=tile, elsewhere=elsewhere, **model.card.geometry)
        return _Opened(model, engine)

    def _key(self, model: OpenModel, *decides: Decides) -> str:
        made = {"version": __version__, "weights": model.sha256, "backend": model.backend.name}
        made |= {"textures": self._textures and self._textures.identity}
        return json.dumps(
            {**made, "consistent": model.card.consistent, **self.settings.deciding(*decides)}, default=str
        )


def _is_scientific(source: Path, target: Path) -> bool:
    """Whether a file is more than a picture; of one that only has more channels, whether its result can have them."""
    kind = scientific_kind(source)
    return kind is not None and (kind != "TIFF with extra channels" or target.suffix.lower() in TIFF.suffixes)


def _refine(settings: Settings, measured: Measured | None, memory: "TextureMemory | None" = None) -> Refine | None:
    """What is done to every tile of a picture after the network, if anything.

    Raises:
        UserError: the threshold is out of range.
    """
    if measured is None and memory is None and not settings.texture_mask:
        return None
    threshold = TEXTURE_THRESHOLD if settings.texture_threshold is None else settings.texture_threshold
    return Refine(texture_threshold=threshold if settings.texture_mask else None, measured=measured, memory=memory)


def _seen_in(pixels: np.ndarray) -> PictureHistory:
    """What a picture `[C, H, W]` in [0, 1] has been through, from its pixels alone."""
    return PictureHistory(measure(pixels[: 3 if len(pixels) > 2 else 1]))


def _seen_of(source: Path, settings: Settings, page: int = 0) -> PictureHistory:
    """The same of a page of a file, which knows more."""
    return PictureHistory(of_file(source, page=page, allow_huge=settings.allow_huge), lossy_container(source))


def _partner(spec: str | Path) -> str | Path:
    from gramgan.weights.interpolate import find_partner  # imports torch, which blending needs anyway

    return find_partner(spec)


def _from_hwc(image: np.ndarray) -> np.ndarray:
    """A user's array as float32 `[C, H, W]` in [0, 1]."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise UserError(f"image: an array must be [H, W] or [H, W, C] with 1 to 4 channels, not {list(image.shape)}")
    if image.dtype in (np.uint8, np.uint16):
        pixels = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    elif image.dtype.kind == "f":
        if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
            raise UserError("image: floats must be finite and in [0, 1]; scale or clip them first")
        pixels = image.astype(np.float32)
    else:
        raise UserError(f"image: an array must be uint8, uint16 or float, not {image.dtype}; convert it")
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def _to_hwc(pixels: np.ndarray, dtype: np.dtype, with_channels: bool) -> np.ndarray:
    """float32 `[C, H, W]` in [0, 1] in the user's dtype, as `[H, W, C]` or `[H, W]`."""
    image = pixels.transpose(1, 2, 0) if with_channels else pixels[0]
    if dtype.kind == "f":
        return np.ascontiguousarray(image, dtype=dtype)
    white = np.iinfo(dtype).max
    return np.ascontiguousarray(np.floor(image * white + 0.5).astype(dtype))
