"""The settings of upscaling, each declared once: for the command line, for Python, and for going on after a crash."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from gramgan.arguments import expect
from gramgan.defaults import QUALITY
from gramgan.errors import UserError

if TYPE_CHECKING:
    from gramgan.upscaling.passes import Scale

Decides = Literal["pixels", "file", "weights", "work"]
"""What a setting changes: pixels; how the file stores them; which weights are opened, whose digest tells more than
their name; or only whether and how fast the work is done."""


@dataclass(frozen=True)
class Setting:
    """The facts about a field of `Settings` besides its type and default.

    Attributes:
        help: what it means, for users.
        decides: see `Decides`.
        group: the heading that it stands under.
        metavar: what its value looks like.
        choices: its only values, for texts.
        bounds: its lowest and highest value, for numbers.
        hint: what to do about a value outside of them.
        negation: the option that turns a flag off, where that is not the default.
    """

    help: str
    decides: Decides = "pixels"
    group: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    hint: str = ""
    negation: str | None = None

    def check(self, name: str, value: Any, kind: Any) -> None:
        """Refuse a value of another kind than its type hint says, none of the choices, or out of bounds.

        Raises:
            UserError: it is.
        """
        expect(name, value, kind)
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise UserError(f"{name} {value!r}: unknown; use {' or '.join(self.choices)}")
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            low, high = self.bounds
            raise UserError(f"{name}: {value} is outside of {low:g} to {high:g}{self.hint}")


def _setting(default: Any, help: str, **about: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(help, **about)})


_SIZE, _CONTROL, _SCIENTIFIC, _FILES, _MACHINE = "Size", "Texture", "Scientific files", "Files", "Machine"


@dataclass(frozen=True)
class Settings:
    """Everything that decides a result but the picture itself."""

    model: str | Path | None = _setting(  # noqa: RUF009 (a field)
        None,
        "Known weights (`gramgan weights list`) or a weight file. (default: chosen for each picture: gramgan-x4 "
        "for clean, sharp ones, gramgan-x4-photo for those with noise, blur or JPEG)",
        decides="weights",
        metavar="NAME|PATH",
    )
    scale: float | None = _setting(
        None,
        "How many times larger, 1 to 64. Other scales than the network's own take several passes and a resize. "
        "(default: the scale of the weights; the shipped ones: 4)",
        group=_SIZE,
        metavar="FACTOR",
        bounds=(1, 64),
        hint="; use 1.5, 2, 3, 4, 8 or 16, say",
    )
    size: str | None = _setting(
        None,
        "Size of the results in pixels, instead of --scale; 1920x or x1080 keeps the proportions.",
        group=_SIZE,
        metavar="WxH",
    )
    strength: float | None = _setting(
        None,
        "0: the PSNR-oriented generator; 1: all texture; between: the weights of both are interpolated.",
        decides="weights",
        group=_CONTROL,
        metavar="0…1",
        bounds=(0, 1),
        hint="; 0 is the PSNR-oriented generator, 1 all texture",
    )
    psnr_model: str | Path | None = _setting(  # noqa: RUF009
        None,
        "The PSNR-oriented generator for --strength, where the card of the weights names none.",
        decides="weights",
        group=_CONTROL,
        metavar="NAME|PATH",
    )
    texture_mask: bool = _setting(
        False,
        "Add texture only where the input has some; enlarge smooth and unfocused regions bicubically.",
        group=_CONTROL,
    )
    texture_threshold: float | None = _setting(
        None,
        "Smallest fine detail, in grey levels, that --texture-mask takes for texture; raise it for noisy pictures. "
        "(default: 1)",
        group=_CONTROL,
        metavar="LEVELS",
    )
    consistency: bool | None = _setting(
        None,
        "Correct each result until it equals the input when it is shrunk again (back-projection), noise and JPEG "
        "blocks included; --no-consistency keeps what the network made. (default: agree with what was measured: "
        "all of a scientific file, all of a clean picture if the card of the weights says so, otherwise what is "
        "coarser than noise and compression)",
        group=_CONTROL,
        negation="--no-consistency",
    )
    denoise: float = _setting(
        1.0,
        "How much noise and grain to remove from a picture that is not clean: 1 all, 0 none.",
        group=_CONTROL,
        metavar="0…1",
        bounds=(0, 1),
    )
    textures: str | Path | None = _setting(  # noqa: RUF009
        None,
        "A texture database of the pictures' own material, for pictures that are not clean: what it knows of such "
        "places changes the result; where nothing fits, nothing changes. (default: none)",
        decides="weights",
        group=_CONTROL,
        metavar="NAME.lance",
    )
    texture_map: bool = _setting(
        False,
        "Write beside each result where the textures fitted (.textures.png), and from which photographs, with their "
        "licences (.textures.csv).",
        decides="file",
        group=_CONTROL,
    )
    bands: Sequence[str] = _setting(
        (),
        "Bands that the network sees together as red, green and blue (3,2,1), one band alone (4), or a band of "
        "classes that is repeated and not drawn (5:nearest). Once for each group; all other bands stand alone. "
        "(default: what the file says)",
        group=_SCIENTIFIC,
        metavar="R,G,B|N",
    )
    radiometry: str | None = _setting(
        None,
        "Which stored values are black and white: LOW,HIGH, full, reflectance, sentinel-2 (with the offset since "
        "baseline 04.00), minmax or percentile. (default: what the file says, or the whole range of an unsigned "
        "type)",
        group=_SCIENTIFIC,
        metavar="NAME|LOW,HIGH",
    )
    cog: bool = _setting(False, "Write cloud-optimized GeoTIFFs.", decides="file", group=_SCIENTIFIC)
    plain: bool = _setting(
        False,
        "Treat GeoTIFF, OME and ImageJ files as ordinary pictures; what else they say is lost.",
        group=_SCIENTIFIC,
    )
    quality: int = _setting(
        QUALITY, "Quality of JPEG, WebP and AVIF, 1 to 100.", decides="file", group=_FILES, metavar="Q", bounds=(1, 100)
    )
    icc: str = _setting(
        "keep",
        "Keep the colour profile, or convert to sRGB.",
        group=_FILES,
        metavar="keep|srgb",
        choices=("keep", "srgb"),
    )
    allow_huge: bool = _setting(
        False, "Read images above the size limit too: only files that you trust.", decides="work", group=_FILES
    )
    backend: str = _setting(
        "auto",
        "torch, openvino or onnxruntime; auto takes the fastest that computes correctly on this machine.",
        decides="work",
        group=_MACHINE,
    )
    precision: str = _setting(
        "auto",
        "fp32, bf16 or fp16; auto takes what is fast and correct on this machine.",
        decides="work",
        group=_MACHINE,
    )
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or mps.", decides="work", group=_MACHINE)
    tile: int | None = _setting(
        None,
        "Largest side of a tile in input pixels; smaller takes less memory. (default: by the free memory)",
        decides="work",
        group=_MACHINE,
    )
    overlap: int | None = _setting(
        None,
        "Context around a tile in input pixels. (default: as much as the weights need)",
        decides="work",
        group=_MACHINE,
    )

    def check(self) -> "Scale":
        """The scale, if all settings that need no weights are in range.

        Raises:
            UserError: one is not, or two do not go together.
        """
        kinds = get_type_hints(Settings)
        for one in fields(self):
            one.metadata["setting"].check(one.name, getattr(self, one.name), kinds[one.name])
        if self.psnr_model is not None and self.strength is None:
            raise UserError(f"psnr_model {self.psnr_model}: has an effect only together with --strength; give both")
        if self.texture_threshold is not None and not self.texture_mask:
            raise UserError(
                f"texture_threshold {self.texture_threshold:g}: has an effect only together with --texture-mask; "
                "give both"
            )
        if self.texture_map and self.textures is None:
            raise UserError("texture_map: has an effect only together with --textures; give both")
        if self.textures is not None and self.scientific:
            raise UserError(f"{self.scientific[0]}: is for scientific files, and textures for photographs; give one")
        if self.denoise != 1 and self.consistency is not None:
            flag = "--consistency, which keeps" if self.consistency else "--no-consistency, which leaves"
            raise UserError(f"denoise: {self.denoise:g} has no effect together with {flag} all noise; give one of them")
        if self.plain and self.scientific:
            raise UserError(f"{self.scientific[0]}: has no effect together with --plain; give one of them")
        from gramgan.upscaling.passes import parse_scale  # imports numpy

        return parse_scale(self.scale, self.size)

    @property
    def scientific(self) -> tuple[str, ...]:
        """The settings for scientific files alone that were given."""
        given = {"bands": bool(self.bands), "radiometry": self.radiometry not in (None, "auto"), "cog": self.cog}
        return tuple(name for name, there in given.items() if there)

    def deciding(self, *what: Decides) -> dict[str, Any]:
        """The values of the settings that decide something: what two jobs with equal results have in common."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.metadata["setting"].decides in what}
