"""Sweeps as a person starts them, in processes of their own, with records in a temporary folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY

# As TINY, for as many epochs as it takes to disturb it.
LONG = (*(word for word in TINY if "epochs=2" not in word), "recipe.epochs=300")
UNEQUAL = ("seconds", "total_seconds", "images_per_second", "peak_memory", "finished")  # between two trainings of one run

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Iterator[Start]:
    """Start `python -m ablation.run words...`; what still runs when the test is over is ended."""
    started = []

    def begin(*words: str, runs: str = "runs") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ablation.run", *words, f"runs={tmp_path / runs}"]
        environment = {**os.environ, "ABLATION_CACHE": str(cache), "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def output(process: subprocess.Popen[str], status: int = 0) -> str:
    """What a command printed; fails unless it ends with `status`."""
    text, _ = process.communicate(timeout=240)
    assert process.returncode == status, text
    return text


def records(runs: Path) -> dict[int, dict[str, Any]]:
    """Records by seed, without what two trainings of one run differ in."""
    found = [json.loads(path.read_text()) for path in runs.glob("*/record.json")]
    return {record["seed"]: {name: value for name, value in record.items() if name not in UNEQUAL} for record in found}
