"""A real Slurm: `make test-slurm` runs these inside the cluster of slurm.sh."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clusters.conftest import Start, output, progress, records, training, wait_for
from tests.clusters.devices import assert_each_its_own
from tests.conftest import TINY

pytestmark = pytest.mark.skipif(
    "ablation-slurm" not in os.environ.get("SLURM_CONF", ""),
    reason="needs the cluster of make test-slurm",
)
# Up to 10 minutes submitit takes every signal for the time limit.
SLURM = (
    "-m",
    "hydra/launcher=slurm",
    "hydra.launcher.timeout_min=9",
)


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def queue(*states: str) -> list[str]:
    """Jobs in these states, or in any: 12_0, 12_1 and so on."""
    chosen = [f"--states={','.join(states)}"] if states else []
    return slurm("squeue", "--noheader", "--array", "--format=%i", *chosen).split()


def test_a_sweep_completes_and_each_job_has_its_own_gpu(start: Start, tmp_path: Path) -> None:
    log = [
        "+hydra.callbacks.devices._target_=tests.clusters.devices.DeviceLog",
        f"+hydra.callbacks.devices.folder={tmp_path}",
    ]
    text = output(start(*SLURM, "seed=0,1,2,3", *TINY, *log))
    assert "4 of 4 runs done" in text
    assert sorted(records(tmp_path / "runs")) == [0, 1, 2, 3]
    assert_each_its_own(tmp_path, jobs=4, devices={"0", "1"})


def test_a_job_preempted_and_then_out_of_time_goes_on_from_its_checkpoint(
    start: Start, tmp_path: Path
) -> None:
    """USR2 is what Slurm sends before the time limit; here it comes without the wait."""
    undisturbed = start(*training(1500), "runs=undisturbed")
    sweep = start(*SLURM, "seed=0", *training(1500))
    runs, seen = tmp_path / "runs", []

    def past(after: int) -> bool:
        seen.append(progress(runs)["epoch"])
        return seen[-1] >= after

    wait_for(lambda: past(10))
    [job] = queue("RUNNING")
    slurm(
        "sbatch",
        "--wait",
        "--partition=high",
        "--gpus-per-node=2",
        "--output=/dev/null",
        "--wrap=true",
    )
    wait_for(lambda: queue("RUNNING"))
    stopped = progress(runs)["epoch"]
    wait_for(lambda: past(stopped + 10))
    slurm("scancel", "--signal=USR2", job)
    wait_for(lambda: not queue("RUNNING"))
    output(sweep)
    output(undisturbed)
    assert "Restarts=2" in slurm("scontrol", "show", "job", job)
    assert seen == sorted(seen), "an epoch was trained again"
    [log] = runs.glob(".submitit/*/*_log.out")
    assert "Bypassing signal SIGTERM" in log.read_text() and "remaining timeouts" in log.read_text()
    assert records(runs) == records(tmp_path / "undisturbed")


def test_a_run_over_two_devices_is_one_job_that_goes_on_after_a_preemption(
    start: Start, tmp_path: Path
) -> None:
    """Two runs of two processes each (gloo: the GPUs are no real ones), one of them preempted."""
    words = ("devices=2", "seed=0,1", *training(250))
    undisturbed = start("-m", *words, "runs=undisturbed")
    sweep = start(*SLURM, *words)
    runs = tmp_path / "runs"
    wait_for(lambda: queue("RUNNING") and progress(runs)["epoch"] >= 10)
    [job] = queue("RUNNING")  # it has both GPUs
    assert "TresPerNode=gres:gpu:2" in slurm("scontrol", "show", "job", job)
    assert "NumCPUs=2 " in slurm("scontrol", "show", "job", job)
    high = ("--partition=high", "--gpus-per-node=2", "--output=/dev/null", "--wrap=true")
    slurm("sbatch", "--wait", *high)
    text = output(sweep)
    output(undisturbed)
    assert "2 of 2 runs done" in text
    assert "Restarts=1" in slurm("scontrol", "show", "job", job)
    assert records(runs) == records(tmp_path / "undisturbed")


def test_after_scancel_the_same_command_finishes_only_that_run(
    start: Start, tmp_path: Path
) -> None:
    runs, words = tmp_path / "runs", (*SLURM, "seed=0,1,2", *training(250))
    sweep = start(*words)
    wait_for(lambda: len(queue("RUNNING")) == 2 and progress(runs)["epoch"] > 0)
    cancelled = queue("RUNNING")[0]
    slurm("scancel", cancelled)
    text = output(sweep, status=1)
    assert (
        "1 of 3 runs is missing" in text
        and f"Slurm's job {cancelled} ended without an answer (CANCELLED" in text
    )
    assert (
        "this trains the rest: python -m ablation.run -m" in text
        and "hydra/launcher=slurm" in text.splitlines()[-1]
    )
    wait_for(lambda: not queue())
    written = {path: path.stat().st_mtime_ns for path in runs.glob("*/record.json")}
    assert len(written) == 2
    text = output(start(*words))
    assert "3 runs, 2 done, 1 to train" in text and "3 of 3 runs done" in text
    assert {path: path.stat().st_mtime_ns for path in written} == written
