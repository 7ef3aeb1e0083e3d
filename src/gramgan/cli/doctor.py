"""`gramgan doctor`: show what is installed, what is missing, and how fast this machine is."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramgan.cli.console import say
from gramgan.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

_PRESETS = ("paper", "lite")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure speed again, in place of the kept figures.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs or shards: measure how fast crops are read from it."),
    ] = None,
    low: Annotated[Path | None, typer.Option(help="With --data: folder of the LR images, paired by name.")] = None,
) -> None:
    """Show versions, devices, measured speed, extras, weights, and the batch that fits into memory.

    The first call measures for some seconds. The exit code is always 0.
    """
    if low is not None and data is None:
        raise UserError("--low: give the folder of the HR images too, with --data")
    findings = _examine(fresh)
    if data is not None:
        findings["data"] = _feeding(data, low, findings)
    if as_json:
        for line in json.dumps(findings, indent=2).splitlines():
            say(line)
    else:
        _show(findings)


def _examine(fresh: bool) -> dict[str, Any]:
    """Everything, as plain values."""
    from gramgan import __version__
    from gramgan.hardware import doctor as examine
    from gramgan.hardware.allocator import keep_memory
    from gramgan.places import cache_folder
    from gramgan.weights.catalog import KNOWN, is_cached

    python, system = examine.python_and_system()
    libraries = examine.libraries()
    torch_works = not any(library.fault for library in libraries if library.name in ("torch", "lightning-fabric"))
    return {
        "gramgan": __version__,
        "python": python,
        "system": system,
        "libraries": [asdict(library) for library in libraries],
        "devices": [asdict(device) for device in examine.devices()],
        "memory": keep_memory(),
        **(_measured(fresh) if torch_works else {"device": None, "speed": {}, "batch": {}}),
        "extras": [asdict(extra) for extra in examine.extras()],
        "weights": {name: is_cached(known) for name, known in KNOWN.items()},
        "cache": str(cache_folder()),
    }


def _measured(fresh: bool) -> dict[str, Any]:
    """The probe's verdicts for training and upscaling, and the batch that fits, on the device that `auto` means."""
    from gramgan.config import load_config
    from gramgan.hardware.device import resolve_device
    from gramgan.hardware.probe import probe, probe_training
    from gramgan.training.fitting import measure_fit

    device, upscaling_device = resolve_device(), resolve_device(mps=True)
    training = probe_training(device, fresh)
    speed = {"training": asdict(training), "upscaling": asdict(probe(upscaling_device, fresh))}
    settled = _settled(device, speed["training"])
    batch = {}
    for preset in _PRESETS:
        config = load_config(preset, overrides=settled)
        fit = measure_fit(config)
        batch[preset] = asdict(fit) | {
            "crop": config.data.crop,
            "preset_batch": config.train.batch_size,
            "largest_batch": fit.batch,
        }
    return {"device": device, "speed": speed, "batch": batch}


def _feeding(folder: Path, low: Path | None, findings: dict[str, Any]) -> dict[str, Any]:
    """How many crops a second each way of reading gives, and how many the presets' steps take."""
    from gramgan.config import load_config
    from gramgan.data.choice import usual_workers
    from gramgan.data.source import Demand
    from gramgan.data.throughput import measure_feeding
    from gramgan.training.fitting import measure_step

    device, workers = findings["device"], usual_workers()
    if device is None:
        raise UserError("--data: torch does not work here, see above; run pip install --upgrade gramgan")
    first = load_config(_PRESETS[0])
    demand = Demand(first.data.crop, first.train.batch_size, device=device)
    rates = measure_feeding(folder, low, demand, workers=workers)
    taken = {}
    for preset in _PRESETS:
        config = load_config(preset, overrides=_settled(device, findings["speed"]["training"]))
        seconds = measure_step(config)
        taken[preset] = {"step_seconds": seconds, "crops_per_s": config.train.batch_size / seconds}
    return {
        "folder": str(folder),
        "crop": demand.crop,
        "workers": workers,
        "rates": [asdict(rate) for rate in rates],
        "taken": taken,
    }


def _settled(device: str, training: dict[str, Any]) -> list[str]:
    """What a training on `device` would settle, as overrides."""
    return [
        f"train.device={device}",
        f"train.precision={training['precision']}",
        f"train.memory_format={'channels_last' if training['channels_last'] else 'contiguous'}",
    ]


def _show(findings: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, lines in (
        ("Gram-GAN", _versions(findings)),
        ("devices", _devices(findings)),
        ("memory", iter([f"what computations free is {findings['memory']}"])),
        ("speed", _speed(findings)),
        ("batch", _batch(findings)),
        ("data", _data(findings)),
        ("extras", _extras(findings)),
        ("weights", _weights(findings)),
    ):
        _add(table, title, lines)
    Console(highlight=False, soft_wrap=False).print(table)


def _add(table: "Table", title: str, lines: Iterator[str]) -> None:
    from rich.markup import escape

    for number, line in enumerate(lines):
        table.add_row("" if number else title, escape(line))


def _versions(findings: dict[str, Any]) -> Iterator[str]:
    libraries = findings["libraries"]
    torch = next(library["version"] for library in libraries if library["name"] == "torch") or "not installed"
    yield f"{findings['gramgan']}, Python {findings['python']}, torch {torch}, {findings['system']}"
    faults = [library for library in libraries if library["fault"]]
    for library in faults:
        yield f"{library['name']} {library['version']}: {library['fault']}; run pip install --upgrade gramgan"
    if not faults:
        yield f"all {len(libraries)} libraries are here, in versions that fit"


def _devices(findings: dict[str, Any]) -> Iterator[str]:
    for device in findings["devices"]:
        yield f"{device['name']}: {device['model']}, {_gib(device['free_bytes'])} free, {device['detail']}"


def _speed(findings: dict[str, Any]) -> Iterator[str]:
    for kind, verdict in findings["speed"].items():
        layout = ", channels last" if verdict["channels_last"] else ""
        yield (
            f"{kind}: {verdict['precision']}{layout}, {verdict['speedup']:.1f} times as fast as plain fp32, "
            f"error {verdict['max_error']:.2%}"
        )
    if not findings["speed"]:
        yield "not measured, for torch does not work"


def _batch(findings: dict[str, Any]) -> Iterator[str]:
    for preset, fit in findings["batch"].items():
        wanted, largest = fit["preset_batch"], fit["largest_batch"]
        yield (
            f"{preset}: up to {largest} crops of {fit['crop']}x{fit['crop']} on {findings['device']} "
            f"({_gib(fit['fixed_bytes'])} + {_gib(fit['image_bytes'])} each), its own batch is {wanted}"
            + (f": --set train.batch_size={largest}" if 0 < largest < wanted else "")
        )


def _data(findings: dict[str, Any]) -> Iterator[str]:
    if "data" not in findings:
        return
    data = findings["data"]
    yield f"{data['folder']}, crops of {data['crop']}x{data['crop']}, {data['workers']} workers:"
    for rate in data["rates"]:
        loading = f", loaded at {rate['images_per_s']:.3g} images/s" if rate["source"] == "resident" else ""
        yield f"{rate['source']}: {rate['crops_per_s']:,.0f} crops/s{loading}"
    for preset, step in data["taken"].items():
        slow = [rate["source"] for rate in data["rates"] if rate["crops_per_s"] < step["crops_per_s"]]
        waits = f"it would wait for {', '.join(slow)}" if slow else "it waits for none of these"
        yield f"{preset}: a step of {step['step_seconds']:.2g} s takes {step['crops_per_s']:.2g} crops/s, {waits}"


def _extras(findings: dict[str, Any]) -> Iterator[str]:
    here = [extra["name"] for extra in findings["extras"] if not extra["missing"]]
    yield f"here: {', '.join(here) or 'none'}"
    missing = [extra["name"] for extra in findings["extras"] if extra["missing"]]
    if missing:
        yield f"missing: pip install 'gramgan[{','.join(missing)}]'"


def _weights(findings: dict[str, Any]) -> Iterator[str]:
    here = [name for name, cached in findings["weights"].items() if cached]
    yield f"here: {', '.join(here)} (fetched ones in {findings['cache']})"
    missing = [name for name, cached in findings["weights"].items() if not cached]
    if missing:
        yield f"missing: gramgan weights get {' '.join(missing)}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2g} GiB" if size < 10 * 2**30 else f"{size / 2**30:.0f} GiB"
