"""NVIDIA's Multi-Process Service: processes use a GPU at the same moment, not in turns."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

CONTROL = "nvidia-cuda-mps-control"
SECONDS = 20.0  # for the service to start, or to end


def environment(folder: Path) -> dict[str, str]:
    """What its clients have in their environment before they touch CUDA."""
    return {
        "CUDA_MPS_PIPE_DIRECTORY": str(folder / "mps"),
        "CUDA_MPS_LOG_DIRECTORY": str(folder / "mps-log"),
    }


def start(folder: Path) -> str:
    """Start the service for clients with this folder; returns why it does not start, nothing where it
    does."""
    if not shutil.which(CONTROL):
        return f"{CONTROL} is not installed here"
    for place in environment(folder).values():
        Path(place).mkdir(exist_ok=True)
    try:
        return _control(folder, "-d")
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


def stop(folder: Path) -> None:
    """End the service of this folder, if it runs."""
    if (folder / "mps").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            _control(folder, said="quit\n")
        shutil.rmtree(folder / "mps", ignore_errors=True)


def _control(folder: Path, *words: str, said: str = "") -> str:
    """What the control program complains of; a file takes it, for the service would keep a pipe open."""
    complaints = folder / "mps-log" / "control"
    with complaints.open("w") as file:
        done = subprocess.run(
            [CONTROL, *words],
            input=said,
            env={**os.environ, **environment(folder)},
            stdout=file,
            stderr=file,
            text=True,
            timeout=SECONDS,
        )
    return f"{CONTROL}: {complaints.read_text().strip()}" if done.returncode else ""
