"""Sweeps as a person starts them: in processes of their own, here from a temporary folder, which holds the
records."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY

# Between two trainings of one run.
UNEQUAL = (
    "seconds",
    "total_seconds",
    "digest",  # of all values, these too
    "images_per_second",
    "peak_memory",
    "finished",
)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    """Start `python -m ablation.run words...`; what still runs when the test is over is ended."""
    started = []

    def begin(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ablation.run", *words]
        environment = {
            **os.environ,
            "ABLATION_CACHE": str(cache),
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(ROOT),
        }
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def training(epochs: int) -> tuple[str, ...]:
    """As TINY, for as many epochs as it takes to disturb it."""
    return (
        *(word for word in TINY if not word.startswith("recipe.epochs")),
        f"recipe.epochs={epochs}",
    )


def output(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a command printed; fails unless it ends with `status`."""
    text, _ = process.communicate(timeout=240)
    assert process.returncode == status, text
    return text


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def progress(runs: Path) -> dict[str, Any]:
    """What the one run in a folder says of itself: epoch, pid and so on; epoch 0 before it begins."""
    paths = list(runs.glob("*/progress.json"))
    return json.loads(paths[0].read_text()) if paths else {"epoch": 0}


def records(runs: Path) -> dict[int, dict[str, Any]]:
    """Records by seed, without what two trainings of one run differ in."""
    found = [json.loads(path.read_text()) for path in runs.glob("*/record.json")]
    return {
        record["seed"]: {name: value for name, value in record.items() if name not in UNEQUAL}
        for record in found
    }
