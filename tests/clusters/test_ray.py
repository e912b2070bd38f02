"""A real Ray with two GPUs that do not exist: `make test-ray` runs these in the environment of the extra
`ray`."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.conftest import Start, output, progress, records, training, wait_for
from tests.clusters.devices import assert_each_its_own
from tests.conftest import ROOT, TINY

pytest.importorskip("ray", reason="needs the environment of make test-ray")
ADDRESS = "127.0.0.1:26379"
RAY = ("-m", "hydra/launcher=ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Started in a folder of its own, as clusters are."""
    os.environ |= {"RAY_ADDRESS": ADDRESS, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        size = [
            "--num-cpus=2",
            "--num-gpus=2",
            "--node-ip-address=127.0.0.1",
            f"--port={ADDRESS.split(':')[1]}",
        ]
        quiet = [
            "--include-dashboard=false",
            "--disable-usage-stats",
            f"--temp-dir={folder}",
            "--block",
        ]
        ray = Path(sys.executable).with_name("ray")
        head = subprocess.Popen(
            [ray, "start", "--head", *size, *quiet],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: subprocess.run([ray, "status"], capture_output=True).returncode == 0)
        yield
        head.terminate()
        head.wait()


def test_a_sweep_completes_and_each_job_has_its_own_gpu(start: Start, tmp_path: Path) -> None:
    log = [
        "+hydra.callbacks.devices._target_=tests.clusters.devices.DeviceLog",
        f"+hydra.callbacks.devices.folder={tmp_path}",
    ]
    text = output(start(*RAY, "seed=0,1,2,3", *TINY, *log))
    assert "4 of 4 runs done" in text
    assert sorted(records(tmp_path / "runs")) == [0, 1, 2, 3]
    assert_each_its_own(tmp_path, jobs=4, devices={"0", "1"})


def test_a_run_whose_worker_is_killed_goes_on_from_its_checkpoint_in_another(
    start: Start, tmp_path: Path
) -> None:
    undisturbed = start(*training(300), "runs=undisturbed")
    sweep = start(*RAY, "seed=0", *training(300))
    wait_for(lambda: progress(tmp_path / "runs")["epoch"] >= 10)
    killed = progress(tmp_path / "runs")
    os.kill(killed["pid"], signal.SIGKILL)
    wait_for(lambda: progress(tmp_path / "runs")["pid"] != killed["pid"])
    assert progress(tmp_path / "runs")["epoch"] >= killed["epoch"]
    output(sweep)
    output(undisturbed)
    assert records(tmp_path / "runs") == records(tmp_path / "undisturbed")


def test_ctrl_c_ends_the_command_and_its_tasks_at_once(start: Start, tmp_path: Path) -> None:
    words = (*RAY, "seed=0", *training(300))
    sweep = start(*words)
    wait_for(lambda: progress(tmp_path / "runs")["epoch"] > 0)
    sweep.send_signal(signal.SIGINT)
    text, _ = sweep.communicate(timeout=30)
    assert sweep.returncode == 128 + signal.SIGINT
    assert "1 of 1 run is missing" in text and text.rstrip().endswith("hydra/launcher=ray")
    wait_for(lambda: not Path(f"/proc/{progress(tmp_path / 'runs')['pid']}").exists())
