"""Measures how fast weights run here, in a separate process that can be stopped as soon as real work comes."""

import subprocess
import sys
import time

from gramgan import own_process
from gramgan.errors import UserError
from gramgan.progress import Progress
from gramgan.upscaling.settings import Settings

_SIDE = 128  # of the picture that is enlarged
_LOOKS = 0.1  # seconds from one look at the process to the next


def seen_pixels(width: int, height: int) -> float:
    """Pixels that the network sees of a picture, the context around it included."""
    context = 32  # what most weights need
    return float((width + 2 * context) * (height + 2 * context))


def measure_speed(weights: str, settings: Settings, progress: Progress) -> float:
    """Seconds for one of the `seen_pixels`.

    Args:
        weights: a name or a file.
        settings: backend, precision and device are those of the job.
        progress: told now and then; what it raises ends the measuring.

    Raises:
        UserError: the weights cannot be run.
    """
    command = [sys.executable, "-m", "gramgan.studio.speed", weights, settings.backend, settings.precision]
    process = subprocess.Popen(
        [*command, settings.device], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=own_process.environment()
    )
    try:
        while True:
            try:
                said, _ = process.communicate(timeout=_LOOKS)
                break
            except subprocess.TimeoutExpired:
                progress(0, 1)
    finally:
        process.kill()
        process.wait()
    try:
        return float(said)
    except ValueError:
        raise UserError(f"{weights}: cannot be measured; the job itself will say why") from None


def _measure(weights: str, backend: str, precision: str, device: str) -> float:
    from gramgan.upscaling.api import Upscaling
    from gramgan.upscaling.choice import probe_picture

    settings = Settings(model=weights, backend=backend, precision=precision, device=device)
    engine = Upscaling(settings).enlarger().engine
    picture = probe_picture(_SIDE)
    engine.upscale_array(picture)  # opens, compiles, and compares backends where that was never done
    began = time.monotonic()
    engine.upscale_array(picture)
    return (time.monotonic() - began) / seen_pixels(_SIDE, _SIDE)


if __name__ == "__main__":
    own_process.set_up()
    print(_measure(*sys.argv[1:]))
