"""`gramgan doctor`: what is here, what is missing, and how fast this machine is."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

_PRESETS = ("paper", "lite")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure speed again; else what was measured is kept.")
    ] = False,
) -> None:
    """Show versions, devices, measured speed, extras, weights, and what batch fits into memory.

    The first time it measures for some seconds. The exit code is 0 whatever is found.
    """
    import json

    from gramgan.cli.console import say

    findings = _examine(fresh)
    if as_json:
        say(json.dumps(findings, indent=2))
    else:
        _show(findings)


def _examine(fresh: bool) -> dict[str, Any]:
    """Everything, as plain values."""
    from dataclasses import asdict

    from gramgan import __version__
    from gramgan.hardware import doctor as examine
    from gramgan.paths import cache_folder
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
        **(_measured(fresh) if torch_works else {"device": None, "speed": {}, "batch": {}}),
        "extras": [asdict(extra) for extra in examine.extras()],
        "weights": {name: is_cached(known) for name, known in KNOWN.items()},
        "cache": str(cache_folder()),
    }


def _measured(fresh: bool) -> dict[str, Any]:
    """The probe's verdicts for training and upscaling, and the batch that fits, on the device that `auto` means."""
    from dataclasses import asdict

    from gramgan.config import load_config
    from gramgan.hardware.device import resolve_device
    from gramgan.hardware.probe import probe, probe_training
    from gramgan.training.fitting import measure_fit

    device, upscaling_device = resolve_device(), resolve_device(mps=True)
    training = probe_training(device, fresh)
    speed = {"training": asdict(training), "upscaling": asdict(probe(upscaling_device, fresh))}
    settled = [
        f"train.device={device}",
        f"train.precision={training.precision}",
        f"train.memory_format={'channels_last' if training.channels_last else 'contiguous'}",
    ]
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


def _show(findings: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for title, lines in (
        ("Gram-GAN", _versions(findings)),
        ("devices", _devices(findings)),
        ("speed", _speed(findings)),
        ("batch", _batch(findings)),
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


def _extras(findings: dict[str, Any]) -> Iterator[str]:
    here = [extra["name"] for extra in findings["extras"] if not extra["missing"]]
    yield f"here: {', '.join(here) or 'none'}"
    missing = [extra["name"] for extra in findings["extras"] if extra["missing"]]
    if missing:
        yield f"missing: pip install 'gramgan[{','.join(missing)}]'"


def _weights(findings: dict[str, Any]) -> Iterator[str]:
    here = [name for name, cached in findings["weights"].items() if cached]
    yield f"in {findings['cache']}: {', '.join(here) or 'none'}"
    missing = [name for name, cached in findings["weights"].items() if not cached]
    if missing:
        yield f"missing: gramgan weights get {' '.join(missing)}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2g} GiB" if size < 10 * 2**30 else f"{size / 2**30:.0f} GiB"
