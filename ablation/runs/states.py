"""What a run is doing, as its folder tells it.

done, diverged: it has a record. running: its lock is held; the kernel frees it when the owner dies, so there
are no heartbeats and no timestamps. failed: a reason lies there. planned: none of these.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ablation.runs.config import Execution, Run, digest
from ablation.runs.files import write_json
from ablation.runs.records import Record, read_record, weights_path

GLANCE = (
    0.5  # seconds to try a lock that is held: whoever only looks at a state has it for far less
)


# What progress.json says, by type.
PROGRESS = {"epoch": int, "epochs": int, "seconds": int | float, "host": str, "pid": int}


class Busy(RuntimeError):
    """Another process is training this run."""


@dataclass(frozen=True)
class State:
    """name: planned, running, done, diverged or failed. progress: the newest row of history with epochs,
    seconds and the steps of the epoch that goes on, empty before the first. reason: why it failed."""

    name: str
    record: Record | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def share(self) -> float:
        """How much of the training is behind it, 0 to 1, to the step."""
        if self.record:
            return 1.0
        if not self.progress:
            return 0.0
        within = self.progress.get("step", 0) / self.progress.get("steps", 1)
        return (self.progress["epoch"] + within) / self.progress["epochs"]

    @property
    def paced(self) -> bool:
        """Whether its seconds say how long the rest takes: it has trained for an epoch, or for longer than it
        took to begin."""
        if self.record:
            return True
        begun = self.progress.get("began", 0.0)
        return self.share > 0 and (
            self.progress["epoch"] > 0 or self.progress["seconds"] > 2 * begun
        )


def finished(execution: Execution, run: Run) -> Record | None:
    """The record of a run that needs no training: it has one and, where weights or answers are to be kept,
    has them."""
    kept = not execution.keep_weights or weights_path(execution.runs, run.id).exists()
    record = read_record(execution.runs, run) if kept else None
    return None if record and execution.keep_bits and not record.answers else record


def all_finished(execution: Execution, wanted: Iterable[Run]) -> dict[str, Record]:
    """Records by run id, of those runs that need no training."""
    found = {}
    for run in {run.id: run for run in wanted}.values():
        if record := finished(execution, run):
            found[run.id] = record
    return found


def state(execution: Execution, run: Run) -> State:
    """The state of a run now."""
    if record := finished(execution, run):
        return State(record.status, record)
    folder = execution.runs / run.id
    progress = _read(folder / "progress.json", PROGRESS)
    if held(execution.runs, run.id):
        return State("running", progress=progress)
    failure = _read(folder / "failed.json", {"reason": str})
    return (
        State("failed", progress=progress, reason=failure["reason"])
        if failure
        else State("planned", progress=progress)
    )


def leave_reason(runs: Path, run_id: str, reason: str, trace: str = "") -> None:
    """Say in its folder why a run failed; on a full disk that is left out, and whoever started the run still
    says it."""
    with contextlib.suppress(OSError):
        write_json(runs / run_id / "failed.json", {"reason": reason, "trace": trace.splitlines()})


def forgive(runs: Path, run_id: str) -> None:
    """Forget an earlier failure: the run is tried again."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (runs / run_id / "failed.json").unlink()


@contextlib.contextmanager
def hold(runs: Path, run_id: str, wait: bool = False) -> Iterator[None]:
    """The lock of a run. Raises Busy where another process has it, unless `wait`; OSError where it cannot be
    locked."""
    path = _lock_path(runs, run_id)
    lock = FileLock(path, timeout=-1 if wait else GLANCE, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise Busy(f"run {run_id} is being trained by another command") from error
    except OSError as error:
        reason = (
            f"{path} cannot be locked ({error.strerror}); set runs=... to a folder of its own on a file "
            "system that has locks"
        )
        raise OSError(error.errno, reason) from error
    try:
        yield
    finally:
        lock.release()


def held(runs: Path, run_id: str) -> bool:
    """Whether some process is training this run; only looks, also where nothing may be written."""
    return _locked(_lock_path(runs, run_id))


@contextlib.contextmanager
def sweeping(runs: Path, wanted: Iterable[Run]) -> Iterator[None]:
    """Held while a command trains exactly these runs, so that who looks knows that more will come. A view: a
    second such command, or one whose folder has no locks, goes without."""
    path = _sweep_path(runs, wanted)
    lock = FileLock(path, timeout=GLANCE, fallback_to_soft=False)
    with contextlib.suppress(OSError, Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def swept(runs: Path, wanted: Iterable[Run]) -> bool:
    """Whether a command that trains exactly these runs goes on."""
    return _locked(_sweep_path(runs, wanted))


def _sweep_path(runs: Path, wanted: Iterable[Run]) -> Path:
    return runs / "sweeps" / digest(sorted({run.id for run in wanted}))


def _locked(path: Path) -> bool:
    """Whether another process has the lock of a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or none that this user may see
        return False
    return False


def _lock_path(runs: Path, run_id: str) -> Path:
    return runs / run_id / "lock"


def _read(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A file that is only a view; empty where there is none, or it lacks what is wanted of it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in wanted.items()
    )
    return found if whole else {}
