"""Part 4: whole studies, one after another, as long as time is left; their records in one archive,
OUT/records.parquet, and what lies there at the beginning counts as trained."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ablation.bench import contest
from ablation.door import hydra
from ablation.measure.benchmarks import read_benchmarks
from ablation.measure.contests import machine_of
from ablation.runs.config import Execution
from ablation.runs.files import replacing
from ablation.runs.records import archive_path, read_archive, write_archive
from ablation.train.devices import cores, memory
from tests.conftest import ROOT, TINY
from tests.gpu.checks import GPU, Check, Site
from tests.gpu.correctness import cache_of

RESERVE = 15.0  # seconds of a part in which what was trained is packed
STOPPED = 143  # the status of a run that SIGTERM ended
SMALL = (*TINY, "study.rules=[depth]", "study.phis=[0]", "study.seeds=[0]", "data=shapes")
LOOP = ("bench.rounds=3", "data.train_size=12800", "wandb.mode=disabled")
STEPS = re.search(r"^STEPS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()  # type: ignore[index]


def bench_step(site: Site) -> dict[str, Any]:
    """A run's step against a bare loop's, as `python -m ablation.bench step` has it, over 100 steps; its file
    lies in OUT/bench."""
    with hydra():
        contest("step", [*LOOP, f"results={site.out.resolve()}"])
    device = machine_of(Execution(site.folder, site.folder, accelerator=site.accelerator)).device
    found = read_benchmarks(site.out, device)
    return {name: round(value.median, 3) for name, value in found.items()}


def quick(site: Site) -> dict[str, Any]:
    """The quick study; on a CPU one run of it."""
    if site.gpu:
        return study("quick", [f"gpu_memory={_share()}"], site)
    return study("quick", [*SMALL, f"cache={cache_of(site)}", "accelerator=cpu"], site)


def reference(name: str, site: Site) -> dict[str, Any]:
    """A step of the reference study."""
    if site.data is None:
        return {"left out": "DATA=FOLDER of Imagenette-96 is not given"}
    return study(name, ["size=reference", f"data.path={site.data}", f"gpu_memory={_share()}"], site)


def _share() -> str:
    """GiB of a GPU for each of as many runs as there are cores."""
    return f"{max(0.1, int(10 * memory(0) / cores()) / 10):g}"


def study(name: str, own: Sequence[str], site: Site) -> dict[str, Any]:
    """Train it until it is done or the part is nearly over, and pack what has a record; raises RuntimeError
    with the last line of a command that failed."""
    runs, results = site.folder / "runs", site.folder / "results"
    _begin(runs, site.out)
    words = [f"study={name}", *own, f"runs={runs}", f"results={results}", "wandb.mode=disabled"]
    started = time.perf_counter()
    stopped = _stopped("run", words, site.left() - RESERVE)
    seconds = time.perf_counter() - started
    said = _said("pack", words)
    _keep(results, site.out)
    done, planned = map(int, re.search(r": (\d+) of (\d+) runs?", said).groups())  # type: ignore[union-attr]
    return {"runs": done, "of": planned, "stopped": stopped, "training": round(seconds, 1)}


def _begin(runs: Path, out: Path) -> None:
    """An archive from an earlier call counts like records of this one."""
    runs.mkdir(exist_ok=True)
    if archive_path(out).exists() and not archive_path(runs).exists():
        shutil.copy(archive_path(out), archive_path(runs))


def _keep(results: Path, out: Path) -> None:
    """All that was packed, and what lay there, as one archive."""
    rows = dict(read_archive(out))
    for packed in sorted(results.glob("*/records.parquet")):
        rows |= read_archive(packed.parent)
    with replacing(archive_path(out), "OUT") as file:
        write_archive(file, rows.values())


def _stopped(door: str, words: Sequence[str], seconds: float) -> bool:
    """Whether a command had to be stopped after so long; it tidies up and keeps what is done."""
    with subprocess.Popen(
        [sys.executable, "-m", f"ablation.{door}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=max(seconds, 0))
        except subprocess.TimeoutExpired:
            process.terminate()
            said, _ = process.communicate()
    if process.returncode not in (0, STOPPED):
        raise RuntimeError(f"ablation.{door} {' '.join(words)}: {said.strip().splitlines()[-1]}")
    return process.returncode == STOPPED


def _said(door: str, words: Sequence[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"ablation.{door}", *words], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"ablation.{door}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


CHECKS = (
    Check("bench step", bench_step, GPU),
    Check("quick", quick),
    *(Check(name, partial(reference, name), GPU) for name in STEPS),
)
