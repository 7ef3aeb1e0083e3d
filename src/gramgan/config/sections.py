"""The settings of a training run, one class for each section: typed, documented, unknown keys refused."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gramgan.config.base import NotNegative, Place, Positive, Rate, Section, Weight

_DEGRADATIONS = ("bicubic", "photo", "realphoto", "satellite")


class DataConfig(Section):
    """Photographs to train on and to validate with."""

    photos: Place = Field(
        default=Path("downloaded_images"),
        description="folder of HR photographs, a manifest's training part is used; or of WebDataset shards",
    )
    low: Place | None = Field(
        default=None, description="folder of LR images, paired with photos by name; none: LR is made from HR"
    )
    low_name: str | None = Field(
        default=None,
        description='what the LR image of {stem} is called, such as "small_{stem}"; none: as usual, {stem}x4',
    )
    source: Literal["auto", "resident", "folder", "shards", "pairs"] = Field(
        default="auto",
        description="resident: all images in the device's memory; others: streamed; auto: resident if they fit",
    )
    workers: Positive | None = Field(
        default=None, description="processes that decode streamed images; none: one for each processor, 16 at most"
    )
    validation: Place | dict[str, Place] | None = Field(
        default=None,
        description="folder of HR images to validate on, or several by name, of which the first decides; none: the "
        "manifest's held-out part",
    )
    crops: str | None = Field(
        default=None,
        description="module:function that makes HR crops in place of photos, called as (number, batch, crop)",
    )
    crop: Annotated[int, Field(ge=32, multiple_of=4)] = Field(
        default=192, description="side of HR training crops in pixels"
    )
    augment: bool = Field(default=True, description="random flips and quarter turns")
    degradation: str = Field(
        default="bicubic",
        description="how LR is made from HR: bicubic, photo, realphoto or satellite (`gramgan degrade` shows them); or "
        "module:function of your own, called as (hr) or (hr, seeds)",
    )

    @field_validator("degradation")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in _DEGRADATIONS and ":" not in name:
            raise ValueError(f"{name!r} is unknown; use {', '.join(_DEGRADATIONS)} or module:function")
        return name

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.source == "pairs" and self.low is None:
            raise ValueError("source: pairs needs the folder of LR images; set data.low, or another data.source")
        if self.low is not None and self.source in ("folder", "shards"):
            raise ValueError(f"low: LR images are not used with data.source={self.source}; set it to auto or pairs")
        if self.low_name is not None and self.low is None:
            raise ValueError("low_name: it is for pairs; set data.low, the folder of the LR images")
        return self


class GeneratorConfig(Section):
    """The generator, and what it starts from."""

    start: str | None = Field(
        default=None, description="weights to start from: a name of `gramgan weights list` or a file; none: noise"
    )
    build: str | None = Field(
        default=None,
        description="module:function that makes a generator of your own, a torch.nn.Module; nf, nb, gc and upsampler "
        "do not count then",
    )
    freeze: tuple[str, ...] = Field(
        default=(), description='patterns of parameters that do not learn, such as "body.0.*"'
    )
    partial: bool = Field(
        default=False,
        description="take from start only the tensors whose name and shape fit, the others begin anew; the log has "
        "the list",
    )
    network: Literal["rrdb", "span"] = Field(
        default="rrdb",
        description="rrdb: the method's own, of dense blocks; span: small and fast, nf 48 and nb 6 are usual",
    )
    nf: Positive = Field(default=64, description="channels between its blocks")
    nb: Positive = Field(default=23, description="how many blocks")
    gc: Positive = Field(default=32, description="channels that each convolution of rrdb's dense blocks adds")
    upsampler: Literal["pixelshuffle", "nearest"] = Field(
        default="pixelshuffle",
        description="how rrdb enlarges: by sub-pixel convolutions, or by nearest neighbour and a convolution",
    )
    scale: Literal[1, 2, 3, 4, 8] = Field(
        default=4,
        description="how many times larger its results are; for 1 and 2 its input is unshuffled, as Real-ESRGAN's is",
    )
    teacher: str | None = Field(
        default=None, description="weights whose results losses.teacher compares with: a name or a file, as for start"
    )
    decoder: str | None = Field(
        default=None,
        description="weights that losses.autoencoded decodes with, such as gramgan-x4-psnr: a name or a file",
    )
    from_nearest: bool = Field(
        default=False, description="without start: begin as nearest-neighbour enlargement, for trainings of few steps"
    )
    consistent: bool = Field(
        default=False,
        description="its results are back-projected in validations and, unless users decide otherwise, in use: for LR "
        "images without noise and compression",
    )

    @property
    def weights(self) -> list[str]:
        """The weights that are read: names of known ones, and files."""
        return [spec for spec in (self.start, self.teacher, self.decoder) if spec is not None]

    @model_validator(mode="after")
    def _check(self) -> "GeneratorConfig":
        if self.network == "span" and self.from_nearest:
            raise ValueError("from_nearest: is for network rrdb; leave it out, or start from weights")
        return self

    def describe(self) -> str:
        """The architecture in a few words."""
        if self.build is not None:
            return self.build
        inner = f", gc {self.gc}, {self.upsampler}" if self.network == "rrdb" else ""
        return f"{self.network.upper()}: nf {self.nf}, nb {self.nb}{inner}"


class DiscriminatorSettings(Section):
    """The discriminator, and what it starts from."""

    start: Place | None = Field(default=None, description="a gramgan_*_D file to start from; none: noise")
    build: str | None = Field(
        default=None, description="module:function that makes a discriminator of your own, a torch.nn.Module"
    )
    freeze: tuple[str, ...] = Field(default=(), description="patterns of parameters that do not learn")
    kind: Literal["classifier", "unet", "semantic"] = Field(
        default="classifier",
        description="classifier: the method's own, judges images; unet: judges every pixel; semantic: judges patches "
        "beside the features of HR in losses.trunk",
    )
    sees: Literal["image", "wavelets"] = Field(
        default="image", description="wavelets: the three high bands of luma's Haar transform in place of RGB"
    )
    spectral_norm: bool = Field(default=False, description="bound the Lipschitz constant of every layer")
    r1: Weight = Field(default=0.0, description="γ of the R1 penalty on the gradient at real images; 0: none")
    r1_every: Positive = Field(
        default=16, description="the penalty is computed in every so many-th step, with its weight"
    )
    width: Annotated[int, Field(ge=8, multiple_of=8)] = Field(
        default=64, description="channels of its first layer, which the others follow; a small generator needs fewer"
    )


class DatabaseConfig(Section):
    """One texture database of a training, or one domain of it; a path alone is short for `{path: …}`."""

    path: Place = Field(description="a NAME.lance made by `gramgan db build`, or a snapshot of one")
    weight: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="its share of the patches is weight / sum of weights; none has one: searched as one"
    )
    domain: str | None = Field(default=None, description="only the patches of this domain; none: all")
    version: Positive | Literal["newest"] | None = Field(
        default=None, description="of the table; none: the newest, or the one a resumed run has; written down at start"
    )
    identity: str | None = Field(default=None, description="of the table; written down when a run starts")

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, values: Any) -> Any:
        return {"path": values} if isinstance(values, str | Path) else values


class TextureConfig(Section):
    """Where the target texture of each patch comes from; α pulls it towards HR, β towards SR.

    `database: NAME.lance` (with `database_version`) is short for `databases` with that one entry.
    """

    candidates: Literal["local", "database", "both"] = Field(
        default="local",
        description="local: patches of the same photograph; database: those of texture.databases; both: the nearer one",
    )
    databases: tuple[DatabaseConfig, ...] = Field(
        default=(), description="texture databases, the first one's scale is used; with weights they are mixed"
    )
    descriptor: Literal["rgb", "rgb-centred", "rgb-gradient"] = Field(
        default="rgb",
        description="what counts as the same texture: rgb, colour and brightness; rgb-centred, contrast; rgb-gradient, "
        "edges and their direction too",
    )
    k: Annotated[int, Field(ge=2, le=32)] = Field(default=4, description="patch side in pixels, also the stride")
    alpha: Weight = Field(default=1.0, description="α: how much the target should resemble the HR patch")
    beta: Weight = Field(default=1.0, description="β: how much the target should resemble the SR patch")
    search: Literal["auto", "kdtree", "blocked", "direct", "faiss-flat", "faiss-ivf", "faiss-hnsw", "faiss-disk"] = (
        Field(default="auto", description="index over the databases; those of Faiss but faiss-flat are not exact")
    )
    recall: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.99, description="share of nearest patches that faiss-ivf, faiss-hnsw and faiss-disk are to find"
    )
    warp: Annotated[float, Field(ge=0, le=0.1)] = Field(
        default=0.003, description="magnitude of the random affine warp of local candidates"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_one_database(cls, values: Any) -> Any:
        """Read the short form."""
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("databases"), str | dict):
            values = values | {"databases": (values["databases"],)}
        if not values.keys() & {"database", "database_version"}:
            return values
        rest = {key: value for key, value in values.items() if key not in ("database", "database_version")}
        path, version = values.get("database"), values.get("database_version")
        if rest.get("databases"):
            raise ValueError("database and database_version are short for one entry of databases; give one form only")
        if path is None:
            return rest | {"databases": ()}
        if not isinstance(path, str | Path):
            raise ValueError(f"database: {path} is no path; give one NAME.lance, or several as databases")
        return rest | {"databases": ({"path": path, "version": version},)}

    @model_validator(mode="after")
    def _check(self) -> "TextureConfig":
        weighted = [entry.weight is not None for entry in self.databases]
        if any(weighted) and not all(weighted):
            raise ValueError(
                f"databases: {self.databases[weighted.index(False)].path} has no weight and others have; give all of "
                "them one, or none to search all as one"
            )
        places = [(entry.path, entry.domain) for entry in self.databases]
        for number, place in enumerate(places):
            if place in places[:number]:
                raise ValueError(f"databases: {place[0]} is named twice; name it once, or once for each domain")
        return self

    @property
    def weights(self) -> list[float] | None:
        """Weights of the databases; None if they are searched as one."""
        weights = [entry.weight for entry in self.databases if entry.weight is not None]
        return weights or None


class MaskConfig(Section):
    """Which part of the images the discriminator sees: where luma deviates by at least `threshold` in a `window`."""

    threshold: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.005,
        description="smallest standard deviation of luma, of [0, 1]; 0: the discriminator sees everything",
    )
    window: Annotated[int, Field(ge=3)] = Field(
        default=11, description="side in pixels of the square in which it is measured, odd"
    )


Stage = Literal["pretrain", "warm_discriminator", "adversarial"]


class StageConfig(Section):
    """Iterations of the three stages, in this order."""

    pretrain: NotNegative = Field(default=0, description="L_C alone")
    warm_discriminator: NotNegative = Field(default=0, description="the discriminator alone, generator frozen")
    adversarial: NotNegative = Field(default=600_000, description="all five losses")

    @property
    def total(self) -> int:
        """Iterations of all stages."""
        return self.pretrain + self.warm_discriminator + self.adversarial

    def at(self, iteration: int) -> tuple[Stage, int]:
        """The stage of an iteration (counted from 0 over all stages), and its number within that stage."""
        if iteration < self.pretrain:
            return "pretrain", iteration
        iteration -= self.pretrain
        if iteration < self.warm_discriminator:
            return "warm_discriminator", iteration
        return "adversarial", iteration - self.warm_discriminator

    @property
    def last_of_generator(self) -> Stage:
        """The last stage in which the generator learns: the one whose results are kept."""
        return "adversarial" if self.adversarial else "pretrain"


class ScheduleConfig(Section):
    """Learning rates, the same course for both networks within each stage."""

    rate: Rate = Field(default=1e-4, description="of the generator")
    rate_discriminator: Rate = Field(default=1e-4, description="of the discriminator")
    rate_pretrain: Rate = Field(default=2e-4, description="of the generator while it learns L_C alone")
    warmup: NotNegative = Field(default=500, description="iterations in which the rate rises from 0, in each stage")
    restart_every: Positive = Field(
        default=200_000, description="iterations in which it falls along a cosine, then starts from the top again"
    )
    minimum: Annotated[float, Field(ge=0)] = Field(default=1e-7, description="the lowest rate, where the cosine ends")


class TrainConfig(Section):
    """The machine's part."""

    batch_size: Positive = Field(default=8, description="images for each step, of all devices together")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=0, description="of all random numbers: the first weights, crops, degradations, warps"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.999, description="of the averaged generator, the one that is kept"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1")
    devices: Positive = Field(default=1, description="devices of one machine that train together")
    num_nodes: Positive = Field(default=1, description="machines that train together")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto measures whether bf16 is fast and right here"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        default="auto", description="auto: measured with the precision"
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="largest norm of the generator's gradient"
    )
    accumulate: Positive = Field(
        default=1,
        description="batches whose gradients are averaged in each iteration: batch_size times this many crops",
    )
    activation_checkpointing: bool = Field(
        default=False, description="compute each block of the generator again in the backward pass, to save memory"
    )
    optimizer: str = Field(default="Adam", description="of both networks, by its name in torch.optim")
    optimizer_options: dict[str, float | bool | list[float] | None] = Field(
        default={}, description="its arguments but the rate, such as {weight_decay: 0.01, betas: [0.9, 0.99]}"
    )
    compile: bool = Field(default=False, description="compile the generator's blocks and the trunk with torch.compile")
    clip_discriminator: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="largest norm of the discriminator's gradient"
    )


class GuardConfig(Section):
    """What happens when losses are no longer finite, and when the collapse watch judges; in iterations."""

    patience: Positive = Field(default=3, description="so many skipped steps within `window` send the run back")
    window: Positive = Field(default=100, description="iterations within which skipped steps are counted together")
    roll_backs: NotNegative = Field(default=2, description="to the last checkpoint, before the run stops")
    rate_factor: Rate = Field(default=0.5, description="all learning rates are multiplied by it at each of them")
    watch: Positive = Field(default=500, description="over how many iterations the collapse watch judges")


class LogConfig(Section):
    """Intervals in iterations."""

    every: Positive = Field(default=100, description="between two records of the log")
    validate_every: Positive = Field(default=5000, description="between two validations")
    checkpoint_every: Positive = Field(default=5000, description="between two checkpoints")
    keep: Positive = Field(default=3, description="how many checkpoints are kept, besides that of the best validation")
    validation_images: Positive = Field(default=8, description="at most so many are validated on")
    validation_crop: Positive = Field(default=512, description="their centre, at most so many HR pixels a side")
    best_by: str = Field(
        default="st_lpips",
        description="validation score that decides what is best: st_lpips, psnr_y, gram_distance, another of them, one "
        "of yours, or NAME/psnr_y of another validation set",
    )
    metrics: dict[str, str] = Field(
        default={}, description="scores of your own by name, as module:function, called as (sr, hr)"
    )
    patience: Positive | None = Field(
        default=None, description="so many validations without a better score end the run; none: it goes to its end"
    )
