"""What may happen to a sweep, each fault for real: nothing computed is lost, the other runs go on, the last
lines say what is missing."""

import contextlib
import dataclasses
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from ablation import run
from ablation.command.planning import plan
from ablation.door import hydra
from ablation.runs.arms import Planned
from ablation.runs.config import Execution
from ablation.runs.records import Record, read_records, record_path
from ablation.runs.states import state
from ablation.train.execute import execute
from tests.conftest import ROOT, TINY
from tests.test_resume import wait_for
from tests.test_training import untimed


def gpu_out_of_memory() -> None:
    """As CUDA's allocator says it, from inside a layer."""
    from ablation.train.model import MBConv

    def forward(self: MBConv, x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    MBConv.forward = forward  # type: ignore[method-assign]


def host_out_of_memory() -> None:
    """The process may grow by a few megabytes only."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**24
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def killed() -> None:
    """SIGKILL from outside in the second epoch, as the kernel does when memory runs out."""
    from ablation.train.watch import Watch

    publish = Watch.publish

    def die(self: Watch) -> None:
        publish(self)
        if self.history:
            os.kill(os.getpid(), signal.SIGKILL)

    Watch.publish = die  # type: ignore[method-assign]


def disk_full() -> None:
    """No file may grow beyond what progress needs: no checkpoint and no record."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def not_a_number() -> None:
    """The loss of the second epoch."""
    from ablation.train.classifier import Classifier

    step = Classifier.training_step

    def broken(
        self: Classifier, batch: tuple[torch.Tensor, torch.Tensor], index: int
    ) -> torch.Tensor:
        return step(self, batch, index) * (torch.nan if self.current_epoch else 1)

    Classifier.training_step = broken  # type: ignore[method-assign]


# By seed.
FAULTS: list[Callable[[], None] | None] = [
    None,
    gpu_out_of_memory,
    host_out_of_memory,
    killed,
    disk_full,
    not_a_number,
    None,
]


def faulty(cfg: DictConfig) -> str | None:
    """`ablation.run.job`, with the fault of its seed, in the process of its own that the launcher gives
    it."""
    if fault := FAULTS[cfg.seed]:
        fault()
    return run.job(cfg)


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def command(*words: str, job: Callable[[DictConfig], str | None] | None = None) -> Ended:
    """`python -m ablation.run` in this process, with another job in the place of its own."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["ablation.run", *words])
        patch.setenv("HYDRA_FULL_ERROR", "")
        patch.setattr(run, "job", job or run.job)
        try:
            run.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return Ended(status, out.getvalue(), err.getvalue())


@dataclass
class Sweep:
    """A sweep of seven seeds, five of them struck, and what it left."""

    words: list[str]
    execution: Execution
    planned: list[Planned]
    ended: Ended
    reasons: list[str]
    records: dict[str, Record]


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Sweep:
    folder = tmp_path_factory.mktemp("struck")
    words = [
        "-m",
        "scaling=width",
        "phi=-1",
        f"seed=range({len(FAULTS)})",
        *TINY,
        f"runs={folder / 'runs'}",
        f"cache={cache}",
        "wandb.mode=disabled",
    ]
    with hydra():
        wanted = plan(words[1:])
    ended = command(*words, job=faulty)
    reasons = [state(wanted.execution, entry.run).reason for entry in wanted.planned]
    return Sweep(
        words,
        wanted.execution,
        wanted.planned,
        ended,
        reasons,
        read_records(wanted.execution.runs, [entry.run for entry in wanted.planned]),
    )


def test_the_other_runs_go_on_and_the_last_lines_say_what_is_missing(struck: Sweep) -> None:
    assert struck.ended.status == 1
    assert {entry.run.seed for entry in struck.planned if entry.run.id in struck.records} == {
        0,
        5,
        6,
    }
    lines = struck.ended.err.splitlines()
    assert lines[-6] == "4 of 7 runs are missing"
    for seed, line in zip((1, 2, 3, 4), lines[-5:-1], strict=True):
        assert line == f"  width phi=-1 seed={seed}: failed, {struck.reasons[seed]}"
    assert lines[-1].startswith(
        "what is done is kept; this trains the rest: python -m ablation.run -m scaling=width phi=-1"
    )


def test_gpu_out_of_memory_is_a_failure_with_its_reason_and_no_smaller_batch(struck: Sweep) -> None:
    assert struck.reasons[1].startswith(
        "the GPU ran out of memory with recipe.batch_size=64 at 20 px; take a smaller recipe.batch_size "
        "for every run"
    )
    trace = json.loads(
        (struck.execution.runs / struck.planned[1].run.id / "failed.json").read_text()
    )["trace"]
    assert any("CUDA out of memory. Tried to allocate 2.00 GiB" in line for line in trace)


def test_host_out_of_memory_is_a_failure_with_its_reason(struck: Sweep) -> None:
    assert struck.reasons[2].startswith(
        "this machine ran out of memory with recipe.batch_size=64 at 20 px"
    )


def test_a_killed_worker_costs_one_run_and_says_so(struck: Sweep) -> None:
    assert (
        struck.reasons[3]
        == "its process was killed by SIGKILL, as the kernel does when memory runs out"
    )
    assert (struck.execution.runs / struck.planned[3].run.id / "checkpoint.pt").exists()


def test_a_full_disk_is_named_with_the_way_out(struck: Sweep) -> None:
    assert re.fullmatch(
        r"\S+/record.json could not be written \(full disk, File too large\); free some space or set runs=.*",
        struck.reasons[4],
    )
    assert not list((struck.execution.runs / struck.planned[4].run.id).glob(".*"))


def test_a_loss_that_is_no_number_is_a_result(struck: Sweep) -> None:
    record = struck.records[struck.planned[5].run.id]
    assert (record.status, record.train_loss, record.history[0]["train/loss"] > 0) == (
        "diverged",
        None,
        True,
    )
    assert re.search(r"seed=5 +accuracy +\S+ +diverged", struck.ended.out)


def test_the_same_command_finishes_and_nothing_shows_of_the_faults(
    struck: Sweep, tmp_path: Path
) -> None:
    stamps = {
        run_id: record_path(struck.execution.runs, run_id).stat().st_mtime_ns
        for run_id in struck.records
    }
    path = record_path(struck.execution.runs, struck.planned[0].run.id)
    path.write_bytes(path.read_bytes()[:300])
    ended = command(*struck.words)
    assert ended.status == 0, ended.err
    assert "7 runs, 2 done, 5 to train" in ended.out and "7 of 7 runs done" in ended.out
    elsewhere = dataclasses.replace(struck.execution, runs=tmp_path)
    for entry in struck.planned[:5]:
        again = read_records(struck.execution.runs, [entry.run])[entry.run.id]
        there = execute(entry, elsewhere)
        assert json.dumps(untimed(again)) == json.dumps(untimed(there))
    for seed in (5, 6):
        run_id = struck.planned[seed].run.id
        assert record_path(struck.execution.runs, run_id).stat().st_mtime_ns == stamps[run_id]


@pytest.fixture
def going(
    tmp_path: Path, cache: Path
) -> Iterator[tuple[subprocess.Popen[str], list[Planned], Execution]]:
    """A sweep of two long runs side by side, a process group of its own, once both are past their first
    epoch."""
    words = [
        "-m",
        "scaling=width",
        "phi=-1",
        "seed=0,1",
        *TINY,
        "recipe.epochs=2000",
        "hydra.launcher.n_jobs=2",
        f"runs={tmp_path}",
        f"cache={cache}",
    ]
    with hydra():
        wanted = plan([*words[1:], "wandb.mode=disabled"])
    shell = [sys.executable, "-W", "ignore", "-m", "ablation.run", *words, "wandb.mode=disabled"]
    process = subprocess.Popen(
        shell,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(
            lambda: all(
                state(wanted.execution, entry.run).progress.get("epoch", 0)
                for entry in wanted.planned
            )
        )
        yield process, wanted.planned, wanted.execution
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("number", "send", "status"),
    [
        (signal.SIGINT, os.killpg, 130),
        (signal.SIGTERM, os.kill, 143),
        (signal.SIGKILL, os.kill, -signal.SIGKILL),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_a_sweep_that_is_stopped_leaves_no_process_and_every_epoch(
    number: int,
    send: Callable[[int, int], None],
    status: int,
    going: tuple[subprocess.Popen[str], list[Planned], Execution],
) -> None:
    process, entries, execution = going
    workers = [state(execution, entry.run).progress["pid"] for entry in entries]
    assert all(alive(worker) for worker in workers)
    send(process.pid, number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    wait_for(lambda: not any(alive(worker) for worker in workers), seconds=5)
    assert [state(execution, entry.run).name for entry in entries] == ["planned", "planned"]
    assert all((execution.runs / entry.run.id / "checkpoint.pt").exists() for entry in entries)
    if number != signal.SIGKILL:
        assert err.splitlines()[:3] == [
            "2 of 2 runs are missing",
            *(f"  width phi=-1 seed={seed}: planned" for seed in (0, 1)),
        ], err
        [way_out] = err.splitlines()[3:]
        assert way_out.startswith(
            "what is done is kept; this trains the rest: python -m ablation.run -m scaling=width"
        )
        assert way_out.endswith("hydra.launcher.n_jobs=2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_single_run_that_is_stopped_is_not_taken_for_a_finished_one(
    number: int, tmp_path: Path, cache: Path
) -> None:
    words = [
        "scaling=width",
        "phi=-1",
        *TINY,
        "recipe.epochs=2000",
        f"runs={tmp_path}",
        f"cache={cache}",
        "wandb.mode=disabled",
    ]
    with hydra():
        wanted = plan(words)
    shell = [sys.executable, "-W", "ignore", "-m", "ablation.run", *words]
    process = subprocess.Popen(
        shell, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: state(wanted.execution, wanted.planned[0].run).progress.get("epoch", 0) > 0)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (
        128 + number,
        "interrupted: the same command goes on from the last checkpoint\n",
    )
    assert state(wanted.execution, wanted.planned[0].run).name == "planned"


def test_two_sweeps_at_once_share_the_work(tmp_path: Path, cache: Path) -> None:
    """Another command trains one of the runs and is killed; this one leaves it until last and takes over from
    its checkpoint."""
    words = [
        "-m",
        "scaling=width",
        "phi=-1",
        "seed=0,1,2",
        *TINY,
        "recipe.epochs=15",
        f"runs={tmp_path}",
        f"cache={cache}",
        "wandb.mode=disabled",
    ]
    with hydra():
        wanted = plan(words[1:])
    shared, others = wanted.planned[0], wanted.planned[1:]
    single = ["scaling=width", "phi=-1", *words[4:]]
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "ablation.run", *single],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: state(wanted.execution, shared.run).progress.get("epoch", 0) > 0)

    def kill_when_alone() -> None:
        wait_for(lambda: all(state(wanted.execution, entry.run).record for entry in others))
        other.kill()

    killer = threading.Thread(target=kill_when_alone)
    killer.start()
    ended = command(*words)
    killer.join()
    assert ended.status == 0, ended.err
    assert "3 of 3 runs done" in ended.out
    assert other.wait() in (-signal.SIGKILL, 0)
    assert len(read_records(tmp_path, [shared.run])[shared.run.id].history) == 15
