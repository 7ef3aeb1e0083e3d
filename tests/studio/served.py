"""A studio in a process of its own, a client that speaks HTTP to it, and the browser that this machine has."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest


@dataclass
class Answer:
    """What the studio answered."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.data)


@dataclass
class Served:
    """A studio in a process of its own: its port, and the folders that it was given."""

    port: int
    folder: Path
    runs: Path
    work: Path
    process: "subprocess.Popen[str]"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, data: bytes = b"", /, **headers: str) -> Answer:
        """One request; `headers` with underscores for dashes, `host` to pretend another name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, data, named)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: dict[str, Any], **headers: str) -> Answer:
        return self.ask("POST", path, json.dumps(body).encode(), **{"content_type": "application/json", **headers})

    def upload(self, name: str, data: bytes) -> Answer:
        batch = self.post("/api/batches", {}).json["batch"]
        return self.ask("POST", f"/api/upload?batch={quote(batch)}&name={quote(name)}", data)

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        return [job for job in self.get("/api/jobs").json["jobs"] if job["kind"] == kind]

    def wait(self, number: str, seconds: float = 60) -> dict[str, Any]:
        """A job once it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            job = next(job for job in self.get("/api/jobs").json["jobs"] if job["id"] == number)
            if job["state"] not in ("waiting", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(f"job {number} did not end in {seconds} s")


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Blobs of random colour: float32 `[3, H, W]` in [0, 1]."""
    random = np.random.default_rng(seed)
    blobs = random.random((3, height // 8 + 1, width // 8 + 1))
    return np.kron(blobs, np.ones((8, 8)))[:, :height, :width].astype(np.float32)


@contextlib.contextmanager
def started(place: Path, *options: str, port: int | None = 0, **environment: str) -> Iterator[Served]:
    """Start `gramgan studio` with the folders `place/pictures` and `place/runs`."""
    folder, runs, work = place / "pictures", place / "runs", place / "work"
    for one in (folder, runs, work):
        one.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "gramgan", "studio", "--no-browser", "--folder", str(folder)]
    command += [] if port is None else ["--port", str(port)]
    own = {**os.environ, "GRAMGAN_CACHE": str(place / "cache"), "TMPDIR": str(work), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--runs", str(runs), *options], stdout=subprocess.PIPE, text=True, env={**own, **environment}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.split("://")[1].split("/")[0].rpartition(":")[2])
        yield Served(port, folder.resolve(), runs.resolve(), work, process)
    finally:
        process.terminate()
        process.wait(30)


def chromium() -> str:
    """The browser that this machine has; skips the test where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium here; install one, or name it in the variable CHROMIUM")
    return found
