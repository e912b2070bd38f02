"""NVIDIA's Multi-Process Service: processes share a GPU at the same moment, not in turns."""

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


def start(folder: Path) -> None:
    """Start the service for clients with this folder; raises RuntimeError with what it said where it does
    not."""
    if not shutil.which(CONTROL):
        raise RuntimeError(f"{CONTROL} is not installed here")
    for place in environment(folder).values():
        Path(place).mkdir(exist_ok=True)
    done = _control(folder, "-d")
    if done.returncode:
        raise RuntimeError(f"{CONTROL} -d: {(done.stderr or done.stdout).strip()}")


def stop(folder: Path) -> None:
    """End the service of this folder, if it runs."""
    if (folder / "mps").exists():
        _control(folder, said="quit\n")
        shutil.rmtree(folder / "mps", ignore_errors=True)


def _control(folder: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CONTROL, *words],
        input=said,
        env={**os.environ, **environment(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
