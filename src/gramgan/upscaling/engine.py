"""The upscaling engine: any picture, in tiles, with memory bounded by one row of tiles."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gramgan.errors import UserError
from gramgan.images import Raster, RasterWriter, Window, write_image
from gramgan.progress import Progress, silent
from gramgan.upscaling.alpha import CONTEXT, REACH, enlarge_alpha, extend_colours
from gramgan.upscaling.backends import Backend, OutOfMemory
from gramgan.upscaling.tiles import Span, plan_tiles, span_weights

if TYPE_CHECKING:
    from gramgan.networks.build import LoadedGenerator

SCALE = 4
DEFAULT_MODEL = "real-esrgan-x4plus"
"""The weights that are used where none are named, until the project ships its own."""
DEFAULT_TILE = 256
"""Largest side of a tile's used part, in low-resolution pixels: about 1.5 GB for the full generator in fp32."""
MIN_TILE = 16
"""Below this, tiles that run out of memory are not halved any further."""
COMMENT = "Upscaled 4x with Gram-GAN; fine texture is synthesised, not measured."
"""Goes into the metadata of every result."""

_MIN_SIDE = 16  # smaller windows are padded: no network has learned from pictures that are nothing but border

_log = logging.getLogger(__name__)

_Read = Callable[[int, int], np.ndarray]  # (top, bottom) → float32 [C, bottom - top, W]


class Upscaler:
    """A generator ready to enlarge pictures four times.

    Args:
        generator: from `gramgan.load_generator`.
        precision: `auto` (what the cached speed probe found), `fp32`, `bf16`, `fp16`.
        tile: largest side of the used part of a tile, in low-resolution pixels; None for `DEFAULT_TILE`. The network
            sees `overlap` more on each side.
        overlap: context around every used pixel, in low-resolution pixels; None for what the weights' card says.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        backend: what runs the network, instead of torch with the settings above.

    Raises:
        UserError: a setting is out of range or the device is not there.
    """

    def __init__(
        self,
        generator: "LoadedGenerator",
        precision: str = "auto",
        tile: int | None = None,
        overlap: int | None = None,
        device: str = "auto",
        *,
        backend: Backend | None = None,
    ) -> None:
        self._name = generator.card.name
        self._tile = DEFAULT_TILE if tile is None else tile
        self._overlap = generator.card.overlap if overlap is None else overlap
        if self._tile < MIN_TILE:
            raise UserError(f"tile: {self._tile} is too small; use at least {MIN_TILE}, or leave it out")
        if self._overlap < 0:
            raise UserError(f"overlap: {self._overlap} is negative; use 0 or more, or leave it out")
        if backend is None:
            from gramgan.upscaling.backends.torch_backend import TorchBackend

            backend = TorchBackend(generator.network, self._name, precision, device)
        self._backend = backend

    def upscale_array(self, image: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Enlarge a picture in memory.

        Args:
            image: float32 `[C, H, W]` in [0, 1]; C is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
            progress: told (tiles done, tiles in all).

        Returns:
            float32 `[C, 4H, 4W]` in [0, 1].

        Raises:
            UserError: values that are not finite, or no memory for even the smallest tile.
            ValueError: another shape, or an empty picture.
        """
        if image.ndim != 3 or image.shape[0] not in (1, 2, 3, 4) or 0 in image.shape:
            raise ValueError(f"a picture must be [C, H, W] with 1 to 4 channels, not {list(image.shape)}")
        channels, height, width = image.shape
        image = image.astype(np.float32, copy=False)
        result = np.empty((channels, SCALE * height, SCALE * width), dtype=np.float32)
        y = 0
        for band in self._bands(lambda top, bottom: image[:, top:bottom], image.shape, "image", progress or silent):
            result[:, y : y + band.shape[1]] = band
            y += band.shape[1]
        return result

    def upscale_file(
        self, source: Path, target: Path, progress: Progress | None = None, *, allow_huge: bool = False
    ) -> Path:
        """Enlarge a picture from file to file, holding no more than one row of tiles in memory.

        Depth, grey, alpha, ICC profile, EXIF and resolution of the source go into the target as far as its format holds
        them, and `COMMENT` says that texture was synthesised.

        Args:
            source: an image file.
            target: where the result goes; its suffix chooses the format. Written whole or not at all.
            progress: told (tiles done, tiles in all).
            allow_huge: lift the limit that protects against decompression bombs.

        Returns:
            `target`.

        Raises:
            UserError: the source cannot be read, the target cannot be written or is the source itself.
        """
        if target.exists() and source.exists() and target.samefile(source):
            raise UserError(f"{target}: this is the input itself; choose another name or folder for the output")
        raster = Raster.open(source, allow_huge=allow_huge)
        info = raster.info

        def read(top: int, bottom: int) -> np.ndarray:
            return raster.read(Window(0, top, info.width, bottom - top))

        writer = RasterWriter(
            target,
            SCALE * info.width,
            SCALE * info.height,
            like=info,
            colour_channels=info.colour_channels,
            has_alpha=info.has_alpha,
            bits=info.bits,
            comment=COMMENT,
        )
        with writer:
            y = 0
            for band in self._bands(read, (info.channels, info.height, info.width), str(source), progress or silent):
                writer.write(Window(0, y, band.shape[2], band.shape[1]), band)
                y += band.shape[1]
        return target

    def _bands(self, read: _Read, shape: tuple[int, ...], source: str, progress: Progress) -> Iterator[np.ndarray]:
        """The result from top to bottom in bands `[C, rows, 4W]` in [0, 1], one for each row of tiles."""
        channels, height, width = shape
        has_alpha = channels in (2, 4)
        overlap = max(self._overlap, CONTEXT) if has_alpha else self._overlap
        plan = plan_tiles(height, width, self._tile, overlap)
        read = _checked(_with_extended_colours(read, height) if has_alpha else read, source)
        done = 0
        progress(done, len(plan))
        carry = np.empty(0, dtype=np.float32)  # the previous row's share of the zone where this one fades in
        for row in plan.rows:
            strip = read(row.start, row.stop)
            band = np.zeros((channels, SCALE * (row.keep_stop - row.keep_start), SCALE * width), dtype=np.float32)
            for column in plan.columns:
                tile = self._enlarge(strip[:, :, column.start : column.stop], has_alpha)
                band[:, :, SCALE * column.keep_start : SCALE * column.keep_stop] += _weighted(tile, row, column)
                done += 1
                progress(done, len(plan))
            if row.fade_in:
                band[:, : SCALE * row.fade_in] += carry
            final = band.shape[1] - SCALE * row.fade_out
            carry = band[:, final:].copy()
            yield np.clip(
                band[:, :final], 0, 1, out=band[:, :final]
            )  # a blend of clipped values may still round to above 1

    def _enlarge(self, tile: np.ndarray, has_alpha: bool) -> np.ndarray:
        """One tile of any number of channels: `[C, h, w]` → `[C, 4h, 4w]` in [0, 1]."""
        colours = tile[:-1] if has_alpha else tile
        rgb = np.repeat(colours, 3, axis=0) if colours.shape[0] == 1 else colours
        result = np.clip(self._enlarge_rgb(rgb), 0, 1)
        if colours.shape[0] == 1:
            result = result.mean(axis=0, keepdims=True)
        return np.concatenate([result, enlarge_alpha(tile[-1])[None]]) if has_alpha else result

    def _enlarge_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """The network on `[3, h, w]`, in smaller tiles where memory does not suffice."""
        height, width = rgb.shape[1:]
        if max(height, width) <= self._tile + 2 * self._overlap:
            try:
                return _run_padded(self._backend, rgb)
            except OutOfMemory as error:
                self._halve_tile(max(height, width), error)
        # A tile is a picture like any other: what it lacks in context at its border is the same as before.
        result = np.zeros((3, SCALE * height, SCALE * width), dtype=np.float32)
        for row, column in plan_tiles(height, width, self._tile, self._overlap):
            part = self._enlarge_rgb(rgb[:, row.start : row.stop, column.start : column.stop])
            rows = slice(SCALE * row.keep_start, SCALE * row.keep_stop)
            result[:, rows, SCALE * column.keep_start : SCALE * column.keep_stop] += _weighted(part, row, column)
        return result

    def _halve_tile(self, side: int, error: OutOfMemory) -> None:
        """Choose the next smaller tile after one of `side` pixels was too large; it holds for all that follows."""
        used = min(self._tile, side - 2 * self._overlap)
        if used <= MIN_TILE:
            raise UserError(
                f"not enough memory for a tile of {side}x{side} pixels with {self._name}; "
                "close other programs, or use a smaller overlap or a lower precision"
            ) from error
        self._tile = max(used // 2, MIN_TILE)
        _log.warning("not enough memory for a tile of %d pixels; going on with tiles of %d", used, self._tile)


def upscale(
    image: np.ndarray | Path | str,
    output: Path | str | None = None,
    *,
    model: str | Path | None = None,
    precision: str = "auto",
    tile: int | None = None,
    overlap: int | None = None,
    device: str = "auto",
    allow_huge: bool = False,
    progress: Progress | None = None,
) -> np.ndarray | Path:
    """Make a picture four times larger.

    Loads the weights at every call; for many pictures make one `Upscaler`.

    Args:
        image: a file, or an array as NumPy and Pillow have it: `[H, W]` (grey) or `[H, W, C]` with C from 1 to 4 (the
            second or fourth channel is alpha); uint8, uint16, or float in [0, 1].
        output: a file to write instead of returning an array; its suffix chooses the format.
        model: a name from `gramgan weights list` or a weight file; None for `DEFAULT_MODEL`.
        precision: see `Upscaler`, as for `tile`, `overlap` and `device`.
        allow_huge: lift the size limit for files (see `Raster.open`).
        progress: told (tiles done, tiles in all).

    Returns:
        An array of the same dtype and number of dimensions, four times as high and wide (for a file: of the file's own
        depth), or the path `output`.

    Raises:
        UserError: a file cannot be read or written, or weights are missing.
        TypeError: an array of another dtype.
        ValueError: an array of another shape, or float values outside of [0, 1].
    """
    from gramgan.networks.build import load_generator

    pixels = _from_hwc(image) if isinstance(image, np.ndarray) else None
    upscaler = Upscaler(load_generator(model or DEFAULT_MODEL), precision, tile, overlap, device)
    if pixels is None:
        assert not isinstance(image, np.ndarray)
        if output is not None:
            return upscaler.upscale_file(Path(image), Path(output), progress, allow_huge=allow_huge)
        raster = Raster.open(image, allow_huge=allow_huge)
        return _to_hwc(
            upscaler.upscale_array(raster.read(), progress), np.dtype(raster.info.dtype), raster.info.channels > 1
        )
    assert isinstance(image, np.ndarray)
    result = upscaler.upscale_array(pixels, progress)
    if output is not None:
        bits = 8 if image.dtype == np.uint8 else 16 if image.dtype == np.uint16 else 32
        write_image(output, result, bits=bits, comment=COMMENT)
        return Path(output)
    return _to_hwc(result, image.dtype, image.ndim == 3)


def _weighted(tile: np.ndarray, row: Span, column: Span) -> np.ndarray:
    """The part of a tile's result that counts, with its weights."""
    top, left = SCALE * (row.keep_start - row.start), SCALE * (column.keep_start - column.start)
    down, across = span_weights(row, SCALE), span_weights(column, SCALE)
    return tile[:, top : top + len(down), left : left + len(across)] * down[:, None] * across


def _run_padded(backend: Backend, rgb: np.ndarray) -> np.ndarray:
    """`backend` on one tile; sides below `_MIN_SIDE` are padded with their edge pixels for the time being."""
    height, width = rgb.shape[1:]
    down, across = max(_MIN_SIDE - height, 0), max(_MIN_SIDE - width, 0)
    top, left = down // 2, across // 2
    padded = np.pad(rgb, ((0, 0), (top, down - top), (left, across - left)), mode="edge")
    result = backend.run(padded[None])[0]
    return result[:, SCALE * top : SCALE * (top + height), SCALE * left : SCALE * (left + width)]


def _with_extended_colours(read: _Read, height: int) -> _Read:
    """`read` with the colours carried on into transparent parts, the same whichever rows are asked for."""

    def extended(top: int, bottom: int) -> np.ndarray:
        first = max(top - REACH, 0)
        strip = read(first, min(bottom + REACH, height))
        pixels = np.concatenate([extend_colours(strip[:-1], strip[-1]), strip[-1:]])
        return pixels[:, top - first : bottom - first]

    return extended


def _checked(read: _Read, source: str) -> _Read:
    """`read` that refuses values that are not finite, and clips those outside of [0, 1] (float files may have them)."""
    told = False

    def checked(top: int, bottom: int) -> np.ndarray:
        nonlocal told
        strip = read(top, bottom)
        low, high = float(strip.min()), float(strip.max())
        if not np.isfinite(low + high):
            raise UserError(f"{source}: it has values that are not finite (NaN or infinity); replace them first")
        if (low < 0 or high > 1) and not told:
            told = True
            _log.warning("%s: values from %.3g to %.3g are clipped to [0, 1]", source, low, high)
        return np.clip(strip, 0, 1)

    return checked


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
