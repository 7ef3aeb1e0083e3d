"""Several processes, one for each device, that train one run together.

Fabric starts them, on one machine or as torchrun and SLURM ask for, and joins them. The networks are not wrapped in
PyTorch's DistributedDataParallel: its reducer expects one backward pass over all parameters for each forward pass,
while here D runs forward twice and two backward passes follow, each with respect to one network's parameters. Instead
the gradients of a step are averaged in one flat all-reduce for each update. That is exact, leaves the order of passes
free, and carries the flag of a broken step along.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from gramgan.config.sections import TrainConfig
from gramgan.errors import ReportedError, UserError
from gramgan.files import ensure_folder, write_error
from gramgan.hardware.device import resolve_device
from gramgan.places import cache_folder
from gramgan.share import Share

_T = TypeVar("_T")

_TIMEOUT = timedelta(hours=2)  # others wait so long while the first one builds an index or validates

_log = logging.getLogger(__name__)


class _ToldError(UserError):
    """One that all processes know of."""


class Processes:
    """One process's view of all that train together; without arguments, that of a process that trains alone.

    `first` says whether this is the one that writes. Whatever is passed on between processes is passed on by all of
    them, in the same order.
    """

    def __init__(self, device: torch.device, share: Share | None = None, local_rank: int = 0) -> None:
        self.device = device
        self.share = share or Share()
        self.local_rank = local_rank
        # Messages between the hosts, beside those of the devices: to read one, nobody has to wait for a GPU.
        self._hosts: Any = None
        if self.share.world > 1 and dist.get_backend() != "gloo":
            self._hosts = dist.new_group(backend="gloo", timeout=_TIMEOUT)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.share.rank == 0

    @property
    def world(self) -> int:
        """The number of processes."""
        return self.share.world

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, `[n, …]` → `[world * n, …]`, with the gradient that all of them give to ours."""
        return rows if self.world == 1 else _Gathered.apply(rows, self.share)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors of one type by their means over all processes, in one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        parts = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
            list(tensors), [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
        )

    def mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over all processes."""
        result = values.clone()
        self.average([result])
        return result

    def each(self, values: Tensor) -> Tensor:
        """Every process's `values`: `[…]` → `[world, …]`."""
        with torch.no_grad():
            return self.gather(values.unsqueeze(0))

    def equalise(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the first one's values."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """Whether any process says so; the hosts wait for each other, the devices do not."""
        if self.world == 1:
            return flag
        said = torch.tensor(int(flag))
        dist.all_reduce(said, dist.ReduceOp.MAX, group=self._hosts)
        return bool(said)

    def everyone(self, value: _T) -> list[_T]:
        """The `value` of each process, in the order of the ranks."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value, group=self._hosts)
        return values

    def from_first(self, value: _T) -> _T:
        """The first process's `value`."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._hosts)
        return box[0]

    def place(self, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that `make` gives, made by one process of each machine and mapped into the memory of all of them.

        It lies in a file without a name: pages that no process has written to are in memory once, and go when the last
        process ends.

        Raises:
            UserError: the file cannot be written.
        """
        if self.world == 1:
            return make()
        own = self.together(lambda: _stored(make()) if self.local_rank == 0 else None)
        files: list[str] = [""] * self.world
        dist.all_gather_object(files, str(own or ""), group=self._hosts)
        array = np.load(files[self.share.rank - self.local_rank], mmap_mode="c")  # ranks of one machine are neighbours
        self.any(False)  # all have it open
        if own is not None and os.name != "nt":  # an open file cannot be deleted there: it stays in the cache
            own.unlink()
        return array

    def together(self, action: Callable[[], _T]) -> _T:
        """Do something in every process; if it fails in one, it fails in all.

        Raises:
            UserError: what went wrong; in all but the first process a `ReportedError`, so that it is said once.
        """
        if self.world == 1:
            return action()
        result, problem = None, None
        try:
            result = action()
        except (ReportedError, _ToldError):
            raise  # all have heard of it
        except UserError as error:
            problem = str(error)
        problems: list[str | None] = [None] * self.world
        dist.all_gather_object(problems, problem, group=self._hosts)
        for text in problems:
            if text is not None:
                raise _ToldError(text) if self.first else ReportedError(text)
        return result  # pyright: ignore[reportReturnType] (there was no problem: it is what the action returned)

    def alone(self, action: Callable[[], None]) -> None:
        """Do something in the first process alone, while the others wait; see `together`."""
        self.together(lambda: action() if self.first else None)


def _stored(array: np.ndarray) -> Path:
    folder = ensure_folder(cache_folder() / "shared")
    handle, name = tempfile.mkstemp(suffix=".npy", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        Path(name).unlink()
        raise write_error(Path(name), error) from error
    return Path(name)


def launch(train: TrainConfig) -> tuple[TrainConfig, Processes]:
    """Start and join the processes that `train` asks for, and settle how many they are.

    With more than one device on this machine, and nobody who has started the other processes, the command that runs
    is started again for each of them. torchrun's numbers win over the settings.

    Raises:
        UserError: a device is not there, the batch does not divide, or the cluster's numbers are others.
    """
    devices, nodes = _asked_for(train)
    train = train.model_copy(update={"devices": devices, "num_nodes": nodes})
    device = resolve_device(train.device)
    world = devices * nodes
    if world == 1:
        return train, Processes(torch.device(device))
    if train.batch_size % world:
        raise UserError(
            f"train.batch_size: {train.batch_size} images for each step, of all devices together, do not divide among "
            f"{world} devices; give a multiple of {world}"
        )
    kind, _, index = device.partition(":")
    if index:
        raise UserError(f"train.device: {device} is one device, train.devices asks for {devices}; give {kind}")
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise UserError(f"train.devices: {devices} GPUs are asked for, {torch.cuda.device_count()} are here")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy=DDPStrategy(timeout=_TIMEOUT))
        fabric.launch()
    except ValueError as error:  # the numbers of torchrun or SLURM and ours differ
        raise UserError(f"train.devices, train.num_nodes: {' '.join(str(error).split())}") from None
    share = Share(fabric.global_rank, fabric.world_size)
    if share.rank:
        _quieten()
    processes = Processes(fabric.device, share, fabric.local_rank)
    _log.info("training on %d devices, %d images each", world, train.batch_size // world)
    return train, processes


def quieten_others() -> None:
    """Let a process that another one has started say nothing but errors, also before they have met: one says it all."""
    if any(int(os.environ.get(name) or 0) > 0 for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID")):
        _quieten()


def _quieten() -> None:
    logging.getLogger("gramgan").setLevel(logging.ERROR)


def _asked_for(train: TrainConfig) -> tuple[int, int]:
    """(devices of one node, nodes), as torchrun has started processes, or else as the settings say."""
    if dist.is_available() and dist.is_torchelastic_launched():
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return local, world // local
    return train.devices, train.num_nodes


class _Gathered(torch.autograd.Function):
    """All processes' rows; backward sums what every process's loss gives to ours."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, share: Share) -> Tensor:
        ctx.share = share
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(share.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[ctx.share.rows(len(gradient) // ctx.share.world)], None
